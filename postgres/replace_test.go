package postgres_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

func TestReplaceSwitchesWhenTheNewVersionHasCaughtUp(t *testing.T) {
	s, dsn, table := withTable(t)
	put(t, s, batch(stream("a"), 0, 10))
	view := table + "_view"
	old, err := newProjection(t.Context(), s, dsn, "counts", table+"_1")
	if err != nil {
		t.Fatal(err)
	}
	old.wantExact(t, dsn)
	run(t, dsn, "CREATE VIEW "+view+" AS SELECT * FROM "+old.table)
	next, err := newProjection(t.Context(), s, dsn, "counts-2", table+"_2")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	swap := func(ctx context.Context, tx pgx.Tx) error {
		calls++
		// Errors are returned, for it is called again after a deadlock with the old
		// version's handler.
		for _, sql := range []string{"CREATE OR REPLACE VIEW " + view + " AS SELECT * FROM " + next.table, "DROP TABLE " + old.table} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		_, err := s.Append(ctx, batch(stream("replaced"), evsourcing.AnyVersion, 1))
		return err
	}
	if err := s.Replace(t.Context(), "counts", "counts-2", swap); !errors.Is(err, evsourcing.ErrBehind) || calls != 0 {
		t.Errorf("Replace by one that has not begun returned %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- old.subscription().Run(t.Context()) }()
	stopNew := next.start(t)
	put(t, s, batch(stream("a"), 10, 10))
	eventually(t, "the new version catches up", func() bool {
		err := s.Replace(t.Context(), "counts", "counts-2", swap)
		if err != nil && !errors.Is(err, evsourcing.ErrBehind) {
			t.Fatal(err)
		}
		return err == nil
	})
	stopNew()
	put(t, s, batch(stream("a"), 20, 10))
	next.wantExact(t, dsn)
	if n := query[int](t, dsn, "SELECT events FROM "+view+" WHERE id = 'a'"); n != 30 {
		t.Errorf("the view shows %d events", n)
	}
	if head, _ := headOf(t.Context(), s, stream("replaced")); head != 1 {
		t.Errorf("the event of the replacement is stored %d times", head)
	}
	// The old version handles nothing any more, running or started.
	select {
	case err := <-ended:
		if !errors.Is(err, evsourcing.ErrFenced) {
			t.Errorf("the old version ended with %v, want ErrFenced", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the old version runs on")
	}
	if _, err := s.Claim(t.Context(), "counts", "another", time.Minute); !errors.Is(err, evsourcing.ErrFenced) {
		t.Errorf("Claim of the old name returned %v", err)
	} else if want := `"counts" was replaced by counts-2`; !contains(err, want) {
		t.Errorf("the error does not say %s: %v", want, err)
	}
	for _, owner := range []string{"replaced by counts-2", "one"} {
		for _, ttl := range []time.Duration{time.Minute, 0} {
			if _, err := s.Claim(t.Context(), "counts", owner, ttl); !errors.Is(err, evsourcing.ErrFenced) {
				t.Errorf("Claim by %q for %v returned %v", owner, ttl, err)
			}
		}
	}
	if err := s.Replace(t.Context(), "counts-2", "counts", swap); !errors.Is(err, evsourcing.ErrFenced) {
		t.Errorf("Replace by one that was replaced returned %v", err)
	}
	if err := s.Forget(t.Context(), "counts"); err != nil {
		t.Error(err)
	}
	if _, ok, err := s.Checkpoint(t.Context(), "counts"); ok || err != nil {
		t.Errorf("after Forget there is a checkpoint: %t, %v", ok, err)
	}
}

func TestReplaceThatFailsChangesNothing(t *testing.T) {
	s, _, _ := withTable(t)
	ctx := t.Context()
	for name, position := range map[string]uint64{"old": 5, "new": 6} {
		if err := s.SaveCheckpoint(ctx, name, evsourcing.Checkpoint{Position: position, Token: 1}); err != nil {
			t.Fatal(err)
		}
	}
	failure := errors.New("no")
	if err := s.Replace(ctx, "old", "new", func(context.Context, pgx.Tx) error { return failure }); err != failure { //nolint:errorlint // the very same
		t.Errorf("Replace returned %v", err)
	}
	if err := s.SaveCheckpoint(ctx, "old", evsourcing.Checkpoint{Position: 7, Token: 1}); err != nil {
		t.Errorf("the old name was retired: %v", err)
	}
	if err := s.Replace(ctx, "old", "new", nil); !errors.Is(err, evsourcing.ErrBehind) {
		t.Errorf("Replace by one that is behind returned %v", err)
	}
	for _, names := range [][2]string{{"", "new"}, {"old", ""}, {"old", "old"}} {
		if err := s.Replace(ctx, names[0], names[1], nil); err == nil {
			t.Errorf("Replace of %q by %q was accepted", names[0], names[1])
		}
	}
	if err := s.Replace(ctx, "unknown", "new", nil); !contains(err, `there is no subscription "unknown"`) {
		t.Errorf("Replace of an unknown name returned %v", err)
	}
	if _, err := s.Claim(ctx, "claimed", "one", time.Minute); err != nil {
		t.Fatal(err)
	}
	calls := 0
	err := s.Replace(ctx, "claimed", "new", func(ctx context.Context, tx pgx.Tx) error {
		if calls++; calls == 1 {
			return second(tx.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'a deadlock' USING ERRCODE = '40P01'; END $$"))
		}
		return nil
	})
	if err != nil || calls != 2 {
		t.Errorf("Replace that meets a deadlock returned %v after %d calls", err, calls)
	}
	if _, err := s.Claim(ctx, "claimed", "one", time.Minute); !errors.Is(err, evsourcing.ErrFenced) {
		t.Errorf("a name that was only claimed was not retired: %v", err)
	}
}

// After a restore the old version may have come farther than the log goes.
func TestReplaceOfACheckpointThatTheLogDoesNotHold(t *testing.T) {
	s, _, _ := withTable(t)
	ctx := t.Context()
	put(t, s, batch(stream("a"), 0, 1))
	m := messages(t, s)[0]
	for name, c := range map[string]evsourcing.Checkpoint{
		"lost": {Position: m.Position + 10, EventID: uuid.New()}, "held": at(m, 0), "new": {},
	} {
		if err := s.SaveCheckpoint(ctx, name, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Replace(ctx, "held", "new", nil); !errors.Is(err, evsourcing.ErrBehind) {
		t.Errorf("Replace by one that is behind returned %v", err)
	}
	if err := s.Replace(ctx, "lost", "new", nil); err != nil {
		t.Errorf("Replace of one that is nowhere returned %v", err)
	}
}

func TestForgetRefusesWhileALeaseLasts(t *testing.T) {
	s, _, _ := withTable(t)
	ctx := t.Context()
	if err := s.Forget(ctx, "name"); err != nil {
		t.Errorf("a name that is not known: %v", err)
	}
	if _, err := s.Claim(ctx, "name", "one", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(ctx, "name"); !errors.Is(err, evsourcing.ErrFenced) {
		t.Errorf("Forget while a lease lasts returned %v", err)
	}
	if _, err := s.Claim(ctx, "name", "one", 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(ctx, "name"); err != nil {
		t.Error(err)
	}
	if c, err := s.Claim(ctx, "name", "one", time.Hour); err != nil || c.Token != 1 {
		t.Errorf("after Forget, Claim returned %+v, %v", c, err)
	}
	if err := s.Forget(ctx, ""); err == nil {
		t.Error("an empty name was accepted")
	}
}

// Replace: a subscription of the old name that is started gets ErrFenced or stands by,
// for good.
func TestReplacedSubscriptionWithoutALeaseHandlesNothingWhenItIsStarted(t *testing.T) {
	s := newStore(t)
	count := func(n *atomic.Int64) func(msgs []evsourcing.Message) error {
		return func(msgs []evsourcing.Message) error { n.Add(int64(len(msgs))); return nil }
	}
	for name, handler := range map[string]func(f func(msgs []evsourcing.Message) error) evsourcing.Handler{
		"in a transaction": func(f func(msgs []evsourcing.Message) error) evsourcing.Handler {
			return s.Handler(func(_ context.Context, _ pgx.Tx, msgs []evsourcing.Message) error { return f(msgs) })
		},
		"at least once": func(f func(msgs []evsourcing.Message) error) evsourcing.Handler {
			return evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error { return f(msgs) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, s, batch(stream("a"), evsourcing.AnyVersion, 1))
			msgs := messages(t, s)
			last := msgs[len(msgs)-1]
			for _, sub := range []string{"old", "new"} {
				if err := s.SaveCheckpoint(t.Context(), sub+name, at(last, 0)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Replace(t.Context(), "old"+name, "new"+name, nil); err != nil {
				t.Fatal(err)
			}
			next := put(t, s, batch(stream("a"), evsourcing.AnyVersion, 1)).Position
			var handled atomic.Int64
			sub := evsourcing.NewSubscription("old"+name, s, s, evsourcing.NewRegistry(happened{}), handler(count(&handled)), nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- sub.Run(ctx) }()
			_ = sub.WaitFor(ctx, next)
			cancel()
			err := <-done
			if handled.Load() > 0 || !errors.Is(err, evsourcing.ErrFenced) || !contains(err, "was replaced by new") {
				t.Errorf("a replaced subscription has handled %d events; Run: %v", handled.Load(), err)
			}
			for what, err := range map[string]error{
				"SaveCheckpoint": s.SaveCheckpoint(t.Context(), "old"+name, at(last, 1<<40)),
				"HandleTx": s.Handler(func(context.Context, pgx.Tx, []evsourcing.Message) error { return nil }).
					HandleTx(t.Context(), "old"+name, at(last, 0), at(last, 1<<40), msgs),
			} {
				if !errors.Is(err, evsourcing.ErrFenced) {
					t.Errorf("%s of a replaced name returned %v", what, err)
				}
			}
		})
	}
}
