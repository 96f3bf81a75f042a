package evsourcing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"
)

// A Message is a stored event on its way to a reactor, with its payload
// decoded. Topic is the event's current name. Reactors share the message, so
// they must not change what it points to.
type Message struct {
	StoredEvent
	Event Event
}

// A Reactor does something about events: it sends a mail, keeps a board, runs a
// transaction on another aggregate.
//
// React is called for one event of a stream at a time, in order, and for events
// of different streams concurrently. Its context carries the message's
// metadata, so that what it stores names its cause, and is cancelled with cause
// [ErrBusClosed] when closing the bus takes longer than its caller waits. An
// error or a panic leads to another attempt: see [RetryPolicy].
//
// Middleware is a function from Reactor to Reactor.
type Reactor interface {
	React(ctx context.Context, m Message) error
}

// ReactorFunc is a function that is a [Reactor].
type ReactorFunc func(ctx context.Context, m Message) error

// React calls f.
func (f ReactorFunc) React(ctx context.Context, m Message) error { return f(ctx, m) }

// On returns a [Reactor] for events of type E, which calls f with the ID of the
// aggregate and the event. E is an event type, as a value or pointer.
//
// [EventBus.Subscribe] takes the topic from it. Wrapped in a middleware, the
// reactor is a plain one again and the topic must be given.
func On[E Event](f func(ctx context.Context, id string, e E) error) Reactor {
	if f == nil {
		panic("evsourcing: On: the function is nil")
	}
	return typedReactor[E](f)
}

type typedReactor[E Event] func(ctx context.Context, id string, e E) error

func (r typedReactor[E]) React(ctx context.Context, m Message) error {
	e, ok := m.Event.(E)
	if !ok {
		if e, ok = convert[E](m.Event); !ok {
			return fmt.Errorf("evsourcing: a reactor on %v got %T, topic %q", reflect.TypeFor[E](), m.Event, m.Topic)
		}
	}
	return r(ctx, m.Stream.ID, e)
}

// topics returns the topic of E, or none if E is an interface.
func (r typedReactor[E]) topics() []string {
	t := reflect.TypeFor[E]()
	var prototype Event
	switch t.Kind() {
	case reflect.Interface:
		return nil
	case reflect.Pointer:
		prototype = reflect.New(t.Elem()).Interface().(Event)
	default:
		var zero E
		prototype = zero
	}
	return []string{prototype.Topic()}
}

// ownTopics returns the topics that a reactor or handler brings, if it brings any.
func ownTopics(r any) []string {
	if typed, ok := r.(interface{ topics() []string }); ok {
		return typed.topics()
	}
	return nil
}

// convert turns an event that is a pointer into its value, or the reverse,
// because an event may be recorded as either.
func convert[E Event](event Event) (E, bool) {
	var none E
	if event == nil {
		return none, false
	}
	v := reflect.ValueOf(event)
	want := reflect.TypeFor[E]()
	switch {
	case v.Kind() == reflect.Pointer && v.Type().Elem() == want && !v.IsNil():
		return v.Elem().Interface().(E), true
	case want.Kind() == reflect.Pointer && want.Elem() == v.Type():
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		return p.Interface().(E), true
	}
	return none, false
}

// A RetryPolicy says how often and when something that failed is tried again.
//
// Before attempt n+1 there is a pause of a random length between half of d and
// d, where d is InitialInterval * 2^(n-1), and MaxInterval at most. The
// randomness ("equal jitter") keeps those that failed together from returning
// together.
type RetryPolicy struct {
	MaxAttempts     int           // attempts in all; if zero, 5
	InitialInterval time.Duration // if zero, 100 ms
	MaxInterval     time.Duration // if zero, 10 s
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MaxAttempts <= 0 {
		p.MaxAttempts = 5
	}
	if p.InitialInterval <= 0 {
		p.InitialInterval = 100 * time.Millisecond
	}
	if p.MaxInterval <= 0 {
		p.MaxInterval = 10 * time.Second
	}
	return p
}

// pause returns how long to wait after the given number of attempts.
func (p RetryPolicy) pause(attempts int) time.Duration {
	d := p.MaxInterval
	if n := attempts - 1; n < 62 && p.InitialInterval <= p.MaxInterval>>n {
		d = p.InitialInterval << n
	}
	return d/2 + rand.N(d/2+1)
}

// sleep waits for d, or less when ctx ends; it returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
