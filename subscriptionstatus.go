package evsourcing

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
)

// A SubscriptionState says what a subscription does.
type SubscriptionState string

// The states of a subscription.
const (
	StateStopped SubscriptionState = "stopped" // Run has not been called, or has returned
	StateStandby SubscriptionState = "standby" // Run waits for the lease
	StateRunning SubscriptionState = "running"
)

// A Status describes a subscription: what a page or a metric shows.
type Status struct {
	Name     string
	State    SubscriptionState
	Position uint64 // everything up to here is handled, or passed over by the filter
	Head     uint64 // the log's last position, when last asked; while there is more to do that may be a while ago
	Lag      uint64 // Head - Position: an upper bound of the events to be handled, for positions may have gaps
	Handled  uint64 // messages handled by this Subscription, repetitions not counted
	GivenUp  uint64 // messages that OnFailure has settled
	Err      error  // a failure that has not been overcome, while State is StateStopped what Run returned; else nil
}

// MarshalJSON returns the fields by their names, and Err as a text, absent if
// there is none.
func (s Status) MarshalJSON() ([]byte, error) {
	type fields Status
	v := struct {
		fields
		Err string `json:",omitempty"`
	}{fields: fields(s)}
	if s.Err != nil {
		v.Err = fmt.Sprint(s.Err) // which bears a method that panics
	}
	return json.Marshal(v)
}

// progress is what a subscription shows of itself, and wakes those who wait.
type progress struct {
	asked chan struct{} // has something when somebody waits, for a reader that polls

	mu       sync.Mutex // guards everything
	status   Status
	failures map[any]error // by who has failed and not succeeded since
	ended    error         // what Run returned, or ErrClosed; nil while it runs or never ran
	changed  chan struct{} // closed when Position or ended changes; nil if nobody waits
}

// begin makes the state running, unless it is.
func (p *progress) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.State == StateRunning || p.status.State == StateStandby {
		return false
	}
	p.status.State, p.status.Err, p.ended = StateRunning, nil, nil
	p.failures = map[any]error{}
	return true
}

// forget forgets the failures of lanes and stores that are no more.
func (p *progress) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.failures)
}

func (p *progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.State, p.status.Err, p.ended = StateStopped, err, err
	if err == nil {
		p.ended = ErrClosed
	}
	p.wake()
}

func (p *progress) setState(s SubscriptionState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.State = s
}

// wake is called with mu held.
func (p *progress) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// awaited reports whether somebody waits, or did and the position has not changed
// since.
func (p *progress) awaited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed != nil
}

// reach sets the position, which may be lower than before: after another
// process has failed, its successor begins at its checkpoint.
func (p *progress) reach(position uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.Position != position {
		p.status.Position = position
		p.status.Head = max(p.status.Head, position)
		p.wake()
	}
}

func (p *progress) seeHead(head uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Head = head
}

func (p *progress) count(handled, givenUp int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Handled += uint64(handled)
	p.status.GivenUp += uint64(givenUp)
}

// report notes that who has failed, or with a nil error that it has succeeded.
func (p *progress) report(who any, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.failures, who)
	} else {
		p.failures[who] = err
	}
}

func (p *progress) snapshot() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	if s.State == "" {
		s.State = StateStopped
	}
	s.Lag = s.Head - min(s.Head, s.Position)
	if s.State != StateStopped {
		for _, err := range p.failures {
			s.Err = err // any of them will do
		}
	}
	return s
}

// wait returns when the position is reached, or why it won't be.
func (p *progress) wait(ctx context.Context, position uint64) error {
	for {
		p.mu.Lock()
		switch {
		case p.status.Position >= position:
			p.mu.Unlock()
			return nil
		case p.ended != nil:
			err := p.ended // the next Run sets it
			p.mu.Unlock()
			return err
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case p.asked <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
