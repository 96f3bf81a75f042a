package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/evsourcing/evsourcing"
)

// BenchmarkPublish publishes one message at a time, until all are handled. The
// messages are of 64 streams, or all of one. The floor is a hop over a buffered
// channel to a goroutine, for each reactor.
//
// The sides watermill and watermill-in-order are Watermill's in-process Pub/Sub,
// as a peer, with as many subscribers, which acknowledge each message. The first
// is as it comes: a goroutine carries each message, so that they arrive in any
// order, and a publisher never waits, however many are on their way. The second
// waits for all acknowledgements before it publishes the next message. The bus
// keeps each stream in order, and a publisher waits when a buffer is full.
func BenchmarkPublish(b *testing.B) {
	for _, reactors := range []int{1, 8} {
		for _, streams := range []int{1, 64} {
			b.Run(fmt.Sprintf("reactors=%d/streams=%d", reactors, streams), func(b *testing.B) {
				compare(b, func(b *testing.B) { hops(b, reactors) }, func(b *testing.B) {
					bus, done := listeningBus(b, reactors, 0)
					publishes(b, bus, done, messages(streams))
				})
				if streams > 1 { // Watermill knows no streams
					b.Run("watermill", func(b *testing.B) { watermillPublishes(b, gochannel.Config{OutputChannelBuffer: 1024}, reactors) })
					b.Run("watermill-in-order", func(b *testing.B) {
						watermillPublishes(b, gochannel.Config{OutputChannelBuffer: 1024, BlockPublishUntilSubscriberAck: true}, reactors)
					})
				}
			})
		}
	}
}

// BenchmarkPublishSubscriptions publishes to a bus with many subscriptions, one of
// which matches. The floor is a hop over a channel.
func BenchmarkPublishSubscriptions(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("subscriptions=%d", n), func(b *testing.B) {
			compare(b, func(b *testing.B) { hops(b, 1) }, func(b *testing.B) {
				bus, done := listeningBus(b, 1, n-1)
				publishes(b, bus, done, messages(64))
			})
		})
	}
}

// hop returns a channel as buffered as a subscription is by default, from which a
// goroutine receives; done closes it after all is received.
func hop() (hops chan<- int, done func()) {
	c := make(chan int, 1024)
	sum := make(chan int)
	go func() {
		n := 0
		for i := range c {
			n += i
		}
		sum <- n
	}()
	return c, func() { close(c); <-sum }
}

func hops(b *testing.B, receivers int) {
	list := make([]chan<- int, receivers)
	ends := make([]func(), receivers)
	for i := range list {
		list[i], ends[i] = hop()
	}
	b.ResetTimer()
	for range b.N {
		for _, c := range list {
			c <- 1
		}
	}
	for _, end := range ends {
		end()
	}
}

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
		check(b, nil, int(handled.Load()), b.N*matching)
	}
}

func messages(streams int) []evsourcing.Message {
	list := make([]evsourcing.Message, streams)
	for i := range list {
		list[i] = evsourcing.Message{
			StoredEvent: evsourcing.StoredEvent{Topic: landed{}.Topic(), Stream: streamID(i), Data: payload},
			Event:       landing,
		}
	}
	return list
}

func publishes(b *testing.B, bus *evsourcing.EventBus, done func(), list []evsourcing.Message) {
	ctx := b.Context()
	b.ResetTimer()
	for i := range b.N {
		if err := bus.Publish(ctx, list[i%len(list)]); err != nil {
			b.Fatal(err)
		}
	}
	done()
}

// watermillPublishes does the same with Watermill. Its messages are made before,
// like ours, and hold the same payload.
func watermillPublishes(b *testing.B, config gochannel.Config, subscribers int) {
	b.ReportAllocs()
	bus := gochannel.NewGoChannel(config, nil)
	var wg sync.WaitGroup
	for range subscribers {
		in, err := bus.Subscribe(b.Context(), landed{}.Topic())
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for range b.N {
				(<-in).Ack()
			}
		})
	}
	msg := message.NewMessage("67e55044-10b1-426f-9247-bb680e5fe0c8", payload)
	b.ResetTimer()
	for range b.N {
		if err := bus.Publish(landed{}.Topic(), msg); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	b.StopTimer()
	if err := bus.Close(); err != nil {
		b.Fatal(err)
	}
}
