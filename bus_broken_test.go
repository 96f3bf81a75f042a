package evsourcing_test

import (
	"context"
	"sync/atomic"

	"github.com/evsourcing/evsourcing"
)

// busLike is what tests that hunt for faults need of a bus, so that they can be shown
// one that has some.
type busLike interface {
	evsourcing.Publisher
	Subscribe(name string, r evsourcing.Reactor, topics ...string) error
	Listen() error
	Close(ctx context.Context) error
	Pending() int
}

// A waitingBus does not know that a reactor publishes, so it makes it wait for room,
// which may be what the reactor itself takes.
type waitingBus struct{ *evsourcing.EventBus }

func (b waitingBus) Publish(_ context.Context, msgs ...evsourcing.Message) error {
	return b.EventBus.Publish(context.Background(), msgs...)
}

// A droppingBus drops one of so many batches without a word, or, if that is 0, all that
// come after Close was called.
type droppingBus struct {
	*evsourcing.EventBus
	one     int64
	batches atomic.Int64
	closed  atomic.Bool
}

func (b *droppingBus) Publish(ctx context.Context, msgs ...evsourcing.Message) error {
	if n := b.batches.Add(1); b.one > 0 && n%b.one == 0 || b.one == 0 && b.closed.Load() {
		return nil
	}
	return b.EventBus.Publish(ctx, msgs...)
}

func (b *droppingBus) Close(ctx context.Context) error {
	b.closed.Store(true)
	return b.EventBus.Close(ctx)
}
