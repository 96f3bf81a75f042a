package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// withTable opens an empty store, and a table beside it.
func withTable(t *testing.T) (s *postgres.Store, dsn, table string) {
	t.Helper()
	dsn = serverDSN(t)
	schema := newSchema(t, dsn)
	s = open(t, dsn, &postgres.Options{Schema: schema})
	table = schema + ".rows"
	run(t, dsn, "CREATE TABLE "+table+" (i int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
	return s, dsn, table
}

func rowCount(t *testing.T, dsn, table string) int {
	t.Helper()
	return query[int](t, dsn, "SELECT count(*) FROM "+table)
}

func TestInTxCommitsEventsAndRowsTogether(t *testing.T) {
	s, dsn, table := withTable(t)
	ctx := t.Context()
	put(t, s, batch(stream("a"), 0, 2))
	var fresh evsourcing.Batch
	err := s.InTx(ctx, func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		if r := put(t, store, batch(stream("a"), 2, 2)); r.Position != 0 || !r.Pending || r.Versions[0] != 4 {
			t.Errorf("the append in the transaction returned %+v", r)
		}
		do(t, tx, "INSERT INTO "+table+" VALUES (1)")
		fresh = batch(stream("a"), evsourcing.AnyVersion, 1)
		fresh.Events[0].Tags, fresh.Events[0].Metadata = []string{"tag"}, evsourcing.Metadata{"key": "value"}
		r, err := s.Append(ctx, fresh, batch(stream("b"), 0, 1)) // the context will do
		if err != nil || fmt.Sprint(r.Versions) != "[5 1]" {
			t.Errorf("the second append returned %+v, %v", r, err)
		}
		for _, test := range []struct {
			r    evsourcing.Range
			want string
		}{
			{evsourcing.Range{}, "1 2 3 4 5"}, {evsourcing.Range{Backward: true}, "5 4 3 2 1"},
			{evsourcing.Range{Limit: 3}, "1 2 3"}, {evsourcing.Range{Limit: 3, Backward: true}, "5 4 3"}, {evsourcing.Range{Limit: 4, Backward: true}, "5 4 3 2"},
			{evsourcing.Range{After: 1, Until: 4}, "2 3 4"}, {evsourcing.Range{After: 3}, "4 5"}, {evsourcing.Range{After: 3, Backward: true, Limit: 1}, "5"},
			{evsourcing.Range{Until: 2}, "1 2"}, {evsourcing.Range{After: 5}, ""}, {evsourcing.Range{Until: 1, Backward: true}, "1"},
		} {
			if got := versions(t, ctx, s, stream("a"), test.r); got != test.want {
				t.Errorf("Load with %+v yields versions %s, want %s", test.r, got, test.want)
			}
		}
		for e, err := range store.Load(ctx, stream("a"), evsourcing.Range{After: 4}) {
			if err != nil || e.ID != fresh.Events[0].ID || e.Position != 0 || e.Tags[0] != "tag" || e.Metadata["key"] != "value" {
				t.Errorf("the event to be stored is %+v, %v", e, err)
			}
		}
		if v, ok, err := s.Find(ctx, stream("a"), fresh.Events[0].ID); v != 5 || !ok || err != nil {
			t.Errorf("Find returned %d, %t, %v", v, ok, err)
		}
		if v, ok, err := s.Find(ctx, stream("b"), fresh.Events[0].ID); ok || err != nil {
			t.Errorf("Find in another stream returned %d, %t, %v", v, ok, err)
		}
		// Nobody else sees anything yet.
		if got := versions(t, t.Context(), s, stream("a"), evsourcing.Range{}); got != "1 2" {
			t.Errorf("outside of the transaction, the stream has versions %s", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := versions(t, ctx, s, stream("a"), evsourcing.Range{}); got != "1 2 3 4 5" {
		t.Errorf("the stream has versions %s", got)
	}
	if n := rowCount(t, dsn, table); n != 1 {
		t.Errorf("the table has %d rows", n)
	}
	// Positions of the transaction are consecutive, in the order of its appends.
	var ids []string
	for e, err := range s.Events(ctx, evsourcing.Range{After: 2}, evsourcing.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fmt.Sprintf("%s/%d", e.Stream.ID, e.Version))
	}
	if got := strings.Join(ids, " "); got != "a/3 a/4 a/5 b/1" {
		t.Errorf("the log goes on with %s", got)
	}
}

func TestInTxJudgesItsAppends(t *testing.T) {
	s, _, _ := withTable(t)
	stored := batch(stream("a"), 0, 2)
	put(t, s, stored)
	err := s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		if _, err := store.Append(ctx, batch(stream("a"), 1, 1)); !errors.Is(err, evsourcing.ErrConflict) {
			t.Errorf("a wrong version: %v", err)
		}
		if r, err := store.Append(ctx, stored); err != nil || !r.Repeated || r.Position == 0 {
			t.Errorf("a repetition of what is stored: %+v, %v", r, err)
		}
		next := batch(stream("a"), 2, 1)
		put(t, store, next)
		if r, err := store.Append(ctx, next); err != nil || !r.Repeated || r.Versions[0] != 3 {
			t.Errorf("a repetition of what will be stored: %+v, %v", r, err)
		}
		twice := batch(stream("b"), 0, 1)
		twice.Events[0].ID = next.Events[0].ID
		if _, err := store.Append(ctx, twice); !errors.Is(err, evsourcing.ErrDuplicateEvent) {
			t.Errorf("an event ID that will be stored: %v", err)
		}
		if _, err := store.Append(ctx, batch(stream("a"), 2, 1)); !errors.Is(err, evsourcing.ErrConflict) {
			t.Errorf("a version that will be taken: %v", err)
		}
		if _, err := store.Append(ctx, evsourcing.Batch{}); err == nil {
			t.Error("an empty batch was accepted")
		}
		put(t, store, batch(stream("a"), 3, 1))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := versions(t, t.Context(), s, stream("a"), evsourcing.Range{}); got != "1 2 3 4" {
		t.Errorf("the stream has versions %s", got)
	}
}

func TestInTxReturnsTheConflictOfItsEnd(t *testing.T) {
	s, dsn, table := withTable(t)
	put(t, s, batch(stream("a"), 0, 1))
	for _, expected := range []uint64{1, evsourcing.AnyVersion} {
		head, _ := headOf(t.Context(), s, stream("a"))
		b := batch(stream("a"), min(expected, head), 1)
		if expected == evsourcing.AnyVersion {
			b = batch(stream("a"), expected, 1)
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
			do(t, tx, "INSERT INTO "+table+" VALUES (1)")
			put(t, store, batch(stream("b"), evsourcing.AnyVersion, 1))
			put(t, store, b)
			put(t, s, batch(stream("a"), head, 2))
			return nil
		})
		var conflict *evsourcing.ConflictError
		if !errors.As(err, &conflict) || *conflict != (evsourcing.ConflictError{Stream: stream("a"), Expected: head, Actual: head + 2}) {
			t.Errorf("InTx returned %v, want a conflict", err)
		}
		if n := rowCount(t, dsn, table); n != 0 {
			t.Errorf("the table has %d rows", n)
		}
		if got := versions(t, t.Context(), s, stream("b"), evsourcing.Range{}); got != "" {
			t.Errorf("the other stream has versions %s", got)
		}
		expectedID := b.Events[0].ID
		if _, ok, _ := s.Find(t.Context(), stream("a"), expectedID); ok {
			t.Error("the event is stored")
		}
	}
	// An event ID that another stores meanwhile.
	b := batch(stream("c"), 0, 1)
	err := s.InTx(t.Context(), func(_ context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		put(t, store, b)
		other := batch(stream("d"), 0, 1)
		other.Events[0].ID = b.Events[0].ID
		put(t, s, other)
		return nil
	})
	if !errors.Is(err, evsourcing.ErrDuplicateEvent) {
		t.Errorf("InTx returned %v, want ErrDuplicateEvent", err)
	}
}

func TestInTxRollsBack(t *testing.T) {
	s, dsn, table := withTable(t)
	failure := errors.New("no")
	work := func(end func() error) func(context.Context, pgx.Tx, evsourcing.EventStore) error {
		return func(_ context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
			do(t, tx, "INSERT INTO "+table+" VALUES (1)")
			put(t, store, batch(stream("a"), 0, 1))
			return end()
		}
	}
	if err := s.InTx(t.Context(), work(func() error { return failure })); err != failure { //nolint:errorlint // the very same
		t.Errorf("InTx returned %v, want the function's error as it is", err)
	}
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("the panic was %v", v)
			}
		}()
		_ = s.InTx(t.Context(), work(func() error { panic("boom") }))
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = s.InTx(t.Context(), work(func() error { runtime.Goexit(); return nil }))
	}()
	<-gone
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.InTx(ctx, work(func() error { cancel(); return nil })); !errors.Is(err, context.Canceled) {
		t.Errorf("InTx whose context was cancelled returned %v", err)
	}
	// A statement that failed, and whose error was overlooked.
	err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		_, _ = tx.Exec(ctx, "SELECT 1/0")
		return nil
	})
	if err == nil {
		t.Error("InTx says that a transaction was committed in which a statement had failed")
	}
	// What only the commit finds out.
	err = s.InTx(t.Context(), func(_ context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		put(t, store, batch(stream("a"), 0, 1))
		do(t, tx, "INSERT INTO "+table+" VALUES (1), (1)")
		return nil
	})
	if err == nil || errors.Is(err, evsourcing.ErrUncertain) || errors.Is(err, evsourcing.ErrConflict) {
		t.Errorf("InTx that violates a deferred constraint returned %v", err)
	}
	if n := rowCount(t, dsn, table); n != 0 {
		t.Errorf("the table has %d rows", n)
	}
	if got := versions(t, t.Context(), s, stream("a"), evsourcing.Range{}); got != "" {
		t.Errorf("the stream has versions %s", got)
	}
	// All connections are as they were.
	for range 10 {
		if err := s.InTx(t.Context(), func(context.Context, pgx.Tx, evsourcing.EventStore) error { return nil }); err != nil {
			t.Error(err)
		}
	}
}
