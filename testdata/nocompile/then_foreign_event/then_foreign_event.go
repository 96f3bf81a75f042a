// want: have ApplyTo(*domain.Hangar)
// want: want ApplyTo(*domain.Aircraft)

package nocompile

import (
	"testing"

	"github.com/evsourcing/evsourcing/evtest"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func test(t *testing.T) {
	evtest.Given[domain.Aircraft](t).When(domain.Land("CDG")).Then(domain.Swept{})
}
