package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

// A repository that takes snapshots does so in the background; that must not use the
// transaction's connection beside the function, nor keep what may be rolled back.
func TestSnapshotsInTheBackgroundLeaveTheTransactionAlone(t *testing.T) {
	s, _, table := withTable(t)
	failure := errors.New("no")
	var repo *evsourcing.Repository[counter]
	err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		if _, ok := store.(evsourcing.SnapshotStore); ok {
			t.Error("the store of a transaction keeps snapshots")
		}
		repo = evsourcing.NewRepository[counter]("counter", store, evsourcing.NewRegistry(counted{}), &evsourcing.RepositoryOptions{
			Snapshots: s, SnapshotEvery: 1, Logger: slog.New(slog.DiscardHandler),
		})
		for i := range 20 {
			if _, err := repo.CreateOrUpdate(ctx, fmt.Sprint("one", i), func(c *counter) error { evsourcing.Record(c, counted{}); return nil }); err != nil {
				return fmt.Errorf("update: %w", err)
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, i)); err != nil {
				return fmt.Errorf("a statement: %w", err)
			}
		}
		if _, err := store.(evsourcing.Log).Head(t.Context()); err == nil {
			t.Error("the store of a transaction is read with another context")
		}
		return failure
	})
	if err != failure { //nolint:errorlint // the very same
		t.Fatal(err)
	}
	if err := repo.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for i := range 20 {
		if p, ok, err := s.LoadSnapshot(t.Context(), evsourcing.StreamID{Type: "counter", ID: fmt.Sprint("one", i)}); ok || err != nil {
			t.Errorf("a snapshot of events that were rolled back is kept: %+v, %v", p, err)
		}
	}
}
