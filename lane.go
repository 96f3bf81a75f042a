package evsourcing

import (
	"context"
	"hash/maphash"
	"log/slog"
	"math"
	"runtime/debug"
	"sync/atomic"
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
func (b *EventBus) laneHash(id StreamID) uint64 {
	return maphash.String(b.seed, id.Type)*31 ^ maphash.String(b.seed, id.ID)
}

// push queues an item in its stream's lane, and sees that the lane runs. The
// bus's mu is held.
func (s *busSubscription) push(hash uint64, m *Message, r Reactor) {
	s.pushed++
	l := &s.lanes[hash%uint64(len(s.lanes))]
	l.in = append(l.in, laneItem{message: *m, reactor: r})
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

	_ [64]byte // the next lane follows
}

// laneItem is a message and whom it is for.
type laneItem struct {
	message Message
	reactor Reactor // nil once the message is given up
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

// finish runs an item until it is settled. It returns false when the bus is cut
// short before that.
func (l *lane) finish(item *laneItem) bool {
	b := l.sub.bus
	ctx := newReactorContext(b.ctx, &item.message)
	for item.reactor != nil {
		if l.err == nil { // else an attempt ended in Goexit
			if b.ctx.Err() != nil {
				return false
			}
			l.attempts++
			l.attempt(ctx, item)
		}
		if l.err == nil {
			break
		}
		if b.ctx.Err() != nil {
			return false
		}
		if l.attempts >= b.opts.Retry.MaxAttempts {
			d := DeadLetter{Subscription: l.sub.name, Message: item.message, Attempts: l.attempts, Err: l.err}
			item.reactor, l.err = nil, nil // should DeadLetter call Goexit, the item is done
			b.giveUp(ctx, d)
			break
		}
		pause := b.opts.Retry.pause(l.attempts)
		b.log(ctx, slog.LevelWarn, "evsourcing: reactor failed and will be tried again",
			append(messageAttrs(l.sub.name, &item.message), slog.Int("attempt", l.attempts),
				slog.Duration("pause", pause), errAttr(l.err)))
		if sleep(b.ctx, pause) != nil {
			return false
		}
		l.err = nil
	}
	l.attempts = 0
	if l.sub.inbox != nil {
		l.sub.inbox.settle(item.message.ID)
	}
	l.sub.settle()
	return true
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

// giveUp hands a message to DeadLetter and logs it.
func (b *EventBus) giveUp(ctx context.Context, d DeadLetter) {
	attrs := append(messageAttrs(d.Subscription, &d.Message), slog.Int("attempts", d.Attempts), errAttr(d.Err))
	if p, ok := d.Err.(*PanicError); ok { // no errors.As: it would call methods of an error that may be anything
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	if b.opts.DeadLetter == nil {
		b.log(ctx, slog.LevelError, "evsourcing: message dropped; set DeadLetter to keep such messages", attrs)
		return
	}
	b.log(ctx, slog.LevelError, "evsourcing: message goes to DeadLetter", attrs)
	var err error
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
		if err != nil {
			b.log(ctx, slog.LevelError, "evsourcing: message lost, DeadLetter failed",
				append(messageAttrs(d.Subscription, &d.Message), errAttr(err)))
		}
	}()
	err = b.opts.DeadLetter(ctx, d)
	returned = true
}

// log writes a record. A handler that panics, on an error that can't say what it
// is for example, must not end the process from a lane.
func (b *EventBus) log(ctx context.Context, level slog.Level, msg string, attrs []slog.Attr) {
	defer func() { _ = recover() }()
	b.opts.Logger.LogAttrs(ctx, level, msg, attrs...)
}

func messageAttrs(subscription string, m *Message) []slog.Attr {
	return []slog.Attr{
		slog.String("subscription", subscription),
		slog.String("topic", m.Topic),
		slog.String("stream", m.Stream.String()),
		slog.Uint64("version", m.Version),
		slog.String("event_id", m.ID.String()),
	}
}

func errAttr(err error) slog.Attr { return slog.Any("error", err) }

// reactorContext is the context of a reactor: the bus's, with the message being
// handled, which what it stores names as its cause.
type reactorContext struct {
	context.Context
	cause cause
}

func newReactorContext(ctx context.Context, m *Message) *reactorContext {
	return &reactorContext{Context: ctx, cause: cause{id: m.ID, metadata: m.Metadata}}
}

func (c *reactorContext) Value(key any) any {
	switch key.(type) {
	case causeKey:
		return &c.cause
	case reactorKey:
		return c
	}
	return c.Context.Value(key)
}
