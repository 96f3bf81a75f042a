package sqlite

import (
	"context"
	"errors"
	"fmt"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// A Handler is a subscription's handler that does its work in a transaction of
// the store, and saves the subscription's checkpoint in it: exactly once. See
// [Store.Handler].
type Handler struct {
	store *Store
	f     func(ctx context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error
}

// Handler returns a handler that runs f in a transaction which also saves the
// checkpoint of the subscription. What f writes through tx is there if and only
// if the checkpoint has passed msgs, whatever fails or dies.
//
// Calls of the store with the context that f gets, or one that comes from it,
// join the transaction: events appended with it are stored if and only if the
// transaction commits, and Load and Find see them before. (A repository used in
// f must have no bus: it would publish what may be rolled back.) When f has
// returned, such a context is refused.
//
// f must return the error of a write that has failed: after some, such as that of a
// full disk, SQLite has rolled the transaction back, and what f writes then would
// stand by itself. It must not call Close, nor the store with another context than
// its own, for which it would wait itself; after twice HandlerTime such a call, and
// everybody else's, fails with ErrBusy. Settings of the connection (PRAGMA, temporary
// tables) have to be as before when f returns.
//
// While f runs nobody else writes to the file, so it has the time of
// [Options].HandlerTime. When that is over, or the subscription's context ends,
// the context that f gets ends, statements on tx fail, and the transaction is
// rolled back as soon as f returns. So f does not wait for anything slow, such
// as a network.
//
// f must not keep tx, use it in several goroutines at once, or end the
// transaction. It should reset or finalize every statement, as those of
// [zombiezen.com/go/sqlite/sqlitex] do. A panic in f, or runtime.Goexit, rolls
// back and goes on.
func (s *Store) Handler(f func(ctx context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error) *Handler {
	return &Handler{store: s, f: f}
}

// CheckpointStore returns the store.
func (h *Handler) CheckpointStore() evsourcing.CheckpointStore { return h.store }

// Handle runs the function in a transaction of its own, without a checkpoint: in
// tests, for example.
func (h *Handler) Handle(ctx context.Context, msgs []evsourcing.Message) error {
	return h.store.transact(ctx, func(ctx context.Context, c *conn) error {
		return h.f(ctx, c.Conn, msgs)
	})
}

// HandleTx implements [evsourcing.TxHandler].
func (h *Handler) HandleTx(ctx context.Context, name string, from, to evsourcing.Checkpoint, msgs []evsourcing.Message) error {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return err
	}
	if err := checkNumbers(fmt.Sprintf("checkpoint %q", name), to.Position, to.Token); err != nil {
		return err
	}
	s := h.store
	var work error
	err := s.transact(ctx, func(ctx context.Context, c *conn) error {
		if _, err := s.ready(c, name, from, to); err != nil {
			return err
		}
		if len(msgs) > 0 {
			if work = h.f(ctx, c.Conn, msgs); work != nil {
				return work
			}
		}
		return s.update(ctx, "saving a checkpoint", func(c *conn) error {
			// Again, because f may have saved or claimed it.
			r, err := s.ready(c, name, from, to)
			if err != nil {
				return err
			}
			return c.saveCheckpoint(name, &r, to)
		})
	})
	if err == nil || isOfWork(err, work) {
		return err
	}
	return &evsourcing.TxError{Err: err}
}

// isOfWork reports whether the error of a handler's transaction is to be returned
// as it is: because the work has failed, and not the disk under it, or because it
// says itself what it is.
func isOfWork(err, work error) bool {
	switch primary, _ := code(err); primary {
	case zsqlite.ResultConstraint: // deferred until the commit
		return true
	case zsqlite.ResultFull, zsqlite.ResultIOErr, zsqlite.ResultNoMem:
		return errors.Is(err, evsourcing.ErrUncertain)
	}
	return work != nil || errors.Is(err, evsourcing.ErrFenced) || errors.Is(err, evsourcing.ErrUncertain) ||
		errors.Is(err, errSlow) || errors.Is(err, errEnded)
}

var _ evsourcing.TxHandler = (*Handler)(nil)

// ready returns the row of a name whose checkpoint may move from one to another.
func (s *Store) ready(c *conn, name string, from, to evsourcing.Checkpoint) (r checkpoint, err error) {
	if r, err = c.checkpoint(name); err != nil {
		return r, s.explain("reading a checkpoint", err)
	}
	if r.lease == forever {
		return r, r.fenced(name)
	}
	if to.Token < r.Token {
		return r, fmt.Errorf("%w: checkpoint %q has token %d, not %d", evsourcing.ErrFenced, name, r.Token, to.Token)
	}
	if r.saved && r.Position != from.Position {
		return r, fmt.Errorf("%w: checkpoint %q is at position %d, not %d", evsourcing.ErrFenced, name, r.Position, from.Position)
	}
	return r, nil
}
