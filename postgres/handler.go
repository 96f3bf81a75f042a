package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

// A Handler is a subscription's handler that does its work in a transaction of the
// store, and saves the subscription's checkpoint in it: exactly once. See
// [Store.Handler].
type Handler struct {
	store *Store
	f     func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error
}

var _ evsourcing.TxHandler = (*Handler)(nil)

// Handler returns a handler for a subscription whose checkpoints s keeps: f runs in a
// transaction, and the checkpoint is saved in it. So what f does there is done exactly
// once, whatever crashes. Messages may be retried, when the transaction was rolled
// back; what f does elsewhere may be done again.
//
// The rules of [Store.InTx] hold for f: it appends by its context, and must not end
// tx. The transaction is bounded by Options.HandlerTime. (A repository used in f must
// have no bus: it would publish what may be rolled back.)
func (s *Store) Handler(f func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error) *Handler {
	return &Handler{store: s, f: f}
}

// CheckpointStore returns the store.
func (h *Handler) CheckpointStore() evsourcing.CheckpointStore { return h.store }

// Handle runs the function in a transaction of its own, without a checkpoint: in
// tests, for example.
func (h *Handler) Handle(ctx context.Context, msgs []evsourcing.Message) error {
	return h.run(ctx, nil, msgs)
}

// HandleTx does what Handle does, and saves to as the name's checkpoint in the same
// transaction. Its errors are those of [evsourcing.TxHandler]; a conflict of an append
// that f has made is the work's.
func (h *Handler) HandleTx(ctx context.Context, name string, from, to evsourcing.Checkpoint, msgs []evsourcing.Message) error {
	for _, c := range []evsourcing.Checkpoint{from, to} {
		if err := checkCheckpoint(ctx, name, c); err != nil {
			return err
		}
	}
	return h.run(ctx, &advance{name, from, to}, msgs)
}

func (h *Handler) run(ctx context.Context, adv *advance, msgs []evsourcing.Message) error {
	s := h.store
	bounded, cancel := context.WithTimeoutCause(ctx, s.opts.HandlerTime,
		fmt.Errorf("evsourcing: postgres: the handler's transaction took longer than HandlerTime, %v: %w", s.opts.HandlerTime, context.DeadlineExceeded))
	defer cancel()
	var work error
	ofTx, slow := false, false
	err := s.run(bounded, s.handlerBegin(), adv, func(ctx context.Context, t *transaction) error {
		if len(msgs) > 0 {
			work = h.f(ctx, guardedTx{t, t.tx, false}, msgs)
			ofTx, slow = t.failedBelow(work), bounded.Err() != nil
		}
		return work
	})
	switch {
	case err == nil:
		return nil
	case work != nil && adv != nil && s.passed(ctx, adv):
		// No wonder that it fails, for its tables may be gone.
		return fmt.Errorf("%w: %q goes on without this owner, whose work failed: %v", evsourcing.ErrFenced, adv.name, err)
	case slow && ctx.Err() == nil && !errors.Is(err, evsourcing.ErrUncertain):
		return errors.Join(context.Cause(bounded), hideTxError(err)) // the work is too slow
	case work != nil && (!ofTx || ctx.Err() != nil):
		return hideTxError(err)
	case work == nil && (errors.Is(err, errIgnored) || strings.HasPrefix(codeOf(err), classConstraint)):
		return err // a constraint that is checked last, for one
	case work == nil && (errors.Is(err, evsourcing.ErrConflict) || errors.Is(err, evsourcing.ErrDuplicateEvent) ||
		errors.Is(err, evsourcing.ErrFenced) || errors.Is(err, evsourcing.ErrUncertain)):
		return err
	}
	return &evsourcing.TxError{Err: err}
}

// failedBelow reports whether the work's error is the transaction's: its connection
// broke, or a statement in it failed for a reason that will pass. The same error of
// another database leaves the transaction as it was.
func (t *transaction) failedBelow(work error) bool {
	if work == nil {
		return false
	}
	if t.conn.IsClosed() {
		return true
	}
	if t.conn.PgConn().TxStatus() != 'E' {
		return false
	}
	code := codeOf(work)
	switch {
	case code == codeSerial, code == codeDeadlock:
		return true
	case code == codeCanceled: // by the statement's time, or by somebody
		return false
	}
	return strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57") || strings.HasPrefix(code, "58")
}

// hideTxError keeps an error of the work from being taken for one of the transaction: f
// may have got it from another store's handler. Any other error stays as it is.
func hideTxError(err error) error {
	if _, ok := errors.AsType[*evsourcing.TxError](err); ok {
		return workError{err}
	}
	return err
}

// A workError is like the error in it, but is no TxError.
type workError struct{ err error }

func (e workError) Error() string        { return e.err.Error() }
func (e workError) Is(target error) bool { return errors.Is(e.err, target) }

func (e workError) As(target any) bool {
	if _, ok := target.(**evsourcing.TxError); ok {
		return false
	}
	return errors.As(e.err, target)
}

// passed reports whether a checkpoint is known to be another owner's by now, or was
// replaced, so that it can't be advanced.
func (s *Store) passed(ctx context.Context, adv *advance) bool {
	c, saved, err := s.Checkpoint(ctx, adv.name)
	return errors.Is(err, evsourcing.ErrFenced) || err == nil && (c.Token > adv.to.Token || saved && c.Position != adv.from.Position)
}

// handlerBegin begins a transaction that the server ends if its owner is stuck: what
// it has locked must not hold up the next owner.
func (s *Store) handlerBegin() string {
	ms := s.opts.HandlerTime.Milliseconds()
	return fmt.Sprintf("%s; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL statement_timeout = %d", beginSQL, ms, ms)
}
