package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A subscriptionRun is what Run does while it may: it reads the log, hands
// batches to lanes, and saves how far they have come.
type subscriptionRun struct {
	*Subscription
	ctx    context.Context // of the handlers; ends when the run stops
	cancel context.CancelCauseFunc
	token  uint64
	mark   *watermark
	relay  *relayRun // nil unless it is a Relay's

	lanes   []*subscriptionLane
	workers sync.WaitGroup // lanes, and who saves

	saving chan struct{} // has one element, which is taken while a checkpoint is saved
	mu     sync.Mutex    // guards what follows; for writing, saving has to be taken too
	saved  Mark          // of the checkpoint
	last   time.Time     // when it was saved

	uncertain bool // a transaction's outcome was not known, and it seemed lost; guarded by saving
}

// A runFailure is the cause with which a run that has failed ends its context.
type runFailure struct {
	error
	again bool // the lease is lost and may be had again, or another attempt has moved the checkpoint
}

func (f *runFailure) Unwrap() error { return f.error }

// laneQueue is how many batches wait for a lane before the reader does: some, so
// that a lane that is slow for a while does not stop the others.
const laneQueue = 4

// stopWait bounds what is said to a store after Run's context has ended.
const stopWait = 5 * time.Second

// session is a run from getting the lease to giving it back. The error is nil if
// ctx ended it, and lost says that losing the lease did.
func (s *Subscription) session(ctx context.Context) (lost bool, err error) {
	r := &subscriptionRun{Subscription: s, saving: make(chan struct{}, 1)}
	r.saving <- struct{}{}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	r.progress.forget()
	if s.claimer != nil {
		release, err := r.claim()
		if err != nil {
			return false, r.reason(err)
		}
		defer release()
	}
	defer r.stop() // before release, also if the log ends this goroutine
	if err := r.start(); err != nil {
		r.failStore(err)
		return r.lost(), r.reason(nil)
	}
	r.read()
	r.stop()
	err = r.reason(nil)
	saveErr := r.saveLast()
	if r.claimer != nil && isSafely(saveErr, ErrFenced) {
		saveErr = nil // another owner goes on from where it was
	}
	if saveErr != nil && !r.lost() {
		err = errors.Join(err, saveErr)
	}
	return r.lost(), err
}

// stop ends the run, and waits for everything that it has begun.
func (r *subscriptionRun) stop() {
	r.cancel(nil)
	r.workers.Wait()
	if r.relay != nil {
		r.relay.end()
	}
}

// fail ends the run because of err.
func (r *subscriptionRun) fail(err error) { r.cancel(&runFailure{error: err}) }

// failStore ends the run because of what the checkpoint store has said.
func (r *subscriptionRun) failStore(err error) {
	if r.claimer != nil && isSafely(err, ErrFenced) {
		r.lose(err) // it is the first to notice
		return
	}
	r.fail(err)
}

// lost reports whether the run has ended because it lost its lease, or its place:
// it may begin again.
func (r *subscriptionRun) lost() bool {
	f, ok := context.Cause(r.ctx).(*runFailure)
	return ok && f.again
}

// reason returns why the run has failed; nil if its context ended without that.
// err is what a call returned.
func (r *subscriptionRun) reason(err error) error {
	f, ok := context.Cause(r.ctx).(*runFailure)
	switch {
	case ok:
		return f.error
	case r.ctx.Err() != nil:
		return nil
	}
	return err
}

// insist calls f until it succeeds, the context ends, or it makes no sense to go
// on.
func (r *subscriptionRun) insist(ctx context.Context, what string, f func() error) error {
	for failures := 0; ; {
		err := f()
		if err == nil {
			if failures > 0 {
				r.progress.report(what, nil)
			}
			return nil
		}
		if ctx.Err() != nil || final(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		failures++
		if r.complain(ctx, what, failures, r.opts.Retry.pause(failures), err) != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// complain notes a failure of the log or the checkpoint store, and pauses.
func (r *subscriptionRun) complain(ctx context.Context, what string, failures int, pause time.Duration, err error) error {
	r.progress.report(what, err)
	r.say(ctx, slog.LevelWarn, "evsourcing: subscription will try again after a failure of "+what,
		slog.Int("attempt", failures), slog.Duration("pause", pause), errAttr(err))
	return sleep(ctx, pause)
}

// final reports whether an error of a store will stay what it is.
func final(err error) bool {
	return isSafely(err, ErrDiverged, ErrFenced, ErrClosed, errors.ErrUnsupported)
}

// start finds out where to begin, and starts the lanes.
func (r *subscriptionRun) start() error {
	var cp Checkpoint
	var known bool
	err := r.insist(r.ctx, "reading the checkpoint", func() (err error) {
		cp, known, err = r.checkpoints.Checkpoint(r.ctx, r.name)
		return err
	})
	if err != nil {
		return err
	}
	if r.claimer == nil {
		r.token = cp.Token
	}
	at := Mark{Position: cp.Position, EventID: cp.EventID}
	if !known {
		if err := r.insist(r.ctx, "finding the start", func() (err error) { at, err = r.begin(); return err }); err != nil {
			return err
		}
	}
	r.saved = at
	r.mark = newWatermark(at, r.progress.reach)
	lanes := r.opts.Partitions
	if r.bus != nil {
		lanes = 1
		r.relay = newRelayRun(r)
		r.workers.Go(r.relay.save)
	}
	for range lanes {
		l := &subscriptionLane{run: r, in: make(chan subscriptionBatch, laneQueue)}
		if each, ok := r.handler.(eachHandler); ok {
			l.reactor = each.reactor
		}
		r.lanes = append(r.lanes, l)
		r.workers.Add(1)
		go l.loop()
	}
	return nil
}

// begin returns where a subscription without checkpoint begins. From now on
// means from now on, also if it is stopped before it has handled anything.
func (r *subscriptionRun) begin() (Mark, error) {
	if r.opts.Start != FromNow {
		at := Mark{Position: r.opts.Start}
		e, ok, err := r.event(at.Position)
		if ok {
			at.EventID = e
		}
		return at, err
	}
	at, err := r.log.Head(r.ctx)
	if err != nil {
		return at, err
	}
	if r.tx != nil {
		return at, r.commit(r.ctx, at, nil)
	}
	return at, r.checkpoints.SaveCheckpoint(r.ctx, r.name, Checkpoint{Position: at.Position, EventID: at.EventID, Token: r.token})
}

// event returns the ID of the event at the position, if there is one.
func (r *subscriptionRun) event(position uint64) (id uuid.UUID, ok bool, err error) {
	if position == 0 {
		return id, false, nil
	}
	for e, err := range r.log.Events(r.ctx, Range{After: position - 1, Until: position, Limit: 1}, Filter{}) {
		return e.ID, err == nil && e.Position == position, err
	}
	return id, false, nil
}

// save saves the checkpoint of what is settled, and tries until it works.
func (r *subscriptionRun) save(ctx context.Context) error {
	select {
	case <-r.saving:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { r.saving <- struct{}{} }()
	return r.insist(ctx, "saving the checkpoint", func() error {
		m, _ := r.mark.settled() // again, if more is settled since the last attempt
		if m.Position == r.saved.Position {
			return nil
		}
		if r.tx != nil {
			return r.commit(ctx, m, nil)
		}
		err := r.checkpoints.SaveCheckpoint(ctx, r.name, Checkpoint{Position: m.Position, EventID: m.EventID, Token: r.token})
		if err == nil {
			r.setSaved(m)
		}
		return err
	})
}

// setSaved notes the checkpoint that was saved.
func (r *subscriptionRun) setSaved(m Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved, r.last = m, time.Now()
}

// saveOrFail ends the run if the checkpoint can't be saved.
func (r *subscriptionRun) saveOrFail() {
	if err := r.save(r.ctx); err != nil && r.ctx.Err() == nil {
		r.failStore(err)
	}
}

// saveLast saves the checkpoint after the run's context has ended.
func (r *subscriptionRun) saveLast() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), stopWait)
	defer cancel()
	return r.save(ctx)
}

// lazySave is how often a checkpoint is saved that has advanced over unwanted
// events alone.
const lazySave = time.Second

// saveDue returns how long a checkpoint of unwanted events may wait; ok is false
// if there is nothing to be saved, or a lane will do it.
func (r *subscriptionRun) saveDue() (wait time.Duration, ok bool) {
	m, all := r.mark.settled()
	r.mu.Lock()
	defer r.mu.Unlock()
	return lazySave - time.Since(r.last), all && m.Position != r.saved.Position
}
