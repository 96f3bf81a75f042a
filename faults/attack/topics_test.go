package attack

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// named is an event whose topic is a value, for tests that need many.
type named string

func (n named) Topic() string { return string(n) }

func topicNames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("topic-%07d", i)
	}
	return list
}

// A million topics in a registry, and subscribed to on a bus: what they take grows with
// their number, and not with its square, and each still gets its own messages. (Register
// them in one call: each call copies the table.)
func TestManyTopics(t *testing.T) {
	n := faulttest.Scale(5_000, 20_000, 1_000_000)
	names := topicNames(n)
	began := time.Now()
	var registry *evsourcing.Registry
	var bus *evsourcing.EventBus
	var got atomic.Int64
	heap := held(func() {
		prototypes := make([]evsourcing.Event, n)
		for i, name := range names {
			prototypes[i] = named(name)
		}
		registry = evsourcing.NewRegistry(prototypes...)
		bus = evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: registry, Logger: quiet})
		err := bus.Subscribe("all", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			got.Add(1)
			return nil
		}), names...)
		if err != nil {
			t.Fatal(err)
		}
		if err := bus.Listen(); err != nil {
			t.Fatal(err)
		}
	})
	took := time.Since(began)
	const published = 1000
	for i := range published {
		e := newEvent(names[i*(n/published)], []byte(`"`+names[i*(n/published)]+`"`))
		e.Stream, e.Version = stream("a"), uint64(i+1)
		event, err := registry.Decode(t.Context(), &e)
		if err != nil {
			t.Fatal(err)
		}
		if err := bus.Publish(t.Context(), evsourcing.Message{StoredEvent: e, Event: event}); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Close(t.Context()); err != nil || got.Load() != published {
		t.Errorf("%d of %d messages came, %v", got.Load(), published, err)
	}
	t.Attr("figure", fmt.Sprintf("%s topics registered and subscribed to in %v, %.0f bytes each; %s messages arrived", humanize.Comma(int64(n)), took.Round(time.Millisecond), heap*mib/float64(n), humanize.Comma(int64(published))))
	if each := heap * mib / float64(n); each > 2048 {
		t.Errorf("a topic takes %.0f bytes", each)
	}
}

// Events of a million topics: what an engine remembers of kinds of events is bounded,
// and a filter by all of them is one of many, not a search for each.
func TestManyStoredTopics(t *testing.T) {
	n := faulttest.Scale(2_000, 5_000, 1_000_000)
	names := topicNames(n)
	each(t, func(t *testing.T, s store) {
		heap := held(func() {
			for i := 0; i < n; i += 5000 {
				var list []evsourcing.StoredEvent
				for _, name := range names[i:min(i+5000, n)] {
					list = append(list, newEvent(name, nil))
				}
				put(t, s, batch(stream("a"), list...))
			}
		})
		heap += held(func() {
			for range 2 { // readers
				count := 0
				for _, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
					if err != nil {
						t.Fatal(err)
					}
					count++
				}
				if count != n {
					t.Fatalf("%d of %d events are read", count, n)
				}
			}
		})
		began := time.Now()
		count := 0
		for _, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{Topics: names[n/2:]}) {
			if err != nil {
				t.Fatal(err)
			}
			count++
		}
		took := time.Since(began)
		if count != n-n/2 {
			t.Errorf("by a filter %d events are read, want %d", count, n-n/2)
		}
		t.Attr("figure", fmt.Sprintf("events of %s topics: the store holds %.0f MiB of heap for them; a filter by half of them took %v", humanize.Comma(int64(n)), heap, took.Round(time.Millisecond)))
		if _, memory := s.(*evsourcing.MemoryStore); !memory && heap > 64 {
			t.Errorf("%.0f MiB of heap are held", heap)
		}
		if limit := 10*time.Second + time.Duration(n)*100*time.Microsecond; took > limit {
			t.Errorf("a filter took %v", took)
		}
	})
}

// A million streams of one event: a durable store remembers the numbers of the latest
// ones only.
func TestManyStreams(t *testing.T) {
	n := faulttest.Scale(2_000, 5_000, 1_000_000)
	each(t, func(t *testing.T, s store) {
		began := time.Now()
		heap := held(func() {
			for i := 0; i < n; i += 5000 {
				var list []evsourcing.Batch
				for j := range min(5000, n-i) {
					list = append(list, batch(stream(fmt.Sprint("tiny-", i+j)), newEvent("one", nil)))
				}
				put(t, s, list...)
			}
		})
		t.Attr("figure", fmt.Sprintf("%s streams of one event, in %v: the store holds %.0f MiB of heap for them", humanize.Comma(int64(n)), time.Since(began).Round(time.Millisecond), heap))
		if _, memory := s.(*evsourcing.MemoryStore); !memory && heap > 64 {
			t.Errorf("%.0f MiB of heap are held", heap)
		}
		if e := collect(t, s.Load(t.Context(), stream(fmt.Sprint("tiny-", n/2)), evsourcing.Range{})); len(e) != 1 {
			t.Errorf("a stream has %d events", len(e))
		}
	})
}

// A subscription with a million partitions has 65,536 lanes, as many as it may have
// messages under way.
func TestManyPartitions(t *testing.T) {
	s := evsourcing.NewMemoryStore()
	var list []evsourcing.Batch
	for i := range 1000 {
		list = append(list, batch(stream(fmt.Sprint(i)), newEvent("opened", []byte(`{}`))))
	}
	last := put(t, s, list...)
	var handled atomic.Int64
	sub := evsourcing.NewSubscription("many", s, s, evsourcing.NewRegistry(opened{}), evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
		handled.Add(int64(len(msgs)))
		return nil
	}), &evsourcing.SubscriptionOptions{Partitions: 1_000_000, Logger: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	heap := heapOf(func() {
		go func() { done <- sub.Run(ctx) }()
		if err := sub.WaitFor(ctx, last.Position); err != nil {
			t.Fatal(err)
		}
	})
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	t.Attr("figure", fmt.Sprintf("a million partitions: %s events handled, with %.0f MiB of heap and stacks", humanize.Comma(int64(int(handled.Load()))), heap))
	if handled.Load() != 1000 || heap > 512 {
		t.Errorf("%d events were handled, with %.0f MiB of heap", handled.Load(), heap)
	}
}
