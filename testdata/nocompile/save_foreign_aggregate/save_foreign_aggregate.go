// want: cannot use &domain.Hangar{} (value of type *domain.Hangar) as *domain.Aircraft value in argument to r.Save

package nocompile

import (
	"context"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func save(ctx context.Context, r *evsourcing.Repository[domain.Aircraft]) error {
	return r.Save(ctx, &domain.Hangar{})
}
