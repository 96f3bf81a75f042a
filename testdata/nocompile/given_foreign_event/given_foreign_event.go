// want: in call to evtest.Given[domain.Aircraft], P (type *domain.Hangar) does not satisfy interface{*T; evsourcing.Aggregate}

package nocompile

import (
	"testing"

	"github.com/evsourcing/evsourcing/evtest"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func test(t *testing.T) {
	evtest.Given[domain.Aircraft](t, domain.Swept{})
}
