package attack

import "github.com/evsourcing/evsourcing"

// An account is an aggregate, with events of one type.
type account struct {
	evsourcing.Base
	Owner any
}

type opened struct {
	Owner any `json:"owner"`
}

func (opened) Topic() string        { return "opened" }
func (e opened) ApplyTo(a *account) { a.Owner = e.Owner }

func open(a *account) error { return openBy("somebody")(a) }

func openBy(owner any) func(a *account) error {
	return func(a *account) error {
		evsourcing.Record(a, evsourcing.EventOf[*account](opened{owner}))
		return nil
	}
}

// A wallet is an aggregate that has snapshots.
type wallet struct {
	evsourcing.Base
	Owner string
}

type filled struct {
	Owner string `json:"owner"`
}

func (filled) Topic() string       { return "filled" }
func (e filled) ApplyTo(a *wallet) { a.Owner = e.Owner }
