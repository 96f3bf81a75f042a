package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// listeningBus returns a bus with matching subscriptions to landed, and others
// to other topics; done closes it after all is handled.
func listeningBus(b *testing.B, matching, others int) (bus *evsourcing.EventBus, done func()) {
	b.Helper()
	bus = evsourcing.NewEventBus(nil)
	var handled atomic.Int64
	reactor := evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
		handled.Add(1)
		return nil
	})
	subscribe := func(name, topic string) {
		if err := bus.Subscribe(name, reactor, topic); err != nil {
			b.Fatal(err)
		}
	}
	for i := range matching {
		subscribe(fmt.Sprintf("matching-%d", i), landed{}.Topic())
	}
	for i := range others {
		subscribe(fmt.Sprintf("other-%d", i), fmt.Sprintf("flight.other-%d", i))
	}
	if err := bus.Listen(); err != nil {
		b.Fatal(err)
	}
	return bus, func() {
		if err := bus.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		if handled.Load() == 0 {
			b.Fatal("nothing was handled")
		}
	}
}

func messages(n int) []evsourcing.Message {
	list := make([]evsourcing.Message, n)
	for i := range list {
		list[i] = evsourcing.Message{
			StoredEvent: evsourcing.StoredEvent{Topic: landed{}.Topic(), Stream: evsourcing.StreamID{Type: "flight", ID: streamName(i)}},
			Event:       landing,
		}
	}
	return list
}

// BenchmarkPublish publishes one message at a time, until all are handled. The
// messages are of 64 streams, or all of one.
func BenchmarkPublish(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		c := make(chan int, 1024)
		done := make(chan int)
		go func() {
			sum := 0
			for n := range c {
				sum += n
			}
			done <- sum
		}()
		for b.Loop() {
			c <- 1
		}
		close(c)
		<-done
	})
	for _, reactors := range []int{1, 8} {
		for _, streams := range []int{1, 64} {
			b.Run(fmt.Sprintf("reactors=%d/streams=%d", reactors, streams), func(b *testing.B) {
				bus, done := listeningBus(b, reactors, 0)
				benchmarkPublish(b, bus, done, messages(streams))
			})
		}
	}
}

func benchmarkPublish(b *testing.B, bus *evsourcing.EventBus, done func(), list []evsourcing.Message) {
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := bus.Publish(ctx, list[i%len(list)]); err != nil {
			b.Fatal(err)
		}
	}
	done()
}
