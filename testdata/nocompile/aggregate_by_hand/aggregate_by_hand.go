// want: cannot use (*balloon)(nil) (value of type *balloon) as evsourcing.Aggregate value in variable declaration: *balloon does not implement evsourcing.Aggregate (unexported method base)

package nocompile

import "github.com/evsourcing/evsourcing"

type balloon struct{ embedded evsourcing.Base }

func (b *balloon) base() *evsourcing.Base { return &b.embedded }

var _ evsourcing.Aggregate = (*balloon)(nil)
