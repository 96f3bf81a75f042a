package evsourcing

import (
	"context"
	"slices"
	"sync"
)

// tickets gives each stream one holder at a time, first come, first served. The
// holder appends events and then queues their messages, so that messages are
// queued in the order of versions.
type tickets struct {
	mu    sync.Mutex
	lines map[StreamID][]chan struct{} // those who wait, for each stream whose ticket is taken
}

// take waits for the stream's ticket, as long as ctx lasts.
func (t *tickets) take(ctx context.Context, id StreamID) error {
	t.mu.Lock()
	line, taken := t.lines[id]
	if !taken {
		if t.lines == nil {
			t.lines = map[StreamID][]chan struct{}{}
		}
		t.lines[id] = nil
		t.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	t.lines[id] = append(line, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	line = t.lines[id]
	i := slices.Index(line, turn)
	if i >= 0 {
		t.lines[id] = slices.Delete(line, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // the turn came meanwhile
		t.give(id)
	}
	return ctx.Err()
}

// give hands the stream's ticket to the next in line.
func (t *tickets) give(id StreamID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[id]
	if len(line) == 0 {
		delete(t.lines, id)
		return
	}
	close(line[0])
	t.lines[id] = line[1:]
}
