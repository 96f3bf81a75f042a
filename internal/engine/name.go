package engine

import (
	"context"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

// CheckName returns the error of ctx, or what is wrong with the name of a
// checkpoint or of an owner; what says which.
func CheckName(ctx context.Context, what, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := evsourcing.ValidateName(name); err != nil {
		return fmt.Errorf("evsourcing: %s %.64q: the name %w", what, name, err)
	}
	return nil
}
