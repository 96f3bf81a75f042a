package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

// A repository that takes snapshots does so in the background; that must not use the
// transaction's connection beside the function.
func TestSnapshotsInTheBackgroundLeaveTheTransactionAlone(t *testing.T) {
	s, _, table := withTable(t)
	for round := range 20 {
		err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
			repo := evsourcing.NewRepository[counter]("counter", store, evsourcing.NewRegistry(counted{}), &evsourcing.RepositoryOptions{
				Snapshots: s, SnapshotEvery: 1, Logger: slog.New(slog.DiscardHandler),
			})
			for i := range 20 {
				if _, err := repo.CreateOrUpdate(ctx, fmt.Sprint("one", i), func(c *counter) error { evsourcing.Record(c, counted{}); return nil }); err != nil {
					return fmt.Errorf("update: %w", err)
				}
				if _, err := tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, round*100+i)); err != nil {
					return fmt.Errorf("a statement: %w", err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}
