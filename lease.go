package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A lease is claimed for three quarters of the time after which another process
// is to take over at the latest. The owner renews it, and others ask for it,
// every quarter.
func (s *Subscription) leaseTTL() time.Duration   { return s.opts.Lease / 4 * 3 }
func (s *Subscription) leaseEvery() time.Duration { return s.opts.Lease / 4 }

// claim waits until this process owns the name, and then keeps the lease until
// the run's context ends.
func (r *subscriptionRun) claim() error {
	r.progress.setState(StateStandby)
	for waiting := false; ; {
		var cp Checkpoint
		err := r.insist(r.ctx, "claiming the lease", func() (err error) {
			cp, err = r.claimer.Claim(r.ctx, r.name, r.opts.Owner, r.leaseTTL())
			return err
		})
		if err == nil {
			r.token = cp.Token
			r.progress.setState(StateRunning)
			renewed := time.Now()
			r.workers.Go(func() { r.renew(renewed) })
			return nil
		}
		if r.ctx.Err() != nil || !errors.Is(err, ErrFenced) {
			return err
		}
		if !waiting {
			waiting = true
			r.opts.Logger.InfoContext(r.ctx, "evsourcing: subscription stands by for the lease", "subscription", r.name, errAttr(err))
		}
		r.observe()
		if err := sleep(r.ctx, r.leaseEvery()); err != nil {
			return err
		}
	}
}

// observe shows how far the owner has come.
func (r *subscriptionRun) observe() {
	if cp, ok, err := r.checkpoints.Checkpoint(r.ctx, r.name); err == nil && ok {
		r.progress.reach(cp.Position)
	}
	if head, err := r.log.Head(r.ctx); err == nil {
		r.progress.seeHead(head.Position)
	}
}

// renew renews the lease until the run ends, and ends it when the lease is lost.
func (r *subscriptionRun) renew(renewed time.Time) {
	for sleep(r.ctx, r.leaseEvery()) == nil {
		began := time.Now()
		ctx, cancel := context.WithDeadline(r.ctx, renewed.Add(r.leaseTTL()))
		cp, err := r.claimer.Claim(ctx, r.name, r.opts.Owner, r.leaseTTL())
		cancel()
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil && cp.Token == r.token:
			renewed = began
			r.progress.report(renewKey{}, nil)
			continue
		case err == nil: // it had run out, and maybe somebody else was the owner
			err = fmt.Errorf("its token is %d now, and was %d", cp.Token, r.token)
		case !errors.Is(err, ErrFenced) && time.Now().Before(renewed.Add(r.leaseTTL())):
			r.progress.report(renewKey{}, err)
			r.opts.Logger.WarnContext(r.ctx, "evsourcing: subscription could not renew its lease and will try again",
				"subscription", r.name, errAttr(err))
			continue
		}
		// Another process has the lease, or may have it.
		r.cancel(&runFailure{error: fmt.Errorf("the lease is lost: %w", err), lease: true})
		return
	}
}

// renewKey is under what failures to renew are reported.
type renewKey struct{}

// release gives the lease back, so that another process need not wait for it to
// run out.
func (r *subscriptionRun) release() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), stopWait)
	defer cancel()
	if _, err := r.claimer.Claim(ctx, r.name, r.opts.Owner, 0); err != nil && !errors.Is(err, ErrFenced) {
		r.opts.Logger.WarnContext(ctx, "evsourcing: subscription could not give its lease back",
			"subscription", r.name, errAttr(err))
	}
}
