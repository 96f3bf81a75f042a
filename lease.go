package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// A lease is claimed for three quarters of the time after which another process
// is to take over at the latest. The owner renews it, and others ask for it,
// every quarter.
func (s *Subscription) leaseTTL() time.Duration   { return s.opts.Lease / 4 * 3 }
func (s *Subscription) leaseEvery() time.Duration { return s.opts.Lease / 4 }

// minLease is the shortest lease that can be divided like that, and be renewed.
const minLease = time.Millisecond

// claim waits until this process owns the name, and keeps it the owner until
// release is called, also after the run's context has ended: handlers may still
// run then.
func (r *subscriptionRun) claim() (release func(), err error) {
	const what = "claiming the lease"
	r.progress.setState(StateStandby)
	waiting := false
	for failures := 0; ; {
		asked := time.Now()
		cp, err := r.ask(r.ctx, asked.Add(r.leaseTTL()))
		if err == nil && time.Since(asked) >= r.leaseTTL() {
			err = errors.New("the answer came when the lease had run out")
		}
		switch {
		case err == nil:
			r.token = cp.Token
			r.progress.report(what, nil)
			r.progress.setState(StateRunning)
			return r.hold(asked), nil
		case r.ctx.Err() != nil || isSafely(err, errors.ErrUnsupported):
			return nil, fmt.Errorf("%s: %w", what, err)
		case !isSafely(err, ErrFenced):
			failures++
			pause := min(r.opts.Retry.pause(failures), r.leaseEvery()) // or it might take over too late
			if err := r.complain(r.ctx, what, failures, pause, err); err != nil {
				return nil, err
			}
			continue
		}
		failures = 0
		r.progress.report(what, nil)
		if !waiting {
			waiting = true
			r.say(r.ctx, slog.LevelInfo, "evsourcing: subscription stands by for the lease", errAttr(err))
		}
		if err := r.standBy(asked.Add(r.leaseEvery())); err != nil {
			return nil, err
		}
	}
}

// standBy waits until next, and shows meanwhile how far the owner has come: more
// often while somebody waits for that.
func (r *subscriptionRun) standBy(next time.Time) error {
	for {
		r.observe(next)
		pause := time.Until(next)
		if pause <= 0 {
			return r.ctx.Err()
		}
		var asked chan struct{}
		if r.progress.awaited() {
			pause = min(pause, r.opts.PollInterval)
		} else {
			asked = r.progress.asked
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-asked:
		case <-r.ctx.Done():
		}
		t.Stop()
		if err := r.ctx.Err(); err != nil || !time.Now().Before(next) {
			return err
		}
	}
}

// ask claims the name, or renews the lease. An answer after the deadline would
// come too late.
func (r *subscriptionRun) ask(ctx context.Context, deadline time.Time) (Checkpoint, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return r.claimer.Claim(ctx, r.name, r.opts.Owner, r.leaseTTL())
}

// observe shows how far the owner has come. The store has time until next.
func (r *subscriptionRun) observe(next time.Time) {
	ctx, cancel := context.WithDeadline(r.ctx, next)
	defer cancel()
	if cp, ok, err := r.checkpoints.Checkpoint(ctx, r.name); err == nil && ok {
		r.progress.reach(cp.Position)
	}
	if head, err := r.log.Head(ctx); err == nil {
		r.progress.seeHead(head.Position)
	}
}

// hold renews the lease, which was claimed at the time asked, until release
// gives it back. A timer ends the run when the lease may have run out, whatever
// becomes of the claims: it does not depend on the store to answer.
func (r *subscriptionRun) hold(asked time.Time) (release func()) {
	expiry := time.AfterFunc(time.Until(asked.Add(r.leaseTTL())), func() {
		r.lose(errors.New("it was not renewed in time"))
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.renew(ctx, asked, expiry)
	}()
	return func() {
		cancel()
		<-done // or it might claim the name again
		expiry.Stop()
		r.giveBack()
	}
}

// lose ends the run because another process has the lease, or may have it.
func (r *subscriptionRun) lose(err error) {
	r.cancel(&runFailure{error: fmt.Errorf("the lease is lost: %w", err), again: true})
}

// renew renews the lease until ctx ends or the lease is lost.
func (r *subscriptionRun) renew(ctx context.Context, renewed time.Time, expiry *time.Timer) {
	for sleep(ctx, r.leaseEvery()) == nil {
		asked := time.Now()
		cp, err := r.ask(ctx, renewed.Add(r.leaseTTL()))
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && cp.Token == r.token:
			renewed = asked
			expiry.Reset(time.Until(renewed.Add(r.leaseTTL())))
			r.progress.report(renewKey{}, nil)
			continue
		case err == nil: // it had run out, and maybe somebody else was the owner
			err = fmt.Errorf("its token is %d now, and was %d", cp.Token, r.token)
		case !isSafely(err, ErrFenced) && time.Now().Before(renewed.Add(r.leaseTTL())):
			r.progress.report(renewKey{}, err)
			r.say(ctx, slog.LevelWarn, "evsourcing: subscription could not renew its lease and will try again", errAttr(err))
			continue
		}
		r.lose(err)
		return
	}
}

// renewKey is under what failures to renew are reported.
type renewKey struct{}

// giveBack ends the lease, so that another process need not wait for it to run
// out.
func (r *subscriptionRun) giveBack() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), stopWait)
	defer cancel()
	if _, err := r.claimer.Claim(ctx, r.name, r.opts.Owner, 0); err != nil && !isSafely(err, ErrFenced) {
		r.say(ctx, slog.LevelWarn, "evsourcing: subscription could not give its lease back", errAttr(err))
	}
}
