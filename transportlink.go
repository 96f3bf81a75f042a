package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

// transportLink ties an EventBus to its Transport: it sends what is published,
// and receives for each subscription into the subscription's lanes.
type transportLink struct {
	bus     *EventBus
	encoder MessageEncoder
	ctx     context.Context //nolint:containedctx // of the receivers
	cancel  context.CancelFunc
	inboxes []*inbox
	extends sync.WaitGroup
	ended   chan struct{} // closed when there is nothing left to extend
	left    sync.Once
}

// ackWait is how long a transport waits for a delivery to be settled or
// extended; the link extends three times as often.
const ackWait = 30 * time.Second

// sendWait bounds what is said to the transport after its context has ended.
const sendWait = 5 * time.Second

func newTransportLink(b *EventBus) *transportLink {
	l := &transportLink{bus: b, encoder: b.opts.MessageEncoder, ended: make(chan struct{})}
	if l.encoder == nil {
		if b.opts.Codec == nil {
			panic("evsourcing: NewEventBus: a Transport needs a Codec or a MessageEncoder")
		}
		l.encoder = jsonMessages{codec: b.opts.Codec}
	}
	l.ctx, l.cancel = context.WithCancel(b.ctx)
	return l
}

// join joins the groups of all subscriptions, or none.
func (l *transportLink) join() error {
	for _, sub := range l.bus.subs {
		g := Group{Name: sub.name, Topics: sub.topics, InFlight: l.bus.opts.Buffer, AckWait: ackWait}
		receiver, err := l.bus.opts.Transport.Join(l.ctx, g)
		if err != nil {
			l.leave()
			return fmt.Errorf("evsourcing: listen: join the group of subscription %q: %w", sub.name, err)
		}
		l.inboxes = append(l.inboxes, newInbox(l, sub, receiver))
	}
	return nil
}

// start starts receiving. The bus's mu is held.
func (l *transportLink) start() {
	for _, in := range l.inboxes {
		l.bus.active++
		go in.run()
		l.extends.Go(in.extend)
	}
}

// stop stops receiving, so that the bus drains. The bus's mu is held.
func (l *transportLink) stop() { l.cancel() }

// leave ends the link when the lanes have stopped or been cut: what is not
// settled goes to other receivers.
func (l *transportLink) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), sendWait)
	defer cancel()
	close(l.ended)
	l.extends.Wait()
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
	l.ended = make(chan struct{})
}

// leaveOnce leaves for good; in the background if the bus was cut, because
// whoever closes it does not wait.
func (l *transportLink) leaveOnce(cut bool) {
	l.left.Do(func() {
		if cut {
			go l.leave()
		} else {
			l.leave()
		}
	})
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

// An inbox receives one subscription's messages. It remembers what is being
// handled and what was settled lately, because a transport may deliver a
// message again.
type inbox struct {
	link     *transportLink
	sub      *busSubscription
	receiver Receiver

	mu      sync.Mutex // guards what follows
	flights map[uuid.UUID]Delivery
	settled map[uuid.UUID]struct{}
	recent  []uuid.UUID // the keys of settled, a ring
	oldest  int
}

func newInbox(l *transportLink, sub *busSubscription, r Receiver) *inbox {
	in := &inbox{link: l, sub: sub, receiver: r, flights: map[uuid.UUID]Delivery{}, settled: map[uuid.UUID]struct{}{}}
	sub.inbox = in
	return in
}

// run receives until the link stops.
func (in *inbox) run() {
	b := in.link.bus
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.idle()
	}()
	for failures := 0; ; {
		d, err := in.receiver.Receive(in.link.ctx)
		switch {
		case in.link.ctx.Err() != nil:
			if err == nil {
				in.nack(d)
			}
			return
		case err != nil:
			failures++
			pause := b.opts.Retry.pause(failures)
			b.opts.Logger.WarnContext(in.link.ctx, "evsourcing: receiving failed and will be tried again",
				"subscription", in.sub.name, slog.Duration("pause", pause), errAttr(err))
			if sleep(in.link.ctx, pause) != nil {
				return
			}
		default:
			failures = 0
			in.accept(d)
		}
	}
}

// accept puts a delivery into its lane.
func (in *inbox) accept(d Delivery) {
	b := in.link.bus
	env := d.Envelope()
	m, err := in.link.encoder.DecodeMessage(env.Data)
	var reactor Reactor
	if err == nil {
		if reactor = in.reactor(m.Topic); reactor == nil {
			err = fmt.Errorf("%w %q: subscription %q has no reactor for it", ErrUnknownTopic, m.Topic, in.sub.name)
		}
	}
	if err != nil { // trying again would not help
		m.Topic, m.Metadata = env.Topic, env.Header
		m.ID, _ = uuid.Parse(env.ID)
		ctx := &reactorContext{Context: b.ctx, message: &m}
		b.giveUp(ctx, DeadLetter{Subscription: in.sub.name, Message: m, Attempts: d.Attempt(), Err: err})
		in.say("acknowledging", d.Ack)
		return
	}
	in.mu.Lock()
	_, flying := in.flights[m.ID]
	_, settled := in.settled[m.ID]
	if !settled {
		in.flights[m.ID] = d // the latest delivery is the one to settle
	}
	in.mu.Unlock()
	switch {
	case settled:
		in.say("acknowledging", d.Ack)
	case !flying:
		b.mu.Lock()
		in.sub.push(b.laneHash(m.Stream), laneItem{message: &m, reactor: reactor})
		b.mu.Unlock()
	}
}

func (in *inbox) reactor(topic string) Reactor {
	for _, route := range in.link.bus.routes[topic] {
		if route.sub == in.sub {
			return route.reactor
		}
	}
	return nil
}

// settle acknowledges a message that a lane is done with.
func (in *inbox) settle(id uuid.UUID) {
	in.mu.Lock()
	d, ok := in.flights[id]
	delete(in.flights, id)
	in.settled[id] = struct{}{}
	if remember := 8 * in.link.bus.opts.Buffer; len(in.recent) < remember {
		in.recent = append(in.recent, id)
	} else {
		delete(in.settled, in.recent[in.oldest])
		in.recent[in.oldest] = id
		in.oldest = (in.oldest + 1) % remember
	}
	in.mu.Unlock()
	if ok {
		in.say("acknowledging", d.Ack)
	}
}

// extend keeps the transport from delivering again what is being handled.
func (in *inbox) extend() {
	tick := time.NewTicker(ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-in.link.ended:
			return
		case <-tick.C:
			for _, d := range in.unsettled() {
				in.say("extending", d.Extend)
			}
		}
	}
}

func (in *inbox) unsettled() []Delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	list := make([]Delivery, 0, len(in.flights))
	for _, d := range in.flights {
		list = append(list, d)
	}
	return list
}

func (in *inbox) nack(d Delivery) {
	in.say("giving back", func(ctx context.Context) error { return d.Nack(ctx, 0) })
}

// say tells the transport something about a delivery, also when contexts have
// ended. If it fails the message is delivered again, and recognised.
func (in *inbox) say(what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(in.link.ctx), sendWait)
	defer cancel()
	if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
		in.link.bus.opts.Logger.WarnContext(ctx, "evsourcing: "+what+" a delivery failed",
			"subscription", in.sub.name, errAttr(err))
	}
}
