// want: **domain.Aircraft does not satisfy interface{**domain.Aircraft; evsourcing.Aggregate} (missing method base)

package nocompile

import (
	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func repository(store evsourcing.EventStore, codec evsourcing.Codec) {
	evsourcing.NewRepository[*domain.Aircraft]("aircraft", store, codec, nil)
}
