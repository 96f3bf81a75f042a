package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A turn lets one of this process write at a time, in the order of calls. Who runs
// a function of the user's meanwhile may turn out to be late: then those who wait
// get an error, because the function may itself be waiting for them.
type turn struct {
	taken chan struct{} // full while somebody has the turn

	mu     sync.Mutex // guards what follows
	late   chan struct{}
	closed bool // late is
}

func newTurn() *turn { return &turn{taken: make(chan struct{}, 1), late: make(chan struct{})} }

// lateness returns a channel that is closed when who has the turn is late.
func (t *turn) lateness() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.late
}

// expect makes the caller, who has the turn, late after d, unless over is called
// before.
func (t *turn) expect(d time.Duration, late func()) (over func()) {
	done := false // guarded by mu
	timer := time.AfterFunc(d, func() {
		t.mu.Lock()
		if !done && !t.closed {
			t.closed = true
			close(t.late)
		}
		t.mu.Unlock()
		late()
	})
	return func() {
		timer.Stop()
		t.mu.Lock()
		defer t.mu.Unlock()
		done = true
		if t.closed {
			t.late, t.closed = make(chan struct{}), false
		}
	}
}

// lock makes the caller the one who writes.
func (s *Store) lock(ctx context.Context) error {
	late := s.turn.lateness()
	select {
	case s.turn.taken <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.turn.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		return fmt.Errorf("%w: %s: the function of a transaction of this process has not returned for %v, and nothing was stored: %s",
			ErrBusy, s.path, 2*s.opts.HandlerTime, lateCauses)
	}
}

func (s *Store) unlock() { <-s.turn.taken }

// lateCauses says why a function may take so long.
const lateCauses = "it takes no notice of its context, or waits for itself, because it uses the store with another context than the one that it got"
