package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

func messages(t *testing.T, s *postgres.Store) []evsourcing.Message {
	t.Helper()
	var msgs []evsourcing.Message
	for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, evsourcing.Message{StoredEvent: e, Event: happened{}})
	}
	return msgs
}

func at(m evsourcing.Message, token uint64) evsourcing.Checkpoint {
	return evsourcing.Checkpoint{Position: m.Position, EventID: m.ID, Token: token}
}

func TestHandlerCommitsItsWorkWithTheCheckpoint(t *testing.T) {
	s, dsn, table := withTable(t)
	put(t, s, batch(stream("a"), 0, 3))
	msgs := messages(t, s)
	failure := errors.New("no")
	var end func() error
	h := s.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		do(t, tx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, msgs[0].Version))
		put(t, txContext{s, ctx}, batch(stream("reaction"), evsourcing.AnyVersion, 1))
		return end()
	})
	if h.CheckpointStore() != evsourcing.CheckpointStore(s) {
		t.Error("the handler's checkpoint store is another one")
	}
	want := func(what string, rows int, position uint64) {
		t.Helper()
		c, _, err := s.Checkpoint(t.Context(), "name")
		head, _ := headOf(t.Context(), s, stream("reaction"))
		if n := rowCount(t, dsn, table); n != rows || head != uint64(rows) || c.Position != position || err != nil {
			t.Errorf("%s: %d rows, %d reactions, and a checkpoint at %d, %v; want %d and %d", what, n, head, c.Position, err, rows, position)
		}
	}
	end = func() error { return failure }
	if err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs[:1]); err != failure { //nolint:errorlint // the very same
		t.Errorf("HandleTx returned %v", err)
	}
	want("after an error", 0, 0)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not go on")
			}
		}()
		end = func() error { panic("boom") }
		_ = h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs[:1])
	}()
	want("after a panic", 0, 0)
	end = func() error { return nil }
	if err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs[:1]); err != nil {
		t.Error(err)
	}
	want("after success", 1, msgs[0].Position)
	if err := h.HandleTx(t.Context(), "name", at(msgs[0], 0), at(msgs[1], 0), nil); err != nil {
		t.Error(err)
	}
	want("after a step without messages", 1, msgs[1].Position)
	if err := h.Handle(t.Context(), msgs[2:3]); err != nil {
		t.Error(err)
	}
	want("after a call without a checkpoint", 2, msgs[1].Position)

	for name, to := range map[string]evsourcing.Checkpoint{"another position": at(msgs[2], 0)} {
		if err := h.HandleTx(t.Context(), "name", at(msgs[0], 0), to, msgs[2:3]); !errors.Is(err, evsourcing.ErrFenced) {
			t.Errorf("%s: %v, want ErrFenced", name, err)
		}
	}
	c, err := s.Claim(t.Context(), "name", "another", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.HandleTx(t.Context(), "name", at(msgs[1], 0), at(msgs[2], c.Token-1), msgs[:1]); !errors.Is(err, evsourcing.ErrFenced) {
		t.Errorf("a token too low: %v, want ErrFenced", err)
	}
	want("after being fenced", 2, msgs[1].Position)
	if err := h.HandleTx(t.Context(), "name", at(msgs[1], 0), at(msgs[2], c.Token), []evsourcing.Message{{StoredEvent: evsourcing.StoredEvent{Version: 9}}}); err != nil {
		t.Errorf("the right token: %v", err)
	}
	want("after the owner's turn", 3, msgs[2].Position)
	if err := h.HandleTx(t.Context(), "", evsourcing.Checkpoint{}, evsourcing.Checkpoint{}, msgs); err == nil {
		t.Error("an empty name was accepted")
	}
	if err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, evsourcing.Checkpoint{Token: 1 << 63}, msgs); err == nil {
		t.Error("a token out of range was accepted")
	}
}

// txContext is a store whose calls have a context of their own.
type txContext struct {
	*postgres.Store
	ctx context.Context
}

func (s txContext) Append(_ context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	return s.Store.Append(s.ctx, batches...)
}

func TestHandlerTellsItsWorkFromItsTransaction(t *testing.T) {
	s, dsn, table := withTable(t)
	put(t, s, batch(stream("a"), 0, 1))
	msgs := messages(t, s)
	var work func(ctx context.Context, tx pgx.Tx) error
	h := s.Handler(func(ctx context.Context, tx pgx.Tx, _ []evsourcing.Message) error { return work(ctx, tx) })
	for _, test := range []struct {
		name string
		tx   bool // it is the transaction's
		work func(ctx context.Context, tx pgx.Tx) error
	}{
		{"an error", false, func(context.Context, pgx.Tx) error { return errors.New("no") }},
		{"an error of a statement", false, func(ctx context.Context, tx pgx.Tx) error { return second(tx.Exec(ctx, "SELECT 1/0")) }},
		{"a conflict", false, func(ctx context.Context, _ pgx.Tx) error {
			put(t, txContext{s, ctx}, batch(stream("a"), 1, 1))
			put(t, s, batch(stream("a"), 1, 1))
			return nil
		}},
		{"a connection that breaks", true, func(ctx context.Context, tx pgx.Tx) error {
			run(t, dsn, fmt.Sprintf("SELECT pg_terminate_backend(%d)", tx.Conn().PgConn().PID()))
			return second(tx.Exec(ctx, "SELECT 1"))
		}},
		{"a connection that broke before the commit", true, func(ctx context.Context, tx pgx.Tx) error {
			_ = tx.Conn().Close(ctx)
			return nil
		}},
		{"a deadlock", true, func(ctx context.Context, tx pgx.Tx) error {
			return second(tx.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'a deadlock' USING ERRCODE = '40P01'; END $$"))
		}},
		{"a full disk", true, func(ctx context.Context, tx pgx.Tx) error {
			return second(tx.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'a full disk' USING ERRCODE = '53100'; END $$"))
		}},
		{"a statement that was cancelled", false, func(ctx context.Context, tx pgx.Tx) error {
			return second(tx.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'cancelled' USING ERRCODE = '57014'; END $$"))
		}},
		{"a deadlock that a savepoint took back", false, func(ctx context.Context, tx pgx.Tx) error {
			sub, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			failure := second(sub.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'a deadlock' USING ERRCODE = '40P01'; END $$"))
			return errors.Join(failure, sub.Rollback(ctx))
		}},
		{"an error of a statement that is ignored", false, func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, "SELECT 1/0")
			return nil
		}},
		{"a constraint that is checked last", false, func(_ context.Context, tx pgx.Tx) error {
			do(t, tx, "INSERT INTO "+table+" VALUES (1), (1)")
			return nil
		}},
	} {
		work = test.work
		err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs)
		var txErr *evsourcing.TxError
		if err == nil || errors.As(err, &txErr) != test.tx {
			t.Errorf("%s: HandleTx returned %v; a TxError is wanted: %t", test.name, err, test.tx)
		}
	}
	if _, ok, _ := s.Checkpoint(t.Context(), "name"); ok {
		t.Error("a checkpoint was saved")
	}
}

// An owner that stands still in its transaction is cut off by the server, so that the
// next one does not wait for what it has locked; and it can't commit when it wakes up.
func TestPausedOwnerIsCutOffAndCannotCommit(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	slow := open(t, dsn, quiet(postgres.Options{Schema: schema, HandlerTime: 300 * time.Millisecond}))
	table := schema + ".rows"
	run(t, dsn, "CREATE TABLE "+table+" (i int PRIMARY KEY)")
	put(t, slow, batch(stream("a"), 0, 1))
	msgs := messages(t, slow)
	one, err := slow.Claim(t.Context(), "name", "one", 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	inside, wake := make(chan struct{}), make(chan struct{})
	h := slow.Handler(func(_ context.Context, tx pgx.Tx, _ []evsourcing.Message) error {
		do(t, tx, "INSERT INTO "+table+" VALUES (1)")
		close(inside)
		<-wake
		return nil
	})
	result := make(chan error, 1)
	go func() { result <- h.HandleTx(t.Context(), "name", one, at(msgs[0], one.Token), msgs) }()
	<-inside
	other := open(t, dsn, &postgres.Options{Schema: schema})
	var two evsourcing.Checkpoint
	eventually(t, "the second owner's claim", func() bool {
		two, err = other.Claim(t.Context(), "name", "two", time.Hour)
		return err == nil
	})
	// This waits for the row that the paused owner has inserted.
	h2 := other.Handler(func(ctx context.Context, tx pgx.Tx, _ []evsourcing.Message) error {
		return second(tx.Exec(ctx, "INSERT INTO "+table+" VALUES (1)"))
	})
	if err := h2.HandleTx(t.Context(), "name", two, at(msgs[0], two.Token), msgs); err != nil {
		t.Errorf("the second owner: %v", err)
	}
	close(wake)
	if err := <-result; err == nil {
		t.Error("the paused owner committed")
	}
	if n := rowCount(t, dsn, table); n != 1 {
		t.Errorf("the table has %d rows", n)
	}
}

func TestSlowHandlerIsEndedAndHoldsUpNoWriter(t *testing.T) {
	dsn := serverDSN(t)
	s := open(t, dsn, &postgres.Options{Schema: newSchema(t, dsn), HandlerTime: 200 * time.Millisecond})
	put(t, s, batch(stream("a"), 0, 1))
	msgs := messages(t, s)
	h := s.Handler(func(ctx context.Context, tx pgx.Tx, _ []evsourcing.Message) error {
		put(t, txContext{s, ctx}, batch(stream("reaction"), 0, 1))
		began := time.Now()
		for i := range uint64(20) {
			put(t, s, batch(stream("a"), i+1, 1))
		}
		if d := time.Since(began); d > 150*time.Millisecond {
			t.Logf("20 appends took %v beside a handler that had appended", d)
		}
		return second(tx.Exec(ctx, "SELECT pg_sleep(10)"))
	})
	began := time.Now()
	err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs)
	if err == nil || !strings.Contains(err.Error(), "HandlerTime") || errors.As(err, new(*evsourcing.TxError)) {
		t.Errorf("a slow handler returned %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("that took %v", d)
	}
}

// Two processes run one subscription; when the first dies without a word, the second
// takes over within the lease.
func TestSecondOwnerTakesOver(t *testing.T) {
	s, dsn, table := withTable(t)
	p, err := newProjection(t.Context(), s, dsn, "projection", table+"_counts")
	if err != nil {
		t.Fatal(err)
	}
	p.opts.Lease = 500 * time.Millisecond
	if _, err := s.Claim(t.Context(), "projection", "one that died", 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	put(t, s, batch(stream("a"), 0, 10))
	began := time.Now()
	p.wantExact(t, dsn)
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("taking over took %v", d)
	}
}
