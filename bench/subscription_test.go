package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// departed is an event that the filtered subscription wants: one in a hundred.
type departed struct {
	Airport string `json:"airport"`
}

func (departed) Topic() string     { return "flight.departed" }
func (departed) ApplyTo(f *flight) { f.Count++ }

// catchUpEvents is how long the log is that subscriptions catch up with.
func catchUpEvents() int {
	if testing.Short() {
		return 10_000
	}
	return 1_000_000
}

// longLog returns a store with catchUpEvents events in 1,000 streams, a
// hundredth of them of the rare topic. It is made once.
var longLog = sync.OnceValue(func() *evsourcing.MemoryStore {
	ctx := context.Background()
	store := evsourcing.NewMemoryStore()
	repo := evsourcing.NewRepository[flight]("flight", store, evsourcing.NewRegistry(landed{}, departed{}), nil)
	const streams, batch = 1000, 10
	list := make([]*flight, streams)
	for i := range list {
		list[i] = repo.New(streamName(i))
	}
	for n := 0; n < catchUpEvents(); n += batch {
		a := list[n/batch*7%streams]
		for i := range batch {
			if (n+i)%100 == 0 {
				evsourcing.Record(a, departed{Airport: "JFK"})
			} else {
				evsourcing.Record(a, landed{Airport: "CDG", From: "JFK", Delay: (n + i) % 60})
			}
		}
		if err := repo.Save(ctx, a); err != nil {
			panic(err)
		}
	}
	return store
})

// BenchmarkCatchUp runs a subscription from the beginning of a log of a million
// events to its end. An operation is one event of the log. The floor of the
// unfiltered one is json.Unmarshal of every payload.
func BenchmarkCatchUp(b *testing.B) {
	ctx := context.Background()
	store := longLog()
	b.Run("floor", func(b *testing.B) {
		var payloads [][]byte
		for e, err := range store.Events(ctx, evsourcing.Range{Limit: 10_000}, evsourcing.Filter{Topics: []string{"flight.landed"}}) {
			if err != nil {
				b.Fatal(err)
			}
			payloads = append(payloads, e.Data)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			var e landed
			if err := json.Unmarshal(payloads[i%len(payloads)], &e); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, bm := range []struct {
		name string
		want int
		each bool
		opts evsourcing.SubscriptionOptions
	}{
		{"unfiltered", catchUpEvents(), false, evsourcing.SubscriptionOptions{}},
		{"unfiltered/each", catchUpEvents(), true, evsourcing.SubscriptionOptions{}},
		{"unfiltered/partitions=8", catchUpEvents(), false, evsourcing.SubscriptionOptions{Partitions: 8}},
		{"filtered=99%", catchUpEvents() / 100, false, evsourcing.SubscriptionOptions{
			Filter: evsourcing.Filter{Topics: []string{"flight.departed"}},
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			b.ResetTimer()
			rounds := 0
			for n := 0; n < b.N; n += catchUpEvents() {
				rounds++
				catchUp(b, store, bm.name+strconv.Itoa(b.N)+"/"+strconv.Itoa(n), bm.want, bm.each, &bm.opts)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*catchUpEvents()), "ns/event")
		})
	}
}

func catchUp(b *testing.B, store *evsourcing.MemoryStore, name string, want int, each bool, opts *evsourcing.SubscriptionOptions) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	handled := 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if handled += n; handled == want {
			cancel()
		}
	}
	var h evsourcing.Handler = evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
		count(len(msgs))
		return nil
	})
	if each {
		h = evsourcing.Each(evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			count(1)
			return nil
		}))
	}
	codec := evsourcing.NewRegistry(landed{}, departed{})
	if err := evsourcing.NewSubscription(name, store, store, codec, h, opts).Run(ctx); err != nil {
		b.Fatal(err)
	}
	if handled != want {
		b.Fatal(fmt.Errorf("%d events were handled, not %d", handled, want))
	}
}
