package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

type handlerFunc = func(ctx context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error

// withTable returns a store with a table of the application's.
func withTable(t *testing.T, opts *Options) *Store {
	t.Helper()
	s := openTest(t, "", opts)
	execute(t, raw(t, s.path), "CREATE TABLE seen (position INTEGER PRIMARY KEY)")
	return s
}

func seen(t *testing.T, s *Store) []string {
	t.Helper()
	return query(t, raw(t, s.path), "SELECT position FROM seen ORDER BY position")
}

func note(tx *zsqlite.Conn, position int) error {
	return sqlitex.Execute(tx, "INSERT INTO seen VALUES (?)", &sqlitex.ExecOptions{Args: []any{position}})
}

func at(position, token uint64) evsourcing.Checkpoint {
	return evsourcing.Checkpoint{Position: position, Token: token}
}

func checkpointOf(t *testing.T, s *Store, name string) evsourcing.Checkpoint {
	t.Helper()
	c, _, err := s.Checkpoint(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHandlerCommitsWorkAndCheckpointTogether(t *testing.T) {
	s := withTable(t, nil)
	h := s.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		return note(tx, int(msgs[0].Position))
	})
	if h.CheckpointStore() != evsourcing.CheckpointStore(s) {
		t.Error("the checkpoint store is another")
	}
	msgs := []evsourcing.Message{{StoredEvent: evsourcing.StoredEvent{Position: 7}}}
	if err := h.HandleTx(t.Context(), "n", at(0, 0), at(7, 0), msgs); err != nil {
		t.Fatal(err)
	}
	if got := checkpointOf(t, s, "n"); got.Position != 7 || !slices.Equal(seen(t, s), []string{"7"}) {
		t.Errorf("checkpoint %+v, table %v", got, seen(t, s))
	}
	// The same batch again, by somebody who does not know.
	want(t, "a stale checkpoint", h.HandleTx(t.Context(), "n", at(0, 0), at(7, 0), msgs), evsourcing.ErrFenced)
	// Without a checkpoint.
	msgs[0].Position = 8
	if err := h.Handle(t.Context(), msgs); err != nil {
		t.Error(err)
	}
	if got := checkpointOf(t, s, "n"); got.Position != 7 || len(seen(t, s)) != 2 {
		t.Errorf("checkpoint %+v, table %v", got, seen(t, s))
	}
}

func TestHandlerThatFailsCommitsNothing(t *testing.T) {
	s := withTable(t, nil)
	boom := errors.New("boom")
	handle := func(f func(ctx context.Context) error) error {
		h := s.Handler(func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			if err := note(tx, 1); err != nil {
				return err
			}
			if _, err := s.Append(ctx, batch("a", 0, 1)); err != nil {
				return err
			}
			return f(ctx)
		})
		return h.HandleTx(t.Context(), "n", at(0, 0), at(1, 0), oneMessage)
	}
	nothing := func(what string) {
		t.Helper()
		if got := checkpointOf(t, s, "n"); got.Position != 0 || len(seen(t, s)) != 0 || len(all(t, s)) != 0 {
			t.Errorf("%s: something was committed: checkpoint %+v, table %v, %d events", what, got, seen(t, s), len(all(t, s)))
		}
		mustAppend(t, s, batch(what, 0, 1)) // others can write
		execute(t, raw(t, s.path), "DELETE FROM events")
	}
	want(t, "an error", handle(func(context.Context) error { return boom }), boom)
	nothing("an error")

	func() {
		defer func() {
			if v := recover(); v != boom {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = handle(func(context.Context) error { panic(boom) })
	}()
	nothing("a panic")

	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = handle(func(context.Context) error { runtime.Goexit(); return nil })
	}()
	<-done
	nothing("Goexit")

	var conflict error
	err := handle(func(ctx context.Context) error {
		_, conflict = s.Append(ctx, batch("a", 0, 1))
		return conflict
	})
	want(t, "a conflict", conflict, evsourcing.ErrConflict)
	want(t, "a conflict", err, evsourcing.ErrConflict)
	nothing("a conflict")
}

func TestHandlerIsFenced(t *testing.T) {
	s := withTable(t, nil)
	called := false
	h := s.Handler(func(context.Context, *zsqlite.Conn, []evsourcing.Message) error { called = true; return nil })
	one, err := s.Claim(t.Context(), "n", "one", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.HandleTx(t.Context(), "n", one, at(5, one.Token), oneMessage); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim(t.Context(), "n", "one", 0); err != nil {
		t.Fatal(err)
	}
	two, err := s.Claim(t.Context(), "n", "two", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	called = false
	want(t, "the owner before", h.HandleTx(t.Context(), "n", at(5, one.Token), at(6, one.Token), oneMessage), evsourcing.ErrFenced)
	if called {
		t.Error("the function of a fenced handler was called")
	}
	want(t, "another position", h.HandleTx(t.Context(), "n", at(4, two.Token), at(6, two.Token), oneMessage), evsourcing.ErrFenced)
	if err := h.HandleTx(t.Context(), "n", two, at(6, two.Token), oneMessage); err != nil {
		t.Error(err)
	}
	if got := checkpointOf(t, s, "n"); got != at(6, two.Token) {
		t.Errorf("the checkpoint is %+v", got)
	}
	// Its own lease is not lost by saving.
	_, err = s.Claim(t.Context(), "n", "one", time.Hour)
	want(t, "a claim by another", err, evsourcing.ErrFenced)
}

func TestCallsWithinAHandlerJoinItsTransaction(t *testing.T) {
	s := withTable(t, &Options{PollInterval: time.Hour}) // Wait is woken, or never returns
	mustAppend(t, s, batch("a", 0, 3))
	var kept context.Context
	wait := make(chan error)
	h := s.Handler(func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
		kept = context.WithoutCancel(ctx)
		b := batch("a", 3, 2)
		r, err := s.Append(ctx, b)
		if err != nil || !r.Pending || r.Position != 0 || r.Versions[0] != 5 {
			return fmt.Errorf("Append: %+v, %v", r, err)
		}
		if r, err := s.Append(ctx, b); err != nil || !r.Repeated {
			return fmt.Errorf("the append again: %+v, %v", r, err)
		}
		if _, err := s.Append(ctx, batch("a", 3, 2), batch("b", 0, 1)); !errors.Is(err, evsourcing.ErrConflict) {
			return fmt.Errorf("a conflict: %v", err)
		}
		other := batch("fresh", 0, 1)
		other.Events[0].Topic = "thing.fresh"
		if _, err := s.Append(ctx, other); err != nil {
			return err
		}
		if n := len(loaded(ctx, t, s, "a")); n != 5 {
			return fmt.Errorf("Load sees %d events", n)
		}
		if n := len(loaded(t.Context(), t, s, "a")); n != 3 {
			return fmt.Errorf("a Load outside sees %d events", n)
		}
		if list := loaded(ctx, t, s, "fresh"); len(list) != 1 || list[0].Topic != "thing.fresh" {
			return fmt.Errorf("Load sees %+v", list)
		}
		if v, ok, err := s.Find(ctx, b.Stream, b.Events[1].ID); v != 5 || !ok || err != nil {
			return fmt.Errorf("Find: %d, %t, %v", v, ok, err)
		}
		if m, err := s.Head(ctx); m.Position != 6 || err != nil {
			return fmt.Errorf("Head: %+v, %v", m, err)
		}
		if m, err := s.Head(t.Context()); m.Position != 3 || err != nil {
			return fmt.Errorf("Head outside: %+v, %v", m, err)
		}
		if err := s.SaveSnapshot(ctx, evsourcing.Snapshot{Stream: b.Stream, Version: 5}); err != nil {
			return err
		}
		if err := s.SaveCheckpoint(ctx, "another", at(3, 0)); err != nil {
			return err
		}
		if _, err := s.Claim(ctx, "third", "me", time.Hour); err != nil {
			return err
		}
		if err := s.Handler(nil).Handle(ctx, nil); err == nil {
			return errors.New("a transaction within a transaction is accepted")
		}
		return sqlitex.Execute(tx, "INSERT INTO seen SELECT position FROM events WHERE position > 3", nil)
	})
	go func() { wait <- s.Wait(t.Context(), 5) }()
	if err := h.HandleTx(t.Context(), "n", at(0, 0), at(3, 0), oneMessage); err != nil {
		t.Fatal(err)
	}
	if err := <-wait; err != nil {
		t.Error(err)
	}
	if n := len(all(t, s)); n != 6 || len(seen(t, s)) != 3 {
		t.Errorf("%d events, table %v", n, seen(t, s))
	}
	if _, ok, err := s.LoadSnapshot(t.Context(), stream("a")); !ok || err != nil {
		t.Errorf("the snapshot: %t, %v", ok, err)
	}
	_, err := s.Append(kept, batch("c", 0, 1))
	wantText(t, "Append after the transaction", err, "has ended")
	for _, err := range s.Load(kept, stream("a"), evsourcing.Range{}) {
		wantText(t, "Load after the transaction", err, "has ended")
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	// The numbers of what was rolled back go to others.
	for round, order := range [][]string{{"first", "rolled back"}, {"rolled back", "second"}} {
		named := func(id string, expected uint64) evsourcing.Batch {
			id = fmt.Sprint(id, round)
			b := batch(id, expected, 1)
			b.Events[0].Topic = "topic of " + id
			return b
		}
		rollBack := errors.New("roll back")
		err := s.Handler(func(ctx context.Context, _ *zsqlite.Conn, _ []evsourcing.Message) error {
			for i := range uint64(2) {
				if _, err := s.Append(ctx, named("rolled back", i)); err != nil {
					return err
				}
			}
			loaded(ctx, t, s, fmt.Sprint("rolled back", round))
			return rollBack
		}).Handle(t.Context(), nil)
		want(t, "a handler that is rolled back", err, rollBack)
		for _, id := range order {
			b := named(id, 0)
			err := s.Handler(func(ctx context.Context, _ *zsqlite.Conn, _ []evsourcing.Message) error {
				_, err := s.Append(ctx, b)
				if got := loaded(ctx, t, s, b.Stream.ID); len(got) != 1 || got[0].Topic != b.Events[0].Topic {
					return fmt.Errorf("Load sees %+v", got)
				}
				return err
			}).Handle(t.Context(), nil)
			if err != nil {
				t.Error(err)
			}
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHandlerThatTakesTooLongIsRolledBack(t *testing.T) {
	s := withTable(t, &Options{HandlerTime: 50 * time.Millisecond})
	for name, f := range map[string]handlerFunc{
		"waits for its context": func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"runs a long statement": func(_ context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			return sqlitex.Execute(tx, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) INSERT INTO seen SELECT x + 100 FROM c", nil)
		},
		"takes no notice": func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			<-ctx.Done()
			return nil
		},
		"appends on": func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			<-ctx.Done()
			_, err := s.Append(ctx, batch("a", 0, 1))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := s.Handler(func(ctx context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
				if err := note(tx, 1); err != nil {
					return err
				}
				return f(ctx, tx, msgs)
			})
			others := make(chan error)
			go func() {
				_, err := s.Append(t.Context(), batch(name, 0, 1))
				others <- err
			}()
			err := h.HandleTx(t.Context(), "n", at(0, 0), at(1, 0), oneMessage)
			wantText(t, "the handler", err, "HandlerTime", "BatchSize")
			if err := <-others; err != nil {
				t.Error(err)
			}
			if n := seen(t, s); len(n) > 0 || checkpointOf(t, s, "n").Position != 0 {
				t.Errorf("something was committed: %v", n)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Handler(func(context.Context, *zsqlite.Conn, []evsourcing.Message) error { cancel(); return nil }).Handle(ctx, nil)
	want(t, "a handler whose context was cancelled", err, context.Canceled)
}

func TestHandlerThatEndsTheTransactionIsAnError(t *testing.T) {
	s := withTable(t, nil)
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		h := s.Handler(func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			if err := sqlitex.ExecuteTransient(tx, end, nil); err != nil {
				return err
			}
			_, err := s.Append(ctx, batch("a", 0, 1))
			wantText(t, "Append after "+end, err, "COMMIT")
			return nil
		})
		wantText(t, end, h.HandleTx(t.Context(), "n", at(0, 0), at(1, 0), oneMessage), "COMMIT", "ROLLBACK")
		wantText(t, end, h.Handle(t.Context(), nil), "COMMIT", "ROLLBACK")
		if got := checkpointOf(t, s, "n"); got.Position != 0 {
			t.Errorf("%s: the checkpoint is %+v", end, got)
		}
	}
	mustAppend(t, s, batch("a", 0, 1))
}

func TestHandlerThatLeavesAStatementOpen(t *testing.T) {
	s := withTable(t, nil)
	for position := range uint64(3) {
		h := s.Handler(func(_ context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
			stmt, err := tx.Prepare("SELECT name FROM sqlite_schema")
			if err != nil {
				return err
			}
			_, err = stmt.Step()
			return err
		})
		if err := h.HandleTx(t.Context(), "n", at(position, 0), at(position+1, 0), oneMessage); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, s, batch("a", 0, 1))
	if list := query(t, raw(t, s.path), "PRAGMA wal_checkpoint(TRUNCATE)"); !slices.Equal(list, []string{"0"}) {
		t.Error("a reading transaction was left open")
	}
}

func TestHandlersAndAppendsTakeTurns(t *testing.T) {
	s := withTable(t, nil)
	const n = 50
	var wg sync.WaitGroup
	for h := range 3 {
		wg.Go(func() {
			name := fmt.Sprint("n", h)
			handler := s.Handler(func(ctx context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
				_, err := s.Append(ctx, batch("handled", evsourcing.AnyVersion, 1))
				return err
			})
			for i := range uint64(n) {
				if err := handler.HandleTx(t.Context(), name, at(i, 0), at(i+1, 0), oneMessage); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range n {
				mustAppend(t, s, batch("appended", evsourcing.AnyVersion, 2))
			}
		})
	}
	wg.Wait()
	if got := len(loaded(t.Context(), t, s, "handled")); got != 3*n {
		t.Errorf("%d events, want %d", got, 3*n)
	}
	if got := len(loaded(t.Context(), t, s, "appended")); got != 6*n {
		t.Errorf("%d events, want %d", got, 6*n)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReplaceRetiresTheOldVersion(t *testing.T) {
	s := withTable(t, nil)
	old, err := s.Claim(t.Context(), "v1", "one", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler(func(context.Context, *zsqlite.Conn, []evsourcing.Message) error { return nil })
	if err := h.HandleTx(t.Context(), "v1", old, at(10, old.Token), oneMessage); err != nil {
		t.Fatal(err)
	}
	swap := func(_ context.Context, tx *zsqlite.Conn) error { return note(tx, 1) }
	err = s.Replace(t.Context(), "v1", "v2", swap)
	want(t, "a version that is behind", err, evsourcing.ErrBehind)
	wantText(t, "a version that is behind", err, "position 0", "position 10")
	if err := s.SaveCheckpoint(t.Context(), "v2", at(10, 0)); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err = s.Replace(t.Context(), "v1", "v2", func(_ context.Context, tx *zsqlite.Conn) error {
		_ = note(tx, 1)
		return boom
	})
	want(t, "a switch that fails", err, boom)
	if err := h.HandleTx(t.Context(), "v1", at(10, 0), at(10, old.Token), oneMessage); err != nil {
		t.Errorf("after a switch that failed: %v", err)
	}
	if len(seen(t, s)) > 0 {
		t.Error("a switch that failed has left something")
	}
	for range 2 { // again is no harm
		if err := s.Replace(t.Context(), "v1", "v2", nil); err != nil {
			t.Fatal(err)
		}
	}
	err = h.HandleTx(t.Context(), "v1", at(10, old.Token), at(11, old.Token), oneMessage)
	want(t, "the old version", err, evsourcing.ErrFenced)
	wantText(t, "the old version", err, "replaced by v2")
	want(t, "the old version's checkpoint", s.SaveCheckpoint(t.Context(), "v1", at(11, old.Token)), evsourcing.ErrFenced)
	for _, owner := range []string{"one", "two", "replaced by v2"} {
		_, err := s.Claim(t.Context(), "v1", owner, time.Hour)
		want(t, "a claim of the old name by "+owner, err, evsourcing.ErrFenced)
		wantText(t, "a claim", err, "replaced by v2")
	}
	err = s.Replace(t.Context(), "v2", "v1", nil)
	want(t, "the way back", err, evsourcing.ErrFenced)
	if err := s.Replace(t.Context(), "v2", "v2", nil); err == nil {
		t.Error("a name replaces itself")
	}
	if err := s.Forget(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Checkpoint(t.Context(), "v1"); ok || err != nil {
		t.Errorf("after Forget: %t, %v", ok, err)
	}
	if _, err := s.Claim(t.Context(), "v2", "one", time.Hour); err != nil {
		t.Fatal(err)
	}
	want(t, "Forget of a name with an owner", s.Forget(t.Context(), "v2"), evsourcing.ErrFenced)
	if err := s.Forget(t.Context(), "never heard of"); err != nil {
		t.Error(err)
	}
}

func TestReadableView(t *testing.T) {
	s := openTest(t, "", nil)
	b := batch("a", 0, 3)
	b.Events[0].Time = time.Date(1969, 12, 31, 23, 59, 59, 1000, time.UTC)
	b.Events[0].Tags = []string{"x"}
	b.Events[0].Metadata = evsourcing.Metadata{"user": "me"}
	b.Events[1].ContentType, b.Events[1].Data = "application/cbor", []byte{0xff, 0}
	b.Events[2].ContentType = "application/cloudevents+json"
	mustAppend(t, s, b)
	c := raw(t, s.path)
	for text, want := range map[string]string{
		"id":                                 b.Events[0].ID.String() + "," + b.Events[1].ID.String() + "," + b.Events[2].ID.String(),
		"CASE position WHEN 1 THEN time END": "1969-12-31T23:59:59.000001Z,,",
		"data":                               `{"n":0},FF00,{"n":2}`,
		"data ->> 'n'":                       "",
		"metadata ->> 'user'":                "me,,",
		"tags ->> 0":                         "x,,",
		"type || stream || version || topic": "thinga1thing.done,thinga2thing.done,thinga3thing.done",
	} {
		where := ""
		if want == "" {
			where, want = " WHERE position <> 2", "0,2"
		}
		if got := strings.Join(query(t, c, "SELECT "+text+" FROM events_readable"+where+" ORDER BY position"), ","); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
