// want: in call to evsourcing.Record, type domain.Swept of domain.Swept{} does not match inferred type evsourcing.EventOf[*domain.Aircraft] for evsourcing.EventOf[A]

package nocompile

import (
	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func record() {
	evsourcing.Record(&domain.Aircraft{}, domain.Swept{})
}
