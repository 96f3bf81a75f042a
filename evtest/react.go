package evtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// reactorName is the subscription under which React runs a reactor.
const reactorName = "evtest"

// React runs a reactor on messages, such as [Messages] makes them, one after the
// other in the order given, and returns when the last has been handled.
//
// They pass through an [evsourcing.EventBus]: the reactor runs under a context
// like the one it will have, so that what it stores names its cause; a panic
// becomes an [*evsourcing.PanicError]; a reactor made by [evsourcing.On] gets
// the events of its topic alone. In two things React differs: nothing is tried
// again, and all streams share one lane. Calling it twice with the same messages
// is what a redelivery looks like.
//
// The error joins those of the reactor, each with the message that it was about;
// errors.Is and errors.As find them. The test fails if no message is for the
// reactor. The reactor runs in a goroutine of its own, where t.Fatal has no
// place; its context ends with the test's.
func React(t testing.TB, r evsourcing.Reactor, msgs ...evsourcing.Message) error {
	t.Helper()
	var failures []error
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{
		Buffer:      max(1, len(msgs)),
		Concurrency: 1,
		Retry:       evsourcing.RetryPolicy{MaxAttempts: 1},
		BaseContext: t.Context(),
		Logger:      slog.New(slog.DiscardHandler),
		DeadLetter: func(_ context.Context, d evsourcing.DeadLetter) error { // called in the one lane
			m := &d.Message
			failures = append(failures, fmt.Errorf("evtest: version %d of %v, topic %q: %w", m.Version, m.Stream, m.Topic, d.Err))
			return nil
		},
	})
	topics := topicsFor(t, r, msgs)
	if len(topics) == 0 {
		t.Errorf("evtest: React: none of the %d messages is for the reactor", len(msgs))
		return nil
	}
	err := bus.Subscribe(reactorName, r, topics...)
	if err == nil {
		err = bus.Listen()
	}
	if err == nil {
		err = bus.Publish(t.Context(), msgs...)
	}
	if err = errors.Join(err, bus.Close(t.Context())); err != nil {
		t.Fatalf("evtest: React: %v", err)
	}
	return errors.Join(failures...)
}

// topicsFor returns the messages' topics, less those that the reactor does not
// take.
func topicsFor(t testing.TB, r evsourcing.Reactor, msgs []evsourcing.Message) (topics []string) {
	t.Helper()
	// A bus tells what a reactor brings: a second subscription under its name is
	// refused for these topics.
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Logger: slog.New(slog.DiscardHandler)})
	own := true
	if err := bus.Subscribe(reactorName, r); errors.Is(err, evsourcing.ErrNoTopic) {
		own = false
	} else if err != nil {
		t.Fatalf("evtest: React: %v", err)
	}
	nothing := evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { return nil })
	seen := map[string]bool{}
	for _, m := range msgs {
		if seen[m.Topic] {
			continue
		}
		seen[m.Topic] = true
		taken := errors.Is(bus.Subscribe(reactorName, nothing, m.Topic), evsourcing.ErrDuplicateSubscription)
		if taken || !own {
			topics = append(topics, m.Topic)
		}
	}
	return topics
}
