// want: cannot use func(h *domain.Hangar) error {…} (value of type func(h *domain.Hangar) error) as func(a *domain.Aircraft) error value in argument to r.Update

package nocompile

import (
	"context"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func update(ctx context.Context, r *evsourcing.Repository[domain.Aircraft]) error {
	_, err := r.Update(ctx, "DM2018", func(h *domain.Hangar) error {
		return evsourcing.Execute(h, domain.Sweep())
	})
	return err
}
