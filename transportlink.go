package evsourcing

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// transportLink ties an EventBus to its Transport: it sends what is published,
// and receives for each subscription into the subscription's lanes.
type transportLink struct {
	bus     *EventBus
	encoder MessageEncoder
	ctx     context.Context // of the receivers
	cancel  context.CancelFunc

	inboxes []*inbox // Listen's until it has started them, then leave's
	started bool     // guarded by the bus's mu
	extends sync.WaitGroup
	leaving sync.Once
	ended   chan struct{} // closed when there is nothing left to extend
	left    chan struct{} // closed when leave is done
}

// ackWait is how long a transport waits for a delivery to be settled or
// extended; the link extends three times as often.
const ackWait = 30 * time.Second

// sendWait bounds what is said to the transport after its context has ended.
const sendWait = 5 * time.Second

func newTransportLink(b *EventBus) *transportLink {
	l := &transportLink{bus: b, encoder: b.opts.MessageEncoder, ended: make(chan struct{}), left: make(chan struct{})}
	if l.encoder == nil {
		if b.opts.Codec == nil {
			panic("evsourcing: NewEventBus: a Transport needs a Codec or a MessageEncoder")
		}
		l.encoder = jsonMessages{codec: b.opts.Codec}
	}
	l.ctx, l.cancel = context.WithCancel(b.ctx)
	return l
}

// join joins the groups of all subscriptions.
func (l *transportLink) join() error {
	for _, sub := range l.bus.subs {
		g := Group{Name: sub.name, Topics: l.topics(sub), InFlight: l.bus.opts.Buffer, AckWait: ackWait}
		receiver, err := l.bus.opts.Transport.Join(l.ctx, g)
		if err != nil {
			return fmt.Errorf("evsourcing: listen: join the group of subscription %q: %w", sub.name, err)
		}
		l.inboxes = append(l.inboxes, newInbox(l, sub, receiver))
	}
	return nil
}

// topics returns the subscription's topics by all the names that they have in
// messages of older programs.
func (l *transportLink) topics(sub *busSubscription) (names []string) {
	for _, topic := range sub.topics {
		if codec := l.bus.opts.Codec; codec != nil {
			names = append(names, codec.Names(topic)...)
		} else {
			names = append(names, topic)
		}
	}
	return names
}

// start starts receiving. The bus's mu is held.
func (l *transportLink) start() {
	l.started = true
	for _, in := range l.inboxes {
		l.bus.active++
		go in.run()
		l.extends.Go(in.extend)
	}
}

// stop stops receiving, so that the bus drains. The bus's mu is held.
func (l *transportLink) stop() { l.cancel() }

// leave ends the link when the lanes have stopped or been cut. It waits for
// that as long as ctx lasts, and reports whether it was long enough.
func (l *transportLink) leave(ctx context.Context) bool {
	l.bus.mu.Lock()
	started := l.started
	l.bus.mu.Unlock()
	if !started {
		return true // Listen, if it still tries, leaves what it has joined
	}
	l.leaving.Do(func() {
		close(l.ended)
		go func() {
			l.extends.Wait()
			l.unjoin()
			close(l.left)
		}()
	})
	select {
	case <-l.left:
	case <-ctx.Done():
	}
	select {
	case <-l.left:
		return true
	default:
		return false
	}
}

// unjoin leaves the groups: what is not settled goes to other receivers.
func (l *transportLink) unjoin() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), sendWait)
	defer cancel()
	for _, in := range l.inboxes {
		for _, d := range in.unsettled() {
			in.nack(d)
		}
		if err := in.receiver.Close(ctx); err != nil {
			l.bus.opts.Logger.WarnContext(ctx, "evsourcing: leaving a transport's group failed",
				"subscription", in.sub.name, errAttr(err))
		}
	}
	l.inboxes = nil
}

// send encodes messages and hands them to the transport.
func (l *transportLink) send(ctx context.Context, batch []Message) error {
	envelopes := make([]Envelope, len(batch))
	for i := range batch {
		m := &batch[i]
		data, err := l.encoder.EncodeMessage(*m)
		if err != nil {
			return fmt.Errorf("evsourcing: encode message %v, topic %q: %w", m.ID, m.Topic, err)
		}
		envelopes[i] = Envelope{ID: m.ID.String(), Key: m.Stream.String(), Topic: m.Topic, Header: m.Metadata, Data: data}
	}
	if err := l.bus.opts.Transport.Send(ctx, envelopes...); err != nil {
		return fmt.Errorf("evsourcing: send %d messages: %w", len(batch), err)
	}
	return nil
}
