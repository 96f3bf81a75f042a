package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
)

// What an operation costs must not depend on how much there is.

// sizes are the steps of each curve; with -short, its beginning.
func sizes() []int {
	if testing.Short() {
		return []int{1e3, 1e4}
	}
	return []int{1e3, 1e4, 1e5, 1e6}
}

// BenchmarkScaleAppendEvents saves an event to a stream that has many.
func BenchmarkScaleAppendEvents(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			ctx := context.Background()
			repo := newRepository(evsourcing.NewMemoryStore())
			a := fill(b, repo, "one", n)
			b.ReportAllocs()
			for b.Loop() {
				evsourcing.Record(a, landing)
				if err := repo.Save(ctx, a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScaleAppendStreams saves an event to a random one of many streams.
func BenchmarkScaleAppendStreams(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("streams=%d", n), func(b *testing.B) {
			ctx := context.Background()
			repo := newRepository(evsourcing.NewMemoryStore())
			aggregates := make([]*flight, n)
			for i := range aggregates {
				aggregates[i] = fill(b, repo, streamName(i), 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				a := aggregates[rand.N(n)]
				evsourcing.Record(a, landing)
				if err := repo.Save(ctx, a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScaleStoreStreams is the store's part of it, without aggregates that
// are themselves a million objects for caches and collector. Its floor is a Go
// map of the streams' heads, which shows what a random access costs.
func BenchmarkScaleStoreStreams(b *testing.B) {
	for _, n := range sizes() {
		name := func(i int) string { return fmt.Sprintf("%036d", i) }
		b.Run(fmt.Sprintf("floor/streams=%d", n), func(b *testing.B) {
			heads := map[string]*uint64{}
			for i := range n {
				heads[name(i)] = new(uint64)
			}
			for b.Loop() {
				*heads[name(rand.N(n))]++
			}
		})
		b.Run(fmt.Sprintf("memory/streams=%d", n), func(b *testing.B) {
			ctx := context.Background()
			store := evsourcing.NewMemoryStore()
			var id [16]byte
			events := []evsourcing.StoredEvent{{Topic: "t", Data: []byte(`{"airport":"CDG","from":"JFK","delay":12}`), Time: time.Now()}}
			add := func(stream int) {
				binary.BigEndian.PutUint64(id[:8], rand.Uint64())
				binary.BigEndian.PutUint64(id[8:], rand.Uint64())
				events[0].ID = uuid.UUID(id)
				batch := evsourcing.Batch{
					Stream:   evsourcing.StreamID{Type: "flight", ID: name(stream)},
					Expected: evsourcing.AnyVersion, Events: events,
				}
				if _, err := store.Append(ctx, batch); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				add(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				add(rand.N(n))
			}
		})
	}
}

// BenchmarkScaleLoad loads an aggregate with many events; an operation is one
// event.
func BenchmarkScaleLoad(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			repo := newRepository(evsourcing.NewMemoryStore())
			fill(b, repo, "one", n)
			benchmarkLoad(b, repo, "one", n)
		})
	}
}

// BenchmarkScaleLoadStreams loads random ones of many streams with 10 events
// each; an operation is one event.
func BenchmarkScaleLoadStreams(b *testing.B) {
	const events = 10
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("streams=%d", n), func(b *testing.B) {
			ctx := context.Background()
			repo := newRepository(evsourcing.NewMemoryStore())
			for i := range n {
				fill(b, repo, streamName(i), events)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += events {
				if _, err := repo.Load(ctx, streamName(rand.N(n))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScaleSubscriptions publishes to a bus with many subscriptions, one of
// which matches.
func BenchmarkScaleSubscriptions(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("subscriptions=%d", n), func(b *testing.B) {
			bus, done := listeningBus(b, 1, n-1)
			benchmarkPublish(b, bus, done, messages(64))
		})
	}
}
