package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// catchUpEvents is how long the log is that subscriptions catch up with.
func catchUpEvents(e engine) int {
	if e.name == "memory" {
		return faulttest.Scale(10_000, 1_000_000, 1_000_000)
	}
	return faulttest.Scale(10_000, 100_000, 100_000)
}

// longLog returns a store with catchUpEvents events in 1,000 streams, a hundredth
// of them of the rare topic.
func longLog(b *testing.B, e engine) bed {
	return e.kept(b, "log", func(s store) {
		repo := newRepository(s, nil)
		const streams, batch = 1000, 10
		list := make([]*flight, streams)
		for i := range list {
			list[i] = repo.New(streamName(i))
		}
		for n := 0; n < catchUpEvents(e); n += batch {
			a := list[n/batch*7%streams]
			for i := range batch {
				if (n+i)%100 == 0 {
					evsourcing.Record(a, departed{Airport: "JFK"})
				} else {
					evsourcing.Record(a, landed{Airport: "CDG", From: "JFK", Delay: (n + i) % 60})
				}
			}
			if err := repo.Save(b.Context(), a); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCatchUp runs a subscription from the beginning of a log to its end, with
// a handler that counts. The floor is to read the log by the driver, and to decode
// what the handler gets; in memory, to decode alone. An operation is a whole log.
func BenchmarkCatchUp(b *testing.B) {
	rare := evsourcing.Filter{Topics: []string{"flight.departed"}}
	eachEngine(b, true, func(b *testing.B, e engine) {
		events := catchUpEvents(e)
		for _, c := range []struct {
			name string
			want int
			each bool
			opts evsourcing.SubscriptionOptions
		}{
			{"all", events, false, evsourcing.SubscriptionOptions{}},
			{"each", events, true, evsourcing.SubscriptionOptions{}},
			{"partitions-8", events, false, evsourcing.SubscriptionOptions{Partitions: 8}},
			{"filtered-99%", events / 100, false, evsourcing.SubscriptionOptions{Filter: rare}},
		} {
			b.Run("case="+c.name, func(b *testing.B) {
				s := longLog(b, e)
				compare(b, func(b *testing.B) {
					for b.Loop() {
						bareCatchUp(b, s.bare, e, c.want, events)
					}
					many(b, events)
				}, func(b *testing.B) {
					for b.Loop() {
						var handled atomic.Int64
						var h evsourcing.Handler = evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
							handled.Add(int64(len(msgs)))
							return nil
						})
						if c.each {
							h = evsourcing.Each(evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
								handled.Add(1)
								return nil
							}))
						}
						follow(b, s.store, h, c.opts)
						check(b, nil, int(handled.Load()), c.want)
					}
					many(b, events)
				})
			})
		}
	})
}

func bareCatchUp(b *testing.B, s bare, e engine, want, events int) {
	i, n := 0, 0
	handle := func(data []byte) {
		var err error
		if i++; i%100 == 1 {
			err = json.Unmarshal(data, &departed{})
		} else if want == events {
			err = json.Unmarshal(data, &landed{})
		} else {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	if e.name == "memory" { // where reading is not the driver's
		for range events {
			handle(payload)
		}
	} else if err := s.scan(b.Context(), handle); err != nil {
		b.Fatal(err)
	}
	check(b, nil, n, want)
}

var subscriptions atomic.Int64

// follow runs a new subscription until it has reached the end of the log.
func follow(b *testing.B, s store, h evsourcing.Handler, opts evsourcing.SubscriptionOptions) {
	b.Helper()
	head, err := s.Head(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	sub := evsourcing.NewSubscription(fmt.Sprint("bench-", subscriptions.Add(1)), s, s, newRegistry(), h, &opts)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	waited := sub.WaitFor(ctx, head.Position)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if waited != nil {
		b.Fatal(waited)
	}
}
