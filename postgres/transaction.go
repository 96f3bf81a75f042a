package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// InTx runs f in a transaction, in the isolation level READ COMMITTED, and commits
// it if f returns nil. Appends to the store that f gets, or to s with f's context or
// one derived from it, are stored if and only if the transaction commits, as its last
// statement: so it may take its time, and write other things before and after them,
// without other appends waiting for it. Loads with the context see what was appended.
// Positions are given at the end, so an aggregate that f has saved has none: to wait for a
// projection after the commit, load it again, or wait for the position of [Store.Head].
//
// f must not commit tx or roll it back, and uses it and the store from one goroutine
// at a time; rows must be read or closed before the store is used. It must not call s
// with another context than its own: that takes a second connection, for which a pool
// that has no more waits in vain. A repository that f makes of the store has no
// Snapshots: they are taken beside f. When f returns an error, panics or calls
// runtime.Goexit, the transaction is rolled back. Rolling back to a savepoint does not
// take appends back.
//
// InTx returns f's error as it is. An [evsourcing.ErrConflict] may come from f's
// append, or from InTx at the end; the transaction can be run again then. That goes for
// appends with AnyVersion too: f was told their versions, which another writer may take.
// Together, appends may have [evsourcing.MaxAppendSize], unless the first alone has more as
// it is sent: what is beyond is refused, and f may go on without it.
// [evsourcing.ErrUncertain] means that the connection broke during the commit, and the
// store could not find out what came of it: because the database could not be reached,
// or f has appended nothing. After any other error nothing was stored.
func (s *Store) InTx(ctx context.Context, f func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error) error {
	return s.run(ctx, beginSQL, nil, func(ctx context.Context, t *transaction) error {
		return f(ctx, guardedTx{t, t.tx, false}, txStore{t})
	})
}

const beginSQL = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

// graceTime is how long a commit that has begun is waited for after its context has
// ended.
const graceTime = time.Second

// A transaction is one of InTx or a handler, with the appends that it will make.
type transaction struct {
	store *Store
	slot  *pgxpool.Conn
	conn  *pgx.Conn // of the slot
	tx    pgx.Tx

	released bool // the slot is

	mu      sync.Mutex // guards everything below, and the connection while the store uses it
	over    bool
	appends []*engine.Append // to be made, their versions set
	size    int              // of these, in bytes
	streams map[evsourcing.StreamID]*buffered
	xid     int64 // of the transaction on the server, once it is to append; else 0
}

// An advance is a checkpoint to be saved with a transaction.
type advance struct {
	name     string
	from, to evsourcing.Checkpoint
}

func (a *advance) list() []any {
	return []any{a.name, int64(a.from.Position), int64(a.to.Position), pgtype.UUID{Bytes: a.to.EventID, Valid: true}, int64(a.to.Token)}
}

// run runs f in a transaction.
func (s *Store) run(ctx context.Context, begin string, adv *advance, f func(ctx context.Context, t *transaction) error) error {
	if err := s.isClosed(); err != nil {
		return err
	}
	if s.transaction(ctx) != nil {
		return errors.New("evsourcing: postgres: the context is that of a transaction, which can't begin another one")
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: begin: %w", contextError(ctx, err))
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: begin: %w", remedy(contextError(ctx, err)))
	}
	t := &transaction{store: s, slot: conn, conn: conn.Conn(), tx: tx, streams: map[evsourcing.StreamID]*buffered{}}
	committed := false
	defer func() { // also after a panic or Goexit
		t.end()
		if !committed {
			t.rollback(ctx)
		}
	}()
	if err := f(context.WithValue(ctx, txKey{s}, t), t); err != nil {
		return err
	}
	t.end()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !t.conn.IsClosed() && t.conn.PgConn().TxStatus() == 'E' {
		return errIgnored
	}
	head, err := t.commit(ctx, adv)
	committed = err == nil
	if err == nil && head > 0 {
		s.stored(head)
	}
	return err
}

// end makes all further use an error.
func (t *transaction) end() {
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
}

// release gives the connection back before something is looked up on another one:
// where the pool has no more, transactions would wait for one another.
func (t *transaction) release(ctx context.Context) {
	t.rollback(ctx)
	t.slot.Release()
	t.released = true
}

func (t *transaction) rollback(ctx context.Context) {
	if t.released || t.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	_ = t.tx.Rollback(ctx) // a connection that fails is closed
}

// commit saves the checkpoint, makes the appends and commits, all in one round trip.
// It returns the last position. The position lock is taken last.
func (t *transaction) commit(ctx context.Context, adv *advance) (head uint64, err error) {
	wait, cancel := withGrace(ctx, graceTime)
	defer cancel()
	var b pgx.Batch
	var last *int64
	doing := ""
	queue := func(what, sql string, args []any, to any) {
		b.Queue(t.store.text(sql), args...).QueryRow(func(row pgx.Row) error {
			doing = what
			return row.Scan(to)
		})
	}
	switch {
	case len(t.appends) == 0 && adv != nil:
		var ok bool
		queue("advance", advanceSQL, adv.list(), &ok)
	case len(t.appends) > 0 && adv != nil:
		queue("append", advanceAndAppendSQL, append(t.args().list(), adv.list()...), &last)
	case len(t.appends) > 0:
		queue("append", appendStrictSQL, t.args().list(), &last)
	}
	tag := ""
	b.Queue("COMMIT").Fn = func(br pgx.BatchResults) error {
		doing = "commit"
		ct, err := br.Exec()
		tag = ct.String()
		return err
	}
	err = t.conn.SendBatch(wait, &b).Close()
	switch {
	case err == nil && tag == "ROLLBACK":
		return 0, errIgnored
	case err == nil && last != nil:
		return uint64(*last), nil
	case err == nil:
		return 0, nil
	}
	return t.failed(ctx, adv, doing, err)
}

// errIgnored is for a function that returns nil all the same.
var errIgnored = errors.New("evsourcing: postgres: the transaction could not commit, because a statement in it had failed")

// failed says what came of a commit that failed.
func (t *transaction) failed(ctx context.Context, adv *advance, doing string, err error) (head uint64, _ error) {
	code := codeOf(err)
	switch o := outcomeOf(err); {
	case code == codeFenced && adv != nil:
		return 0, fmt.Errorf("%w: the checkpoint of %q is not at position %d any more, has a higher token than %d, or was replaced",
			evsourcing.ErrFenced, adv.name, adv.from.Position, adv.to.Token)
	case code == codeNotStored, o == refusedUnique && doing == "append":
		t.release(ctx)
		return 0, t.conflict(ctx, err)
	case o == unknown:
		t.release(ctx)
		if adv != nil { // the checkpoint says it, which the subscription reads
			return 0, uncertain(err)
		}
		return t.settle(ctx, err)
	}
	return 0, fmt.Errorf("evsourcing: postgres: commit: %w", remedy(err))
}

// withGrace returns a context that ends some time after ctx.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(grace, cancel)
	})
	return later, func() {
		stop()
		mu.Lock()
		if timer != nil {
			timer.Stop()
		}
		mu.Unlock()
		cancel()
	}
}

type txKey struct{ store *Store }

// transaction returns the store's transaction that ctx carries, or nil.
func (s *Store) transaction(ctx context.Context) *transaction {
	t, _ := ctx.Value(txKey{s}).(*transaction)
	return t
}

var errOver = errors.New("evsourcing: postgres: the context is that of a transaction which has ended")
