package postgres_test

import (
	"context"
	"testing"

	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

func TestMain(m *testing.M) { faulttest.Main(m, faulttest.Roles{"open": openOnce}) }

// openOnce is what a process does that opens a store.
func openOnce(ctx context.Context, args []string) error {
	s, err := postgres.Open(ctx, args[0], &postgres.Options{Schema: args[1]})
	if err != nil {
		return err
	}
	return s.Close(ctx)
}
