package docs_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// rewind sets the checkpoint of a subscription that is stopped back to an event.
func rewind(ctx context.Context, log evsourcing.Log, checkpoints evsourcing.CheckpointStore, position uint64) error {
	c, _, err := checkpoints.Checkpoint(ctx, "mail")
	if err != nil {
		return err
	}
	c.Position, c.EventID = position, uuid.Nil
	for e, err := range log.Events(ctx, evsourcing.Range{Until: position, Limit: 1, Backward: true}, evsourcing.Filter{}) {
		if err != nil {
			return err
		}
		c.Position, c.EventID = e.Position, e.ID
	}
	return checkpoints.SaveCheckpoint(ctx, "mail", c)
}

// TestOperationsRewind recovers a subscription whose checkpoint is beyond the
// head, after its log was restored from a backup.
func TestOperationsRewind(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	log, checkpoints := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
	accounts := evsourcing.NewRepository[Account]("account", log, Codec(), nil)
	a, err := accounts.Create(ctx, "ada", func(a *Account) error { return evsourcing.Execute(a, Deposit(5, "")) })
	if err != nil {
		t.Fatal(err)
	}
	head, err := log.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoints.SaveCheckpoint(ctx, "mail", evsourcing.Checkpoint{Position: 99, EventID: uuid.New(), Token: 7}); err != nil {
		t.Fatal(err)
	}
	handled := 0
	mail := func() *evsourcing.Subscription {
		return evsourcing.NewSubscription("mail", log, checkpoints, Codec(), evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			handled += len(msgs)
			return nil
		}), nil)
	}
	if err := mail().Run(ctx); !errors.Is(err, evsourcing.ErrDiverged) {
		t.Fatalf("Run returned %v, want ErrDiverged", err)
	}

	if err := rewind(ctx, log, checkpoints, head.Position); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	sub := mail()
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	if _, err := accounts.Update(ctx, a.ID(), func(a *Account) error { return evsourcing.Execute(a, Deposit(1, "")) }); err != nil {
		t.Fatal(err)
	}
	if err := sub.WaitFor(ctx, head.Position+1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil || handled != 1 {
		t.Errorf("Run returned %v after %d messages, want 1", err, handled)
	}
}
