// want: in call to evsourcing.Execute, type evsourcing.Command[*domain.Hangar] of domain.Sweep() does not match inferred type evsourcing.Command[*domain.Aircraft] for evsourcing.Command[A]

package nocompile

import (
	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func execute() error {
	return evsourcing.Execute(&domain.Aircraft{}, domain.Sweep())
}
