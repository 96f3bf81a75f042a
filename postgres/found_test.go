package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// withParam returns the connection string with a parameter more.
func withParam(t testing.TB, dsn, key, value string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}

// newPool makes a pool that is closed after the test, and after stores that use it.
func newPool(t testing.TB, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// A transaction that finds a conflict at its end looks up why. It has a connection
// then, and must not wait for another one.
func TestConflictAtTheEndOfATransactionNeedsNoSecondConnection(t *testing.T) {
	for _, conns := range []int{1, 4} {
		t.Run(fmt.Sprint(conns), func(t *testing.T) {
			dsn := serverDSN(t)
			schema := newSchema(t, dsn)
			other := open(t, dsn, &postgres.Options{Schema: schema})
			s := open(t, withParam(t, dsn, "pool_max_conns", fmt.Sprint(conns)), &postgres.Options{Schema: schema, NoListen: true})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // a caller without a deadline would hang for good
			defer cancel()
			var wg, ready sync.WaitGroup
			ready.Add(conns)
			for i := range conns {
				wg.Go(func() {
					id := stream(fmt.Sprint("a", i))
					err := s.InTx(ctx, func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
						if _, err := store.Append(ctx, batch(id, 0, 1)); err != nil {
							return err
						}
						if _, err := other.Append(ctx, batch(id, 0, 1)); err != nil {
							return err
						}
						ready.Done()
						ready.Wait()
						return nil
					})
					if !errors.Is(err, evsourcing.ErrConflict) {
						t.Errorf("InTx returned %v, want ErrConflict", err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// A database that can't be reached within HandlerTime is not the message's fault.
func TestHandlerThatGetsNoConnectionInTimeFailsForItsTransaction(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	open(t, dsn, &postgres.Options{Schema: schema})
	pool := newPool(t, withParam(t, dsn, "pool_max_conns", "1"))
	s, err := postgres.New(t.Context(), pool, &postgres.Options{Schema: schema, NoListen: true, HandlerTime: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s)
	put(t, s, batch(stream("a"), 0, 1))
	msgs := messages(t, s)
	called := false
	h := s.Handler(func(context.Context, pgx.Tx, []evsourcing.Message) error { called = true; return nil })
	conn, err := pool.Acquire(t.Context()) // all connections are busy; a network that drops packets is the same
	if err != nil {
		t.Fatal(err)
	}
	err = h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs)
	conn.Release()
	var tx *evsourcing.TxError
	if called || !errors.As(err, &tx) {
		t.Errorf("HandleTx returned %v, and has called the function: %t; want a TxError", err, called)
	}
}

// Another writer has stored the same events; that says nothing about this transaction.
func TestTransactionThatDiedIsNotTakenForAnotherThatStoredTheSameEvents(t *testing.T) {
	s, dsn, table := withTable(t)
	b := batch(stream("a"), 0, 1)
	err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		do(t, tx, "INSERT INTO "+table+" VALUES (1)")
		if _, err := store.Append(ctx, b); err != nil {
			return err
		}
		put(t, s, b) // the same command, elsewhere
		run(t, dsn, fmt.Sprintf("SELECT pg_terminate_backend(%d)", tx.Conn().PgConn().PID()))
		return nil
	})
	if err == nil || errors.Is(err, evsourcing.ErrUncertain) || errors.Is(err, evsourcing.ErrConflict) {
		t.Errorf("InTx that was rolled back returned %v", err)
	}
	if n := rowCount(t, dsn, table); n != 0 {
		t.Errorf("there are %d rows", n)
	}
}

// The same for a handler whose commands have IDs that derive from the message's.
func TestHandlerThatDiedIsNotTakenForAnotherThatStoredTheSameEvents(t *testing.T) {
	s, dsn, table := withTable(t)
	put(t, s, batch(stream("a"), 0, 1))
	msgs := messages(t, s)
	b := batch(stream("reaction"), 0, 1)
	h := s.Handler(func(ctx context.Context, tx pgx.Tx, _ []evsourcing.Message) error {
		do(t, tx, "INSERT INTO "+table+" VALUES (1)")
		if _, err := s.Append(ctx, b); err != nil {
			return err
		}
		put(t, s, b)
		run(t, dsn, fmt.Sprintf("SELECT pg_terminate_backend(%d)", tx.Conn().PgConn().PID()))
		return nil
	})
	err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs)
	c, _, _ := s.Checkpoint(t.Context(), "name")
	if n := rowCount(t, dsn, table); err == nil && (n == 0 || c.Position == 0) {
		t.Errorf("HandleTx returned nil, and there are %d rows and a checkpoint at %d", n, c.Position)
	}
}

// Databases and roles may have another default isolation level, under which an append
// does not see what was stored while it waited.
func TestOtherDefaultIsolationLevelIsRefused(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	for _, level := range []string{"repeatable read", "serializable"} {
		_, err := postgres.Open(t.Context(), withParam(t, dsn, "default_transaction_isolation", level), &postgres.Options{Schema: schema})
		if !contains(err, level) || !contains(err, "default_transaction_isolation=read%20committed") {
			t.Errorf("Open with %s returned %v", level, err)
		}
	}
	open(t, withParam(t, dsn, "default_transaction_isolation", "read committed"), &postgres.Options{Schema: schema})
}

// guardedTx: can't be used after its end. Nor can what it has made.
func TestSavepointIsNotUsedAfterTheEndOfItsTransaction(t *testing.T) {
	s, dsn, table := withTable(t)
	var sub pgx.Tx
	if err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, _ evsourcing.EventStore) (err error) {
		sub, err = tx.Begin(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.Exec(t.Context(), "INSERT INTO "+table+" VALUES (1)"); err == nil {
		t.Errorf("a savepoint works after the end of its transaction, on a connection that is another's by now: %d rows", rowCount(t, dsn, table))
	}
}

// Nobody knows how large a stream's events are before the first page.
func TestFirstEventOfAStreamOfLargeEventsComesSoon(t *testing.T) {
	s := newStore(t)
	const n, size = 512, 64 << 10
	for i := range uint64(n / 64) {
		b := batch(stream("a"), i*64, 64)
		for j := range b.Events {
			b.Events[j].Data = make([]byte, size)
		}
		put(t, s, b)
	}
	took := func(r evsourcing.Range) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			for _, err := range s.Load(t.Context(), stream("a"), r) {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	few, all := took(evsourcing.Range{Limit: 64}), took(evsourcing.Range{})
	t.Logf("the first of 64 events of %d bytes after %v, and of %d after %v", size, few, n, all)
	if all > 4*few {
		t.Errorf("all of the stream is read for its first event")
	}
}

// An append that is repeated within a transaction is as pending as the first.
func TestAppendRepeatedWithinItsTransactionIsPending(t *testing.T) {
	s := newStore(t)
	b := batch(stream("a"), 0, 1)
	err := s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		first := put(t, txContext{s, ctx}, b)
		again := put(t, txContext{s, ctx}, b)
		if !first.Pending || !again.Pending || !again.Repeated {
			t.Errorf("the first: %+v, the second: %+v, want both Pending", first, again)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A sequence that is behind, as after a move by logical replication, which does not copy
// sequences: no event may appear below the head.
func TestSequenceThatIsBehindDoesNotPutEventsBelowTheHead(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	s := open(t, dsn, &postgres.Options{Schema: schema})
	put(t, s, batch(stream("a"), 0, 1))
	run(t, dsn, "SELECT nextval('"+schema+".positions') FROM generate_series(1, 50)") // rollbacks
	head := put(t, s, batch(stream("a"), 1, 1)).Position
	for i := range 2 {
		run(t, dsn, "SELECT setval('"+schema+".positions', 1)")
		other := open(t, dsn, &postgres.Options{Schema: schema})
		for _, s := range []*postgres.Store{s, other} {
			r := put(t, s, batch(stream("b"), evsourcing.AnyVersion, 1))
			if r.Position <= head {
				t.Errorf("%d: an event was stored at position %d, and the head was %d: subscriptions never see it", i, r.Position, head)
			}
			head = r.Position
		}
	}
	// A role that appends may not set it, and one that reads need not.
	app, reader := role(t, dsn, schema, postgres.AppGrants), role(t, dsn, schema, postgres.ReadGrants)
	run(t, dsn, "SELECT setval('"+schema+".positions', 1)")
	if _, err := postgres.Open(t.Context(), app, &postgres.Options{Schema: schema}); !contains(err, fmt.Sprintf(`.positions', %d)`, head)) {
		t.Errorf("Open by a role that may not advance it returned %v", err)
	}
	open(t, reader, &postgres.Options{Schema: schema})
	open(t, dsn, &postgres.Options{Schema: schema})
	open(t, app, &postgres.Options{Schema: schema})
}
