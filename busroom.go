package evsourcing

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// A reservation is room for a batch of messages, to be used by publish or given
// back by release.
type reservation struct {
	kept bool // room among the kept messages
	held bool // room in the subscriptions
	from publisher
}

// publisher says who publishes.
type publisher int

const (
	fromOutside publisher = iota
	fromReactor           // never waits
	fromRelay             // always waits, and keeps nothing
)

// publisherOf returns who publishes under ctx.
func publisherOf(ctx context.Context) publisher {
	if ctx.Value(reactorKey{}) != nil {
		return fromReactor
	}
	return fromOutside
}

// A roomWaiter is a publisher waiting for room. It stands in the queue of the
// first subscription that was full, and holds no room anywhere while it waits,
// so that it delays nobody who does not need that subscription.
type roomWaiter struct {
	batch []Message
	from  publisher
	ready chan struct{} // closed when answered

	// Guarded by the bus's mu.
	sub       *busSubscription // whose queue it is in; nil once answered
	impatient bool             // it has waited long enough
	granted   reservation
	err       error
}

// reactorKey is the context key that tells a reactor's context.
type reactorKey struct{}

// reserve finds room for the whole batch, and waits for it if need be.
func (b *EventBus) reserve(ctx context.Context, batch []Message) (reservation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.room(ctx, batch, publisherOf(ctx))
}

// room is reserve with mu held; it lets go of it while it waits.
func (b *EventBus) room(ctx context.Context, batch []Message, from publisher) (reservation, error) {
	if err := ctx.Err(); err != nil {
		return reservation{}, err
	}
	r, full, err := b.admit(batch, from, false)
	if full == nil {
		return r, err
	}
	w := &roomWaiter{batch: slices.Clone(batch), from: from, ready: make(chan struct{})}
	full.enqueue(w)
	b.serve(full) // what was settled before enqueue told lanes that somebody waits
	b.mu.Unlock()
	w.wait(ctx, b)
	b.mu.Lock()
	if w.sub == nil { // it was answered
		return w.granted, w.err
	}
	sub := w.sub
	sub.leave(w)
	b.serve(sub) // those behind it may fit
	return reservation{}, fmt.Errorf("evsourcing: waiting for room in subscription %q: %w", sub.name, ctx.Err())
}

// wait returns when the waiter is answered or ctx ends.
func (w *roomWaiter) wait(ctx context.Context, b *EventBus) {
	patience := time.NewTimer(time.Millisecond)
	defer patience.Stop()
	select {
	case <-w.ready:
		return
	case <-ctx.Done():
		return
	case <-patience.C:
	}
	b.mu.Lock()
	w.impatient = true
	if w.sub != nil {
		b.serve(w.sub)
	}
	b.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
	}
}

// admit takes room for the batch, all of it or none. If it returns full, that
// subscription has no room and the publisher has to wait; waited says that it
// has, so that those in the queue are not before it.
func (b *EventBus) admit(batch []Message, from publisher, waited bool) (r reservation, full *busSubscription, err error) {
	if !b.dispatching(from) {
		if from == fromRelay {
			return reservation{from: from}, nil, nil // it finds out
		}
		kept := len(b.kept) + b.promised
		if kept > 0 && kept+len(batch) > b.opts.Buffer {
			if b.phase == subscribing || b.phase == joining {
				return r, nil, fmt.Errorf("%w: %d messages wait for Listen", ErrNotListening, kept)
			}
			return r, nil, ErrBusClosed
		}
		b.promised += len(batch)
		return reservation{kept: true, from: from}, nil, nil
	}
	if b.link != nil || (b.opts.OnFull == DeadLetterWhenFull && from == fromOutside) {
		return reservation{from: from}, nil, nil
	}
	limit := b.opts.Buffer
	if from == fromReactor {
		limit = b.opts.MaxPending
	}
	b.batches++
	for i := range batch {
		for j, route := range b.routes[batch[i].Topic] {
			sub := route.sub
			if sub.reserve(b.batches, limit) && (waited || from == fromReactor || len(sub.waiters) == 0) {
				continue
			}
			sub.reserved--
			for _, done := range b.routes[batch[i].Topic][:j] {
				done.sub.reserved--
			}
			b.unreserve(batch[:i])
			if from == fromReactor {
				return r, nil, fmt.Errorf("%w: subscription %q has %d messages pending", ErrBusFull, sub.name, sub.pending())
			}
			return r, sub, nil
		}
	}
	return reservation{held: true, from: from}, nil, nil
}

// dispatching reports whether messages go to subscriptions now: from anywhere
// while the bus listens, and while it closes from reactors that still run.
func (b *EventBus) dispatching(from publisher) bool {
	return (b.phase == listening || b.phase == closing && from == fromReactor && b.active > 0) && b.ctx.Err() == nil
}

func (b *EventBus) unreserve(batch []Message) {
	for i := range batch {
		for _, route := range b.routes[batch[i].Topic] {
			route.sub.reserved--
		}
	}
}

// release gives a reservation back.
func (b *EventBus) release(batch []Message, r reservation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveBack(batch, r)
	if r.held {
		for i := range batch {
			for _, route := range b.routes[batch[i].Topic] {
				b.serve(route.sub)
			}
		}
	}
}

func (b *EventBus) giveBack(batch []Message, r reservation) {
	switch {
	case r.kept:
		b.promised -= len(batch)
	case r.held:
		b.unreserve(batch)
	}
}

// publish uses a reservation. It never waits for room, and without a Transport
// it does not fail.
//
// What it returns is for giveUpAll, and not before the publisher has let go of
// whatever a DeadLetter might wait for.
func (b *EventBus) publish(ctx context.Context, batch []Message, r reservation) (refused []DeadLetter, err error) {
	b.mu.Lock()
	send, refused := b.use(batch, r)
	b.mu.Unlock()
	if send {
		err = b.link.send(ctx, batch)
	}
	return refused, err
}

// use is publish with mu held. It returns whether the batch is to be sent over
// the transport, and the messages for subscriptions that are full.
func (b *EventBus) use(batch []Message, r reservation) (send bool, refused []DeadLetter) {
	b.giveBack(batch, r)
	switch {
	case !b.dispatching(r.from):
		b.kept = append(b.kept, batch...)
	case b.link != nil:
		send = true
	case r.held || r.kept:
		for i := range batch {
			b.dispatch(&batch[i], nil)
		}
	default: // DeadLetterWhenFull
		refused = b.dispatchOrRefuse(batch)
	}
	return send, refused
}

// dispatch queues a message for every subscription to its topic; rc is a
// Relay's, and else nil.
func (b *EventBus) dispatch(m *Message, rc *receipt) {
	if routes := b.routes[m.Topic]; len(routes) > 0 {
		hash := b.laneHash(m.Stream)
		for i := range routes {
			routes[i].sub.push(hash, m, routes[i].reactor, rc)
		}
	}
}

func (b *EventBus) dispatchOrRefuse(batch []Message) (refused []DeadLetter) {
	for i := range batch {
		m := &batch[i]
		hash := b.laneHash(m.Stream)
		for _, route := range b.routes[m.Topic] {
			if route.sub.load(b.opts.Buffer) < b.opts.Buffer {
				route.sub.push(hash, m, route.reactor, nil)
			} else {
				refused = append(refused, DeadLetter{Subscription: route.sub.name, Message: *m, Err: ErrBusFull})
			}
		}
	}
	return refused
}

// serve answers those who wait for room in sub, in their order, as far as there
// is room.
func (b *EventBus) serve(sub *busSubscription) {
	for len(sub.waiters) > 0 {
		w := sub.waiters[0]
		settled := sub.settled.Load() // or more, when admit looks
		r, full, err := b.admit(w.batch, w.from, true)
		if full == sub {
			if sub.postpone(b.opts.Buffer, settled) {
				return
			}
			continue
		}
		sub.leave(w)
		if full != nil {
			full.enqueue(w)
			b.serve(full) // as in reserve
			continue
		}
		w.granted, w.err = r, err
		close(w.ready)
	}
}

// postpone sets when those who wait are served next, there having been no room
// when the count of settled messages was the one given: when an eighth of the
// buffer is free, so that they run for a while then, and lanes are not stopped
// for each message; unless that takes too long, then when there is any room. If
// there was that much already, and it was not enough, when the next message is
// settled. It returns false if that has happened meanwhile.
func (s *busSubscription) postpone(buffer int, settled int64) bool {
	slack := max(1, buffer/8)
	if s.waiters[0].impatient {
		slack = 1
	}
	at := max(settled+1, int64(s.pushed+s.reserved-buffer+slack))
	s.resume.Store(at)
	return s.settled.Load() < at // a lane that settled before it saw at will not come back
}

func (s *busSubscription) enqueue(w *roomWaiter) {
	w.sub = s
	s.waiters = append(s.waiters, w)
}

func (s *busSubscription) leave(w *roomWaiter) {
	w.sub = nil
	s.waiters = slices.DeleteFunc(s.waiters, func(other *roomWaiter) bool { return other == w })
	if len(s.waiters) == 0 {
		s.resume.Store(math.MaxInt64)
	}
}
