// want: *balloon does not satisfy interface{*balloon; evsourcing.Aggregate} (missing method base)

package nocompile

import "github.com/evsourcing/evsourcing"

type balloon struct{ height int }

func repository(store evsourcing.EventStore, codec evsourcing.Codec) {
	evsourcing.NewRepository[balloon]("balloon", store, codec, nil)
}
