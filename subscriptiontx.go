package evsourcing

import (
	"context"
	"errors"
	"fmt"
)

// handleTx hands msgs to the TxHandler, which saves the checkpoint of the last
// one. Nobody else saves one meanwhile: it would be of an earlier place.
func (r *subscriptionRun) handleTx(msgs []Message) error {
	select {
	case <-r.saving:
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	defer func() { r.saving <- struct{}{} }()
	ctx := r.ctx
	if len(msgs) == 1 {
		ctx = ContextWithCause(ctx, msgs[0])
	}
	last := &msgs[len(msgs)-1]
	to := Mark{Position: last.Position, EventID: last.ID}
	const what = "the handler's transaction"
	for failures := 0; ; {
		err := r.commit(ctx, to, msgs)
		if _, ok := errors.AsType[*TxError](err); !ok {
			if failures > 0 {
				r.progress.report(what, nil)
			}
			return err
		}
		if final(err) {
			r.fail(err)
			return err
		}
		failures++
		if r.complain(r.ctx, what, failures, r.opts.Retry.pause(failures), err) != nil {
			return err
		}
	}
}

// commit moves the checkpoint to a mark together with what the TxHandler does
// about msgs. saving has to be taken.
func (r *subscriptionRun) commit(ctx context.Context, to Mark, msgs []Message) error {
	from := Checkpoint{Position: r.saved.Position, EventID: r.saved.EventID, Token: r.token}
	err := r.tx.HandleTx(ctx, r.name, from, Checkpoint{Position: to.Position, EventID: to.EventID, Token: r.token}, msgs)
	if isSafely(err, ErrUncertain, ErrFenced) {
		err = r.resolve(ctx, from, to, err)
	}
	if err == nil {
		r.setSaved(to)
	}
	return err
}

// resolve finds out what became of a transaction whose error leaves that open.
// It returns nil if it was committed, and ends the run if the checkpoint is
// somebody else's by now.
func (r *subscriptionRun) resolve(ctx context.Context, from Checkpoint, to Mark, cause error) error {
	var cp Checkpoint
	var known bool
	err := r.insist(ctx, "reading the checkpoint", func() (err error) {
		cp, known, err = r.checkpoints.Checkpoint(ctx, r.name)
		return err
	})
	uncertain := isSafely(cause, ErrUncertain)
	switch {
	case isSafely(err, ErrFenced): // the name is retired
		r.failStore(err)
		return err
	case err != nil:
		r.uncertain = r.uncertain || uncertain
		return fmt.Errorf("%w; %w", cause, err)
	case cp.Token > r.token:
		err = fmt.Errorf("%w: its token is %d, and was %d: %w", ErrFenced, cp.Token, r.token, cause)
	case uncertain && cp.Position == to.Position && cp.EventID == to.EventID:
		return nil
	case cp.Position == from.Position || !known:
		r.uncertain = r.uncertain || uncertain // what was thought lost may arrive yet
		if uncertain {
			return &TxError{Err: notStored{cause}} // no message is to blame
		}
		return notStored{cause}
	default:
		err = fmt.Errorf("%w: its checkpoint is at position %d, and was at %d: %w", ErrFenced, cp.Position, from.Position, cause)
	}
	if r.uncertain && cp.Token == r.token {
		if r.ctx.Err() != nil {
			return nil // it stops, and more is saved than was to be
		}
		r.cancel(&runFailure{error: err, again: true}) // it is where an attempt of this run has put it
	} else {
		r.failStore(err)
	}
	return err
}

// notStored is a failure to commit that is like any other: what the error wraps
// says no more than its text.
type notStored struct{ cause error }

func (e notStored) Error() string { return fmt.Sprintf("nothing was committed: %v", e.cause) }
