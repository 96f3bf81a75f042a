package evsourcing

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Relay returns a [Subscription] that publishes the events of a log on a bus,
// which makes the bus at least once: its checkpoint stays below the first
// message that a bus subscription has not settled, by handling it or because
// DeadLetter returned nil. After a stop or a crash, Run publishes everything from
// there on again, what some subscriptions had settled included. A bus that a Relay feeds gets its events from nowhere else: no
// Repository publishes on it.
//
// Run returns [ErrNotListening] if there is something to publish and the bus is not
// listening, and [ErrBusClosed] if that is closing, or at once when it has closed.
// A message that the bus gives up without a DeadLetter, or whose DeadLetter
// fails, ends Run with an error. When Run ends, what is queued on the bus and
// not yet running is withdrawn, and Run waits for the reactors that run, unless
// the bus is cut short; so a Run that follows, also on the same bus, keeps each
// stream in order. With a Transport, a message counts as settled when the
// transport has it.
//
// When a buffer is full, a Relay waits, also with DeadLetterWhenFull. Topics that
// nobody subscribes to are best left out by a Filter. OnFailure is for events
// that can't be decoded or sent; what reactors fail on is the bus's DeadLetter's.
// Relay panics as [NewSubscription] does.
func Relay(name string, log Log, cp CheckpointStore, codec Codec, bus *EventBus, opts *SubscriptionOptions) *Subscription {
	s := newSubscription(name, log, cp, codec, opts)
	if bus == nil {
		s.refuse("the bus is nil")
	}
	s.bus = bus
	s.filterTopics(nil)
	return s
}

// A relayRun is a Relay's run. It knows which of its messages run on the bus.
type relayRun struct {
	run     *subscriptionRun
	settled chan struct{} // has something when a message is settled and no checkpoint saved since

	mu      sync.Mutex    // guards what follows
	running int           // attempts at reactors, and their settlement
	ended   chan struct{} // closed when nothing begins any more
	idle    chan struct{} // closed when besides nothing runs

	sent    uint64      // messages with lower numbers are on the bus; the lane's
	unwatch func() bool // stops watching the bus
}

func newRelayRun(r *subscriptionRun) *relayRun {
	y := &relayRun{run: r, settled: make(chan struct{}, 1), ended: make(chan struct{}), idle: make(chan struct{})}
	// What is on a bus that has been cut short will never be settled.
	y.unwatch = context.AfterFunc(r.bus.ctx, func() { r.fail(refusal(ErrBusClosed)) })
	return y
}

// refusal is a relay's error about a bus that takes nothing.
func refusal(err error) error { return fmt.Errorf("%w: a relay publishes on it", err) }

// publish puts messages with these numbers on the bus, but for those that an
// earlier attempt has sent before it failed.
func (y *relayRun) publish(ctx context.Context, msgs []Message, seqs []uint64) error {
	for len(msgs) > 0 && seqs[0] < y.sent {
		msgs, seqs = msgs[1:], seqs[1:]
	}
	receipts := make([]receipt, len(msgs))
	for i := range receipts {
		receipts[i].relay, receipts[i].seq = y, seqs[i]
	}
	size := y.run.bus.opts.Buffer // a larger batch would wait for an empty one
	for len(msgs) > 0 {
		n := min(size, len(msgs))
		if err := y.run.bus.relay(ctx, msgs[:n], receipts[:n]); err != nil {
			return err
		}
		y.sent = receipts[n-1].seq + 1
		msgs, receipts = msgs[n:], receipts[n:]
	}
	return nil
}

// save saves checkpoints as messages are settled, until the run ends.
func (y *relayRun) save() {
	for {
		select {
		case <-y.settled:
			y.run.saveOrFail()
		case <-y.run.ctx.Done():
			return
		}
	}
}

// withdraw lets nothing begin any more.
func (y *relayRun) withdraw() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.withdrawn() {
		return
	}
	close(y.ended)
	if y.running == 0 {
		close(y.idle)
	}
}

func (y *relayRun) withdrawn() bool {
	select {
	case <-y.ended:
		return true
	default:
		return false
	}
}

// end withdraws what has not begun, and waits for what runs on the bus.
func (y *relayRun) end() {
	y.unwatch()
	y.withdraw()
	select {
	case <-y.idle:
	case <-y.run.bus.ctx.Done(): // a reactor that ignores that may run for ever
	}
}

// begin reports whether a message may run now.
func (y *relayRun) begin() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.withdrawn() || y.run.ctx.Err() != nil {
		return false
	}
	y.running++
	return true
}

// pause is the end of what began.
func (y *relayRun) pause() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.running--
	if y.running == 0 && y.withdrawn() {
		close(y.idle)
	}
}

// A receipt follows one message of a Relay through the bus.
type receipt struct {
	relay *relayRun
	seq   uint64
	left  atomic.Int32 // subscriptions that have not settled it
}

// settle says that one subscription has settled the message, or with an error,
// that it can't.
func (rc *receipt) settle(err error) {
	r := rc.relay.run
	if err != nil {
		r.fail(err) // nothing begins from now on, nor does the stream's next event
		return
	}
	if rc.left.Add(-1) > 0 {
		return
	}
	r.mark.settle(rc.seq)
	r.progress.count(1, 0)
	select {
	case rc.relay.settled <- struct{}{}:
	default:
	}
}

// relay queues a relay's messages for the subscriptions to their topics, or
// hands them to the transport. It waits for room.
func (b *EventBus) relay(ctx context.Context, batch []Message, receipts []receipt) error {
	b.mu.Lock()
	r, err := b.room(ctx, batch, fromRelay)
	if err != nil {
		b.mu.Unlock()
		return err
	}
	b.giveBack(batch, r)
	if !b.dispatching(r.from) {
		err := ErrNotListening
		if b.phase == closing || b.ctx.Err() != nil {
			err = ErrBusClosed
		}
		b.mu.Unlock()
		return refusal(err)
	}
	var settled []*receipt
	for i := range batch {
		rc := &receipts[i]
		subscriptions := len(b.routes[batch[i].Topic])
		if b.link != nil || subscriptions == 0 {
			subscriptions = 1
			settled = append(settled, rc)
		}
		rc.left.Store(int32(subscriptions))
		if b.link == nil {
			b.dispatch(&batch[i], rc)
		}
	}
	b.mu.Unlock()
	if b.link != nil {
		if err := b.link.send(ctx, batch); err != nil {
			return err
		}
	}
	for _, rc := range settled {
		rc.settle(nil)
	}
	return nil
}
