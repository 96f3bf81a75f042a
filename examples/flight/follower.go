package main

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
)

// A follower keeps a delay board by a subscription to the log. A bus tells its
// reactors what this process has saved, once; a subscription reads what is
// stored, whoever stored it, and asks again until it has succeeded.
type follower struct {
	board        board
	log          evsourcing.Log
	subscription *evsourcing.Subscription
	stop         context.CancelFunc // ends Run
	ended        chan error         // gets what Run returned
}

// newFollower returns a follower that keeps the board. It does not follow before
// start. The store must be a log and keep checkpoints.
//
// A board that lasts goes on where it was. One that does not is empty, so a
// checkpoint that an earlier one has left in the store is not its own: it shows
// what is stored from now on, and where that begins is saved.
func newFollower(ctx context.Context, store evsourcing.EventStore, b board, logger *slog.Logger) (*follower, error) {
	log, err := evsourcing.Require[evsourcing.Log](store)
	if err != nil {
		return nil, err
	}
	checkpoints, err := evsourcing.Require[evsourcing.CheckpointStore](store)
	if err != nil {
		return nil, err
	}
	if !b.lasts() {
		head, err := log.Head(ctx)
		if err != nil {
			return nil, err
		}
		begin := evsourcing.Checkpoint{Position: head.Position, EventID: head.EventID}
		if err := checkpoints.SaveCheckpoint(ctx, boardName, begin); err != nil {
			return nil, err
		}
	}
	f := &follower{board: b, log: log, ended: make(chan error, 1)}
	f.subscription = evsourcing.NewSubscription(boardName, log, checkpoints, aircraft.Events(), b.handler(),
		&evsourcing.SubscriptionOptions{
			Filter: evsourcing.Filter{Topics: []string{aircraft.TakenOff{}.Topic()}},
			Logger: logger,
		})
	return f, nil
}

// start begins to follow. It goes on when ctx has ended, until close.
func (f *follower) start(ctx context.Context) {
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() { f.ended <- f.subscription.Run(ctx) }()
}

// close waits until the board shows all that is stored, and ends the
// subscription. The error says why the board may be behind.
func (f *follower) close(ctx context.Context) error {
	err := f.catchUp(ctx)
	f.stop()
	select {
	case runErr := <-f.ended:
		return cmp.Or(err, runErr) // if Run had failed before, err says so
	case <-ctx.Done():
		return cmp.Or(err, ctx.Err())
	}
}

// catchUp waits until the board shows what is stored now.
func (f *follower) catchUp(ctx context.Context) error {
	head, err := f.log.Head(ctx)
	if err != nil {
		return err
	}
	return f.subscription.WaitFor(ctx, head.Position)
}
