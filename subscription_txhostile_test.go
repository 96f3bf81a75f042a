package evsourcing_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
)

// stoppedHandler commits, but is stopped before it hears of that.
type stoppedHandler struct {
	*txHandler
	stop func()
	on   atomic.Bool
}

func (h *stoppedHandler) HandleTx(ctx context.Context, name string, from, to evsourcing.Checkpoint, msgs []evsourcing.Message) error {
	if len(msgs) > 0 && h.on.Load() {
		h.stop()
		<-ctx.Done()
		if err := h.txHandler.HandleTx(context.WithoutCancel(ctx), name, from, to, msgs); err != nil {
			return err
		}
		return evsourcing.ErrUncertain
	}
	return h.txHandler.HandleTx(ctx, name, from, to, msgs)
}

// Run returns nil when its context ends.
func TestTxHandlerThatIsStoppedInItsCommitEndsOrderly(t *testing.T) {
	s := newTxStore()
	write(t, s, "note", "a", 3)
	h := &stoppedHandler{txHandler: s.handler(nil)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.stop = cancel
	h.on.Store(true)
	write(t, s, "other", "b", 2)
	head := write(t, s, "note", "a", 1)
	sub := s.subscribe(h, evsourcing.SubscriptionOptions{BatchSize: 1, Filter: evsourcing.Filter{Topics: []string{"note"}}})
	err := sub.Run(ctx)
	assert.NoError(t, err)
	h.on.Store(false)
	ctx2, cancel2 := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel2()
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx2) }()
	for sub.WaitFor(ctx2, head) != nil && ctx2.Err() == nil {
		runtime.Gosched() // until Run has begun
	}
	cancel2()
	assert.NoError(t, <-done)
	// Now one that begins with unwanted events.
	write(t, s, "other", "b", 2)
	write(t, s, "note", "a", 1)
	h.on.Store(true)
	ctx3, cancel3 := context.WithCancel(t.Context())
	defer cancel3()
	h.stop = cancel3
	assert.NoError(t, sub.Run(ctx3))
}

// WaitFor while Run ends and begins again: it returns nil only when the position is
// reached.
func TestWaitForBetweenTwoRunsIsNoSuccess(t *testing.T) {
	s := newTxStore()
	head := write(t, s, "note", "a", 1)
	sub := s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				err := sub.WaitFor(ctx, head+1)
				cancel()
				if err == nil {
					t.Error("WaitFor returned nil for a position that there is not")
					return
				}
				if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, evsourcing.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	for range 500 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		_ = sub.Run(ctx)
		cancel()
	}
	close(stop)
	wg.Wait()
}

// The same after unwanted events whose checkpoint is not saved yet.
func TestTxHandlerThatIsStoppedInItsCommitAfterUnwantedEventsEndsOrderly(t *testing.T) {
	s := newTxStore()
	h := &stoppedHandler{txHandler: s.handler(nil)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.stop = cancel
	sub := s.subscribe(h, evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"note"}}})
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	head := write(t, s, "note", "a", 1)
	assert.NoError(t, sub.WaitFor(ctx, head))
	head = write(t, s, "other", "b", 2)
	assert.NoError(t, sub.WaitFor(ctx, head))
	h.on.Store(true)
	write(t, s, "note", "a", 1)
	assert.NoError(t, <-done)
}
