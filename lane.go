package evsourcing

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A busSubscription is what is subscribed under one name: the room it has left,
// and the lanes its messages go through.
type busSubscription struct {
	bus    *EventBus
	name   string
	topics []string
	lanes  []lane
	inbox  *inbox // nil without a Transport

	// Guarded by the bus's mu.
	pushed   int // messages ever queued
	reserved int // room promised to publishers
	seen     int // settled, when last looked at
	batch    uint64
	empty    bool // it was when that batch began
	waiters  []*roomWaiter

	_       [64]byte // lanes write to what follows, publishers to what precedes
	settled atomic.Int64
	resume  atomic.Int64 // the count of settled at which those who wait are served; far away if nobody does
}

func newBusSubscription(b *EventBus, name string) *busSubscription {
	s := &busSubscription{bus: b, name: name, lanes: make([]lane, b.opts.Concurrency)}
	s.resume.Store(math.MaxInt64)
	for i := range s.lanes {
		s.lanes[i].sub = s
	}
	return s
}

// pending returns the number of messages queued or running.
func (s *busSubscription) pending() int {
	s.seen = int(s.settled.Load())
	return s.pushed - s.seen
}

// load returns the room taken. It is exact if it is at least limit, and may be
// too high below: settled is another core's cache line, read only if need be.
func (s *busSubscription) load(limit int) int {
	if n := s.pushed - s.seen + s.reserved; n < limit {
		return n
	}
	return s.pending() + s.reserved
}

// reserve takes room for one more message of a batch, and reports whether there
// was any.
func (s *busSubscription) reserve(batch uint64, limit int) bool {
	load := s.load(limit)
	if s.batch != batch {
		s.batch, s.empty = batch, load == 0 || s.pending()+s.reserved == 0
	}
	s.reserved++
	return load < limit || s.empty
}

// settle counts a message as handled or given up, and lets publishers know.
func (s *busSubscription) settle() {
	if s.settled.Add(1) >= s.resume.Load() {
		s.bus.mu.Lock()
		s.bus.serve(s)
		s.bus.mu.Unlock()
	}
}

// laneHash spreads the streams over lanes.
func (b *EventBus) laneHash(id StreamID) uint64 { return streamHash(b.seed, id) }

// push queues an item in its stream's lane, and sees that the lane runs. The
// bus's mu is held.
func (s *busSubscription) push(hash uint64, m *Message, r Reactor, rc *receipt) {
	s.pushed++
	l := &s.lanes[hash%uint64(len(s.lanes))]
	l.in = append(l.in, laneItem{message: *m, reactor: r, receipt: rc})
	if !l.running && s.bus.ctx.Err() == nil {
		l.running = true
		s.bus.active++
		go l.run()
	}
}

// A lane runs the messages of some streams one after the other, in a goroutine
// that lives as long as there are any.
type lane struct {
	sub     *busSubscription
	in      []laneItem // queued; guarded by the bus's mu
	running bool       // a goroutine owns the lane; guarded by the bus's mu

	_        [64]byte   // publishers write to what precedes, that goroutine to what follows
	work     []laneItem // taken from the queue
	at       int        // the one being run
	attempts int        // at running it
	err      error      // the last attempt's
	begun    bool       // the item's relay knows that it runs
	lost     error      // why the item can't be settled, for its relay

	_ [64]byte // the next lane follows
}

// laneItem is a message and whom it is for.
type laneItem struct {
	message Message
	reactor Reactor  // nil once the message is given up
	receipt *receipt // nil unless a Relay published it
}

// keepLane is the capacity that a lane's slices keep when they are empty.
const keepLane = 4096

// run empties the lane.
func (l *lane) run() {
	exiting := true
	defer func() {
		if exiting { // a reactor called runtime.Goexit; its item is not done
			go l.run()
		}
	}()
	for {
		for l.at < len(l.work) {
			if !l.finish(&l.work[l.at]) {
				l.stop()
				exiting = false
				return
			}
			l.work[l.at] = laneItem{}
			l.at++
		}
		if !l.next() {
			exiting = false
			return
		}
	}
}

// next takes what is queued. If nothing is, the lane stops running.
func (l *lane) next() bool {
	b := l.sub.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if cap(l.work) > keepLane {
		l.work, l.at = nil, 0
	}
	if len(l.in) == 0 || b.ctx.Err() != nil {
		l.stopped()
		return false
	}
	l.work, l.in, l.at = l.in, l.work[:0], 0
	return true
}

func (l *lane) stop() {
	l.sub.bus.mu.Lock()
	defer l.sub.bus.mu.Unlock()
	l.stopped()
}

func (l *lane) stopped() {
	l.running = false
	l.sub.bus.idle()
}

// finish runs an item until it is settled, or its relay has withdrawn it. It
// returns false when the bus is cut short before that.
func (l *lane) finish(item *laneItem) bool {
	b := l.sub.bus
	ctx := newReactorContext(b.ctx, &item.message)
	for item.reactor != nil {
		if l.err == nil { // else an attempt ended in Goexit
			if b.ctx.Err() != nil {
				return false
			}
			if !l.begin(item) {
				break
			}
			l.attempts++
			l.attempt(ctx, item)
		}
		if l.err == nil {
			break
		}
		if b.ctx.Err() != nil {
			l.pause(item)
			return false
		}
		if l.attempts >= b.opts.Retry.MaxAttempts {
			l.giveUp(ctx, item)
			break
		}
		pause := b.opts.Retry.pause(l.attempts)
		b.log(ctx, slog.LevelWarn, "evsourcing: reactor failed and will be tried again",
			append(messageAttrs(l.sub.name, &item.message), slog.Int("attempt", l.attempts),
				slog.Duration("pause", pause), errAttr(l.err)))
		l.pause(item)
		if item.sleep(b.ctx, pause) != nil {
			return false
		}
		l.err = nil
	}
	l.attempts = 0
	if l.begun {
		item.receipt.settle(l.lost)
		l.pause(item)
	}
	l.lost = nil
	if l.sub.inbox != nil {
		l.sub.inbox.settle(item.message.ID)
	}
	l.sub.settle()
	return true
}

// begin tells the item's relay, if it has one, that a reactor runs. It returns
// false if the relay has ended.
func (l *lane) begin(item *laneItem) bool {
	if item.receipt == nil || l.begun {
		return true
	}
	l.begun = item.receipt.relay.begin()
	return l.begun
}

// pause tells the item's relay that nothing runs.
func (l *lane) pause(item *laneItem) {
	if l.begun {
		l.begun = false
		item.receipt.relay.pause()
	}
}

// giveUp is the end of an item whose attempts have all failed.
func (l *lane) giveUp(ctx context.Context, item *laneItem) {
	b := l.sub.bus
	d := DeadLetter{Subscription: l.sub.name, Message: item.message, Attempts: l.attempts, Err: l.err}
	if item.receipt != nil { // what ends its relay, unless DeadLetter returns nil
		l.lost = fmt.Errorf("subscription %q of the bus gave up the event at position %d, topic %q, after %d attempts: %w",
			d.Subscription, d.Message.Position, d.Message.Topic, d.Attempts, d.Err)
	}
	item.reactor, l.err = nil, nil // should DeadLetter call Goexit, the item is done
	if err := b.giveUp(ctx, d, item.receipt != nil); err == nil {
		l.lost = nil
	}
}

// sleep waits for d, or less when ctx or the item's relay ends; it returns the
// context's error.
func (item *laneItem) sleep(ctx context.Context, d time.Duration) error {
	if item.receipt == nil {
		return sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-item.receipt.relay.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// attempt runs the item's reactor once and sets l.err, even if the reactor does
// not return.
func (l *lane) attempt(ctx context.Context, item *laneItem) {
	returned := false
	defer func() {
		if !returned {
			l.err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	l.err = item.reactor.React(ctx, item.message)
	returned = true
}

// reactorContext is the context of a reactor: the bus's, with the message being
// handled, which what it stores names as its cause.
type reactorContext struct{ causeContext }

func newReactorContext(ctx context.Context, m *Message) *reactorContext {
	return &reactorContext{causeContext{Context: ctx, cause: cause{id: m.ID, metadata: m.Metadata}}}
}

func (c *reactorContext) Value(key any) any {
	if _, ok := key.(reactorKey); ok {
		return c
	}
	return c.causeContext.Value(key)
}
