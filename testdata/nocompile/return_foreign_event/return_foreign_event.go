// want: cannot use domain.Swept{} (value of struct type domain.Swept) as evsourcing.EventOf[*domain.Aircraft] value in return statement: domain.Swept does not implement evsourcing.EventOf[*domain.Aircraft] (wrong type for method ApplyTo)
// want: have ApplyTo(*domain.Hangar)
// want: want ApplyTo(*domain.Aircraft)

package nocompile

import (
	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func command() evsourcing.Command[*domain.Aircraft] {
	return func(*domain.Aircraft) (evsourcing.EventOf[*domain.Aircraft], error) {
		return domain.Swept{}, nil
	}
}
