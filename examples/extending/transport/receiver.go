package transport

import (
	"context"
	"time"

	"github.com/evsourcing/evsourcing"
)

// A lease is who has a message unsettled, and for how long. Without a holder the
// message waits, and until is when it may be delivered again.
type lease struct {
	holder  *receiver
	until   time.Time
	attempt int
}

type receiver struct {
	spool  *Spool
	group  *group
	closed bool // guarded by the spool's mu
}

// Receive implements [evsourcing.Receiver].
func (r *receiver) Receive(ctx context.Context) (evsourcing.Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.spool.mu.Lock()
		if r.closed || r.spool.closed {
			r.spool.mu.Unlock()
			return nil, errClosed
		}
		m, change := r.group.next(r, time.Now())
		if m != nil {
			d := &delivery{receiver: r, message: m, attempt: m.attempt}
			r.spool.mu.Unlock()
			return d, nil
		}
		wake := r.group.wake
		r.spool.mu.Unlock()
		var timer <-chan time.Time
		if !change.IsZero() {
			timer = time.After(time.Until(change))
		}
		select {
		case <-wake:
		case <-timer:
		case <-ctx.Done():
		}
	}
}

// next leases the first message that may be delivered to r, or else says when
// time alone will change something.
func (g *group) next(r *receiver, now time.Time) (m *message, change time.Time) {
	owners := map[string]*receiver{} // who has unsettled messages of a key
	mine := 0
	for _, m := range g.queue {
		if m.until.After(now) {
			if change.IsZero() || m.until.Before(change) {
				change = m.until
			}
		} else {
			m.holder = nil // its time is over
		}
		if m.holder != nil {
			owners[m.Key] = m.holder
		}
		if m.holder == r {
			mine++
		}
	}
	if mine >= g.InFlight {
		return nil, change
	}
	passed := map[string]bool{} // keys of which an earlier message must go first
	for _, m := range g.queue {
		owner := owners[m.Key]
		switch {
		case m.holder != nil:
		case m.until.After(now), passed[m.Key], owner != nil && owner != r:
			passed[m.Key] = true
		default:
			m.lease = lease{holder: r, until: now.Add(g.AckWait), attempt: m.attempt + 1}
			return m, change
		}
	}
	return nil, change
}

// Close implements [evsourcing.Receiver].
func (r *receiver) Close(context.Context) error {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	r.closed = true
	for _, m := range r.group.queue {
		if m.holder == r {
			m.holder, m.until = nil, time.Time{}
		}
	}
	r.group.changed()
	return nil
}

type delivery struct {
	receiver *receiver
	message  *message
	attempt  int
}

func (d *delivery) Envelope() *evsourcing.Envelope { return &d.message.Envelope }
func (d *delivery) Attempt() int                   { return d.attempt }

// Ack implements [evsourcing.Delivery]. If it fails the message is delivered
// again.
func (d *delivery) Ack(context.Context) error {
	return d.settle(func(m *message) error { return d.receiver.group.remove(m) })
}

// Nack implements [evsourcing.Delivery].
func (d *delivery) Nack(_ context.Context, after time.Duration) error {
	return d.settle(func(m *message) error {
		m.holder, m.until = nil, time.Now().Add(after)
		return nil
	})
}

// Extend implements [evsourcing.Delivery].
func (d *delivery) Extend(context.Context) error {
	return d.settle(func(m *message) error {
		m.until = time.Now().Add(d.receiver.group.AckWait)
		return nil
	})
}

// settle calls f unless the message has been settled, or is somebody else's by
// now.
func (d *delivery) settle(f func(*message) error) error {
	t, m := d.receiver.spool, d.message
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || m.holder != d.receiver || m.attempt != d.attempt {
		return nil
	}
	defer d.receiver.group.changed()
	return f(m)
}
