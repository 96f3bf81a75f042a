package evsourcing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ChannelTransport is a [Transport] within one process. It connects several
// event buses, shows what a transport has to do, and lets tests put messages
// through an encoder. It keeps messages in memory without limit, and remembers
// the IDs of the last 65,536 envelopes.
type ChannelTransport struct {
	mu     sync.Mutex // guards everything, that of groups and receivers too
	groups map[string]*channelGroup
	sent   map[string]struct{}
	recent []string // the keys of sent, a ring
	oldest int
	closed bool
}

const channelMemory = 1 << 16

// errTransportClosed is what a closed transport or receiver returns.
var errTransportClosed = errors.New("evsourcing: transport is closed")

// NewChannelTransport returns an empty transport.
func NewChannelTransport() *ChannelTransport {
	return &ChannelTransport{groups: map[string]*channelGroup{}, sent: map[string]struct{}{}}
}

// channelGroup is what is left to deliver to one group.
type channelGroup struct {
	Group
	queue []*channelMessage           // all unsettled ones, in order
	keys  map[string]*channelReceiver // who has unsettled deliveries of a key
	wake  chan struct{}               // closed when something changes
	count map[string]int              // unsettled deliveries by key
}

// channelMessage is an envelope in a group.
type channelMessage struct {
	envelope Envelope
	attempts int
	holder   *channelReceiver // who has it unsettled; nil if it is to be delivered
	due      time.Time        // not before, or if held, not settled until
}

type channelReceiver struct {
	transport *ChannelTransport
	group     *channelGroup
	inFlight  int
	closed    bool
}

type channelDelivery struct {
	receiver *channelReceiver
	message  *channelMessage
	attempt  int
}

// Send implements [Transport]. It does not wait.
func (t *ChannelTransport) Send(ctx context.Context, envelopes ...Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errTransportClosed
	}
	for _, e := range envelopes {
		if _, ok := t.sent[e.ID]; ok {
			continue
		}
		t.remember(e.ID)
		for _, g := range t.groups {
			if slices.Contains(g.Topics, e.Topic) {
				g.queue = append(g.queue, &channelMessage{envelope: e})
				g.changed()
			}
		}
	}
	return nil
}

func (t *ChannelTransport) remember(id string) {
	t.sent[id] = struct{}{}
	if len(t.recent) < channelMemory {
		t.recent = append(t.recent, id)
		return
	}
	delete(t.sent, t.recent[t.oldest])
	t.recent[t.oldest] = id
	t.oldest = (t.oldest + 1) % channelMemory
}

// Join implements [Transport].
func (t *ChannelTransport) Join(ctx context.Context, g Group) (Receiver, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errTransportClosed
	}
	group := t.groups[g.Name]
	if group == nil {
		group = &channelGroup{keys: map[string]*channelReceiver{}, count: map[string]int{}, wake: make(chan struct{})}
		t.groups[g.Name] = group
	}
	group.Group = g
	return &channelReceiver{transport: t, group: group}, nil
}

// Close implements [Transport]. What was not settled is lost.
func (t *ChannelTransport) Close(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, g := range t.groups {
		g.changed()
	}
	return nil
}

func (g *channelGroup) changed() {
	close(g.wake)
	g.wake = make(chan struct{})
}

// Receive implements [Receiver].
func (r *channelReceiver) Receive(ctx context.Context) (Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.transport.mu.Lock()
		if r.closed || r.transport.closed {
			r.transport.mu.Unlock()
			return nil, errTransportClosed
		}
		d, due := r.take(time.Now())
		wake := r.group.wake
		r.transport.mu.Unlock()
		if d != nil {
			return d, nil
		}
		var timer <-chan time.Time
		if !due.IsZero() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer:
		}
	}
}

// take returns the next delivery, or when there may be one without anything
// changing before.
func (r *channelReceiver) take(now time.Time) (d *channelDelivery, due time.Time) {
	g := r.group
	passed := map[string]bool{} // keys with an earlier message that must go first
	for _, m := range g.queue {
		if m.holder != nil && now.Before(m.due) { // unsettled
			if due.IsZero() || m.due.Before(due) {
				due = m.due
			}
			continue
		}
		if m.holder != nil { // its AckWait is over
			g.drop(m)
		}
		key := m.envelope.Key
		owner := g.keys[key]
		ready := !passed[key] && !now.Before(m.due) && (owner == nil || owner == r) && r.inFlight < g.InFlight
		if ready {
			m.holder, m.due, m.attempts = r, now.Add(g.AckWait), m.attempts+1
			g.keys[key] = r
			g.count[key]++
			r.inFlight++
			return &channelDelivery{receiver: r, message: m, attempt: m.attempts}, due
		}
		passed[key] = true
		if now.Before(m.due) && (due.IsZero() || m.due.Before(due)) {
			due = m.due
		}
	}
	return nil, due
}

// drop makes a held message one to be delivered.
func (g *channelGroup) drop(m *channelMessage) {
	key := m.envelope.Key
	m.holder.inFlight--
	m.holder = nil
	if g.count[key]--; g.count[key] == 0 {
		delete(g.count, key)
		delete(g.keys, key)
	}
}

// Close implements [Receiver].
func (r *channelReceiver) Close(context.Context) error {
	r.transport.mu.Lock()
	defer r.transport.mu.Unlock()
	r.closed = true
	for _, m := range r.group.queue {
		if m.holder == r {
			r.group.drop(m)
			m.due = time.Time{}
		}
	}
	r.group.changed()
	return nil
}

func (d *channelDelivery) Envelope() *Envelope { return &d.message.envelope }
func (d *channelDelivery) Attempt() int        { return d.attempt }

func (d *channelDelivery) Ack(context.Context) error {
	d.settle(func(g *channelGroup) {
		g.queue = slices.DeleteFunc(g.queue, func(m *channelMessage) bool { return m == d.message })
	})
	return nil
}

func (d *channelDelivery) Nack(_ context.Context, after time.Duration) error {
	d.settle(func(*channelGroup) { d.message.due = time.Now().Add(after) })
	return nil
}

func (d *channelDelivery) Extend(context.Context) error {
	d.receiver.transport.mu.Lock()
	defer d.receiver.transport.mu.Unlock()
	if d.current() {
		d.message.due = time.Now().Add(d.receiver.group.AckWait)
	}
	return nil
}

func (d *channelDelivery) current() bool {
	return d.message.holder == d.receiver && d.message.attempts == d.attempt
}

func (d *channelDelivery) settle(f func(*channelGroup)) {
	d.receiver.transport.mu.Lock()
	defer d.receiver.transport.mu.Unlock()
	if d.current() {
		d.receiver.group.drop(d.message)
		f(d.receiver.group)
		d.receiver.group.changed()
	}
}
