package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

// A HandlerFunc handles messages of a subscription in a transaction. See
// [Store.Handler].
type HandlerFunc func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error

// Handler returns a handler for a subscription whose checkpoints s keeps: f runs in a
// transaction, and the checkpoint is saved in it. So what f does there is done exactly
// once, whatever crashes. Messages may be retried, when the transaction was rolled
// back; what f does elsewhere may be done again.
//
// The rules of [Store.InTx] hold for f: it appends by its context, and must not end
// tx. The transaction is bounded by Options.HandlerTime.
func (s *Store) Handler(f HandlerFunc) *Handler { return &Handler{s, f} }

// A Handler is made by [Store.Handler].
type Handler struct {
	store *Store
	f     HandlerFunc
}

var _ evsourcing.Handler = (*Handler)(nil)

// CheckpointStore returns the store whose transactions the handler runs in. It has to
// be the subscription's.
func (h *Handler) CheckpointStore() evsourcing.CheckpointStore { return h.store }

// Handle runs the function in a transaction that saves no checkpoint.
func (h *Handler) Handle(ctx context.Context, msgs []evsourcing.Message) error {
	return h.run(ctx, nil, msgs)
}

// HandleTx does what Handle does, and saves the checkpoint to under the name in the
// same transaction. If a saved checkpoint is not at from's position any more, or
// a higher token than to's was claimed or saved, the error is
// [evsourcing.ErrFenced]. After any error but [evsourcing.ErrUncertain] nothing was
// committed; after that, Checkpoint tells.
func (h *Handler) HandleTx(ctx context.Context, name string, from, to evsourcing.Checkpoint, msgs []evsourcing.Message) error {
	for _, c := range []evsourcing.Checkpoint{from, to} {
		if err := checkCheckpoint(ctx, name, c); err != nil {
			return err
		}
	}
	return h.run(ctx, &advance{name, from, to}, msgs)
}

func (h *Handler) run(ctx context.Context, adv *advance, msgs []evsourcing.Message) error {
	bounded, cancel := context.WithTimeoutCause(ctx, h.store.opts.HandlerTime,
		fmt.Errorf("evsourcing: postgres: the handler's transaction took longer than HandlerTime, %v: %w", h.store.opts.HandlerTime, context.DeadlineExceeded))
	defer cancel()
	err := h.store.run(bounded, h.store.handlerBegin(), adv, func(ctx context.Context, t *transaction) error {
		return h.f(ctx, guardedTx{t}, msgs)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && bounded.Err() != nil {
		return errors.Join(context.Cause(bounded), err)
	}
	return err
}

// handlerBegin begins a transaction that the server ends if its owner is stuck: what
// it has locked must not hold up the next owner.
func (s *Store) handlerBegin() string {
	ms := s.opts.HandlerTime.Milliseconds()
	return fmt.Sprintf("%s; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL statement_timeout = %d", beginSQL, ms, ms)
}
