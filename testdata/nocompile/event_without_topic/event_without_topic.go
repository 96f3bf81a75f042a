// want: in call to evsourcing.Record, type risen of risen{…} does not match inferred type evsourcing.EventOf[*balloon] for evsourcing.EventOf[A]

package nocompile

import "github.com/evsourcing/evsourcing"

type balloon struct {
	evsourcing.Base
	height int
}

type risen struct{ height int }

func (e risen) ApplyTo(b *balloon) { b.height = e.height }

func record() {
	evsourcing.Record(&balloon{}, risen{height: 100})
}
