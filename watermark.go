package evsourcing

import (
	"context"
	"sync"
)

// maxAhead is how many messages a subscription delivers beyond the first that is
// not settled.
const maxAhead = 1 << 16

// A watermark knows which of the messages delivered are settled, whatever their
// order, and so how far everything is. Messages have sequence numbers, from 0.
type watermark struct {
	reached func(low uint64) // is told when low rises, with mu held

	mu    sync.Mutex // guards everything below
	ring  []watermarkEntry
	first uint64        // sequence number of the first entry
	next  uint64        // sequence number of the next one
	mark  Mark          // the last event that was delivered or scanned, with all before it settled
	low   uint64        // everything up to this position is settled
	room  chan struct{} // closed when there is room again; nil if nobody waits
}

// watermarkEntry is a message, or an event up to which the log was scanned.
type watermarkEntry struct {
	mark    Mark
	settled bool
}

func newWatermark(at Mark, reached func(low uint64)) *watermark {
	return &watermark{reached: reached, ring: make([]watermarkEntry, 64), mark: at, low: at.Position}
}

// push adds entries, with the next numbers, and returns how many there are from
// the first that is not settled.
func (w *watermark) push(entries []watermarkEntry) (ahead int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := uint64(len(w.ring))
	for size < w.next-w.first+uint64(len(entries)) {
		size *= 2
	}
	if old := uint64(len(w.ring)); size > old {
		ring := make([]watermarkEntry, size)
		for seq := w.first; seq < w.next; seq++ {
			ring[seq%size] = w.ring[seq%old]
		}
		w.ring = ring
	}
	for _, e := range entries {
		w.ring[w.next%size] = e
		w.next++
	}
	w.rise()
	return int(w.next - w.first)
}

// settle says that the messages with these numbers are settled.
func (w *watermark) settle(seqs ...uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seq := range seqs {
		w.ring[seq%uint64(len(w.ring))].settled = true
	}
	w.rise()
}

// rise takes off what is settled at the beginning.
func (w *watermark) rise() {
	low := w.low
	for ; w.first < w.next; w.first++ {
		e := &w.ring[w.first%uint64(len(w.ring))]
		if !e.settled {
			low = max(low, e.mark.Position-1) // what lies before it was passed over
			break
		}
		w.mark, low = e.mark, e.mark.Position
	}
	if low != w.low {
		w.low = low
		w.reached(low)
	}
	if w.room != nil && w.next-w.first <= maxAhead/2 {
		close(w.room)
		w.room = nil
	}
}

// settled returns the last event that everything is settled up to, and whether
// there is nothing beyond it.
func (w *watermark) settled() (m Mark, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mark, w.first == w.next
}

// ahead returns how many entries there are from the first that is not settled.
func (w *watermark) ahead() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.next - w.first)
}

// wait returns when there is room again, or ctx ends.
func (w *watermark) wait(ctx context.Context) {
	w.mu.Lock()
	if w.next-w.first < maxAhead {
		w.mu.Unlock()
		return
	}
	if w.room == nil {
		w.room = make(chan struct{})
	}
	room := w.room
	w.mu.Unlock()
	select {
	case <-room:
	case <-ctx.Done():
	}
}
