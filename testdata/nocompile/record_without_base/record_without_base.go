// want: in call to evsourcing.Record, A (type *balloon) does not satisfy evsourcing.Aggregate (missing method base)

package nocompile

import "github.com/evsourcing/evsourcing"

type balloon struct{ height int }

type risen struct{ height int }

func (risen) Topic() string        { return "balloon.risen" }
func (e risen) ApplyTo(b *balloon) { b.height = e.height }

func record() {
	evsourcing.Record(&balloon{}, risen{height: 100})
}
