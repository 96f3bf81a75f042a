package evsourcing

import (
	"context"
	"sync"
)

// maxSnapshotsWaiting is how many streams at most wait for their snapshot, and
// how many failures are remembered.
const maxSnapshotsWaiting = 1024

// A snapshotTaker takes snapshots one after the other, in a goroutine that lives
// as long as there is work. Nobody waits for it but Close.
type snapshotTaker struct {
	// take takes the stream's snapshot, at the version asked for or a later one.
	// It may panic, or not return.
	take func(ctx context.Context, id StreamID, version uint64) error
	// failed is told of take's error.
	failed func(ctx context.Context, id StreamID, err error)
	// pause is for how many versions a stream is left alone after a failure.
	pause uint64

	ctx    context.Context // of take
	cancel context.CancelFunc

	mu      sync.Mutex
	waiting []StreamID // first come, first served
	asked   map[StreamID]uint64
	current StreamID            // being taken, unless zero
	version uint64              // that was asked for when the current one began
	resume  map[StreamID]uint64 // after a failure, the version from which to try again
	closed  bool
	idle    chan struct{} // closed when the goroutine ends; nil if there is none
}

func newSnapshotTaker(pause uint64) *snapshotTaker {
	t := &snapshotTaker{asked: map[StreamID]uint64{}, resume: map[StreamID]uint64{}, pause: pause}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// ask queues the stream, whose version is given, and does not wait. It returns
// false if the snapshot will not be taken: there is no room, the last one failed
// not long ago, or the taker is closed.
func (t *snapshotTaker) ask(id StreamID, version uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || version < t.resume[id] {
		return false
	}
	if id == t.current && version <= t.version {
		return true
	}
	if at, ok := t.asked[id]; ok {
		t.asked[id] = max(at, version)
		return true
	}
	if len(t.waiting) >= maxSnapshotsWaiting {
		return false
	}
	t.waiting = append(t.waiting, id)
	t.asked[id] = version
	if t.idle == nil {
		t.idle = make(chan struct{})
		t.next()
	}
	return true
}

// next starts the next snapshot, or ends the work. Called with mu held.
func (t *snapshotTaker) next() {
	if t.ctx.Err() != nil {
		t.waiting = nil
		clear(t.asked)
	}
	if len(t.waiting) == 0 {
		t.waiting = nil
		t.current = StreamID{}
		close(t.idle)
		t.idle = nil
		return
	}
	t.current = t.waiting[0]
	t.version = t.asked[t.current]
	t.waiting = t.waiting[1:]
	delete(t.asked, t.current)
	go t.run(t.current, t.version)
}

// run takes one snapshot. It has a goroutine of its own, so that an aggregate
// whose code calls runtime.Goexit ends nothing else.
func (t *snapshotTaker) run(id StreamID, version uint64) {
	ok := false
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !ok {
			if len(t.resume) >= maxSnapshotsWaiting {
				clear(t.resume)
			}
			t.resume[id] = version + t.pause
		} else {
			delete(t.resume, id)
		}
		t.next()
	}()
	err := t.attempt(id, version)
	ok = err == nil
	if err != nil && t.ctx.Err() == nil {
		t.failed(t.ctx, id, err)
	}
}

func (t *snapshotTaker) attempt(id StreamID, version uint64) (err error) {
	defer errorOfPanic(&err)
	return t.take(t.ctx, id, version)
}

// close refuses further work and waits for what there is, as long as ctx lasts.
// Then it cancels that, and returns the context's error.
func (t *snapshotTaker) close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	idle := t.idle
	t.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		t.cancel()
		return ctx.Err()
	}
}
