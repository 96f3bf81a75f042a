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

// deliver adds a message that is not settled, and returns its number.
func (w *watermark) deliver(m Mark) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.push(watermarkEntry{mark: m})
	return w.next - 1
}

// scan says that everything up to the mark has been delivered or is not wanted.
func (w *watermark) scan(m Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.push(watermarkEntry{mark: m, settled: true})
}

func (w *watermark) push(e watermarkEntry) {
	if n := uint64(len(w.ring)); w.next-w.first == n {
		ring := make([]watermarkEntry, 2*n)
		for seq := w.first; seq < w.next; seq++ {
			ring[seq%(2*n)] = w.ring[seq%n]
		}
		w.ring = ring
	}
	w.ring[w.next%uint64(len(w.ring))] = e
	w.next++
	if w.next-w.first == 1 {
		w.rise()
	}
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

// full reports whether no more messages should be delivered for now.
func (w *watermark) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next-w.first >= maxAhead
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
