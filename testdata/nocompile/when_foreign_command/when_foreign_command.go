// want: cannot use domain.Sweep() (value of func type evsourcing.Command[*domain.Hangar]) as func(a *domain.Aircraft) (evsourcing.EventOf[*domain.Aircraft], error) value

package nocompile

import (
	"testing"

	"github.com/evsourcing/evsourcing/evtest"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func test(t *testing.T) {
	evtest.Given[domain.Aircraft](t).When(domain.Sweep())
}
