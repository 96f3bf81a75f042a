package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"
)

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
	env := d.Envelope()
	m, reactor, err := in.open(env)
	if err != nil {
		reactor = in.refuse(m, d, err)
	}
	in.mu.Lock()
	_, flying := in.flights[m.ID]
	_, settled := in.settled[m.ID]
	if !settled {
		in.flights[m.ID] = d // the latest delivery is the one to settle
	}
	in.mu.Unlock()
	switch b := in.link.bus; {
	case settled:
		in.say("acknowledging", d.Ack)
	case !flying:
		b.mu.Lock()
		in.sub.push(b.laneHash(StreamID{ID: env.Key}), m, reactor, nil)
		b.mu.Unlock()
	}
}

// open returns the message in an envelope and the reactor to it. With an error,
// the message is what the envelope tells about it.
func (in *inbox) open(env *Envelope) (m *Message, r Reactor, err error) {
	id, err := uuid.Parse(env.ID)
	if err != nil { // from elsewhere; any ID will do that is always the same
		id = uuid.NewSHA1(uuid.Nil, []byte(env.ID))
	}
	m = &Message{}
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		if err != nil {
			m.Topic, m.Metadata = env.Topic, env.Header
		}
		if err != nil || m.ID == uuid.Nil {
			m.ID = id
		}
	}()
	if *m, err = in.link.encoder.DecodeMessage(env.Data); err != nil {
		return m, nil, err
	}
	if r = in.reactor(m.Topic); r == nil {
		err = fmt.Errorf("%w %q: subscription %q has no reactor for it", ErrUnknownTopic, m.Topic, in.sub.name)
	}
	return m, r, err
}

// refuse returns a reactor that gives the message up, since trying again would
// not help.
func (in *inbox) refuse(m *Message, d Delivery, err error) Reactor {
	given := false // should DeadLetter call Goexit
	return ReactorFunc(func(ctx context.Context, _ Message) error {
		if !given {
			given = true
			_ = in.link.bus.giveUp(ctx, DeadLetter{Subscription: in.sub.name, Message: *m, Attempts: d.Attempt(), Err: err}, false)
		}
		return nil
	})
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
	if remember := 8 * min(in.link.bus.opts.Buffer, 8192); len(in.recent) < remember {
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
