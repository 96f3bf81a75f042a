package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// positionLock is how the store takes its lock.
const positionLock = "SELECT pg_advisory_xact_lock(1163088725, '%s'::regnamespace::oid::int)"

// holder is a transaction of another program, on a connection of its own.
func holder(t *testing.T, dsn string) (*pgx.Conn, pgx.Tx) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn, tx
}

func do(t *testing.T, tx pgx.Tx, sql string, args ...any) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%.80s: %v", sql, err)
	}
}

// waiters returns how many sessions wait for an advisory lock in the test's database.
func waiters(t *testing.T, dsn string) int {
	t.Helper()
	return query[int](t, dsn, "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"+
		" WHERE d.datname = current_database() AND locktype = 'advisory' AND classid = 1163088725 AND NOT granted")
}

// A transaction that holds the lock, and with it a position, before it commits holds up
// those behind it: they draw their positions after it, and no reader sees them earlier.
func TestPositionsAreDrawnUnderTheLock(t *testing.T) {
	c := faulttest.SharedCluster(t)
	dsn := c.Database(t)
	s := open(t, dsn, nil)
	put(t, s, batch(stream("a"), 0, 1))
	for name, next := range map[string]func() []evsourcing.Batch{
		"one event":                 func() []evsourcing.Batch { return []evsourcing.Batch{batch(stream(fmt.Sprint(rand.Int64())), 0, 1)} },
		"several events":            func() []evsourcing.Batch { return []evsourcing.Batch{batch(stream(fmt.Sprint(rand.Int64())), 0, 3)} },
		"an event at any version":   func() []evsourcing.Batch { return []evsourcing.Batch{batch(stream("any"), evsourcing.AnyVersion, 1)} },
		"an event in a transaction": nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, tx := holder(t, dsn)
			do(t, tx, fmt.Sprintf(positionLock, "evsourcing"))
			var wg sync.WaitGroup
			var result evsourcing.AppendResult
			var err error
			wg.Go(func() {
				if next != nil {
					result, err = s.Append(t.Context(), next()...)
					return
				}
				err = s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
					_, err := store.Append(ctx, batch(stream("tx"), 0, 1))
					return err
				})
			})
			eventually(t, "the append waits for the lock", func() bool { return waiters(t, dsn) == 1 })
			var position int64
			if err := tx.QueryRow(t.Context(), "SELECT nextval('evsourcing.positions')").Scan(&position); err != nil {
				t.Fatal(err)
			}
			head, _ := s.Head(t.Context())
			if head.Position >= uint64(position) {
				t.Errorf("the head is at %d while a transaction holds position %d", head.Position, position)
			}
			do(t, tx, "COMMIT")
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if next == nil {
				head, _ := s.Head(t.Context())
				result.Position = head.Position
			}
			if result.Position <= uint64(position) {
				t.Errorf("the append got position %d, though %d was drawn before it had the lock", result.Position, position)
			}
		})
	}
}

// follow reads the log by a subscription and returns a function that waits for a
// position and returns what was seen.
func follow(t *testing.T, s *postgres.Store, name string) (seen func(until uint64) []uint64) {
	t.Helper()
	var mu sync.Mutex
	var list []uint64
	ctx, cancel := context.WithCancel(t.Context())
	sub := evsourcing.NewSubscription(name, s, s, anything{}, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range msgs {
			list = append(list, msgs[i].Position)
		}
		return nil
	}), nil)
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func(until uint64) []uint64 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sub.WaitFor(ctx, until); err != nil {
			t.Errorf("the subscription did not come to position %d within a second: %v", until, err)
		}
		mu.Lock()
		defer mu.Unlock()
		return append([]uint64(nil), list...)
	}
}

// wantLog checks that a subscription has seen the log as it is now.
func wantLog(t *testing.T, s *postgres.Store, seen func(uint64) []uint64) {
	t.Helper()
	var want []uint64
	for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, e.Position)
	}
	if len(want) == 0 {
		t.Fatal("the log is empty")
	}
	if got := seen(want[len(want)-1]); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the subscription has seen the positions %v, the log has %v", got, want)
	}
}

// A transaction that wrote something before others append, and appends after them,
// comes after them in the log and within the stream.
func TestTransactionThatWroteElsewhereFirstAppendsLate(t *testing.T) {
	s := newStore(t)
	dsn := serverDSN(t)
	table := newSchema(t, dsn)
	run(t, dsn, "CREATE SCHEMA "+table+"; CREATE TABLE "+table+".t (i int)")
	seen := follow(t, s, "follower")
	put(t, s, batch(stream("a"), 0, 1))
	err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		do(t, tx, "INSERT INTO "+table+".t VALUES (1)") // has a transaction ID now
		put(t, s, batch(stream("a"), 1, 2))
		put(t, s, batch(stream("b"), 0, 1))
		wantLog(t, s, seen)
		_, err := store.Append(ctx, batch(stream("a"), 3, 1))
		if err == nil {
			put(t, s, batch(stream("b"), 1, 1))
			wantLog(t, s, seen)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLog(t, s, seen)
	if got := versions(t, t.Context(), s, stream("a"), evsourcing.Range{}); got != "1 2 3 4" {
		t.Errorf("the stream has versions %s", got)
	}
	last := uint64(0)
	for e, err := range s.Load(t.Context(), stream("a"), evsourcing.Range{}) {
		if err != nil || e.Position <= last {
			t.Errorf("version %d has position %d, after %d; %v", e.Version, e.Position, last, err)
		}
		last = e.Position
	}
}

func TestRollbackAfterAnAppendLeavesAGapThatNobodyWaitsFor(t *testing.T) {
	s := newStore(t)
	seen := follow(t, s, "follower")
	put(t, s, batch(stream("a"), 0, 1))
	failure := errors.New("no")
	err := s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		if _, err := store.Append(ctx, batch(stream("a"), 1, 5)); err != nil {
			return err
		}
		return failure
	})
	if err != failure { //nolint:errorlint // it must be the very same
		t.Fatalf("InTx returned %v", err)
	}
	// A conflict at the end draws positions, and gives them up.
	err = s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		if _, err := store.Append(ctx, batch(stream("a"), 1, 5)); err != nil {
			return err
		}
		put(t, s, batch(stream("a"), 1, 1))
		return nil
	})
	if !errors.Is(err, evsourcing.ErrConflict) {
		t.Fatalf("InTx returned %v, want ErrConflict", err)
	}
	put(t, s, batch(stream("a"), 2, 1))
	wantLog(t, s, seen)
}

// What others hold open must not delay subscriptions: positions are all that counts.
func TestOpenTransactionsElsewhereDelayNobody(t *testing.T) {
	c := faulttest.SharedCluster(t)
	dsn, other := c.Database(t), c.Database(t)
	s := open(t, dsn, nil)
	put(t, s, batch(stream("a"), 0, 1))
	seen := follow(t, s, "follower")

	run(t, other, "CREATE TABLE t (i int)")
	_, long := holder(t, other)
	do(t, long, "INSERT INTO t VALUES (1)")

	run(t, dsn, "CREATE TABLE t (i int)")
	run(t, dsn, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'held'")
	defer run(t, dsn, "ROLLBACK PREPARED 'held'")

	_, locked := holder(t, dsn)
	do(t, locked, "SELECT * FROM evsourcing.events FOR UPDATE")
	do(t, locked, "INSERT INTO t VALUES (2)")

	for i := range uint64(20) {
		put(t, s, batch(stream("a"), i+1, 1))
		put(t, s, batch(stream("b"), evsourcing.AnyVersion, 2))
		wantLog(t, s, seen)
	}
	do(t, long, "ROLLBACK")
	do(t, locked, "ROLLBACK")
}
