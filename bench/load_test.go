package bench

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// BenchmarkLoad loads an aggregate of 1,000 events. An operation is one event.
func BenchmarkLoad(b *testing.B) {
	const events = 1000
	store := evsourcing.NewMemoryStore()
	repo := newRepository(store)
	fill(b, repo, "one", events)
	b.Run("floor", func(b *testing.B) {
		var payloads [][]byte
		for e, err := range store.Load(context.Background(), evsourcing.StreamID{Type: "flight", ID: "one"}, evsourcing.Range{}) {
			if err != nil {
				b.Fatal(err)
			}
			payloads = append(payloads, e.Data)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			var e landed
			if err := json.Unmarshal(payloads[i%events], &e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("memory", func(b *testing.B) { benchmarkLoad(b, repo, "one", events) })
}

func benchmarkLoad(b *testing.B, repo *evsourcing.Repository[flight], id string, events int) {
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += events {
		if _, err := repo.Load(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
	loaded := (b.N + events - 1) / events * events // at least one whole load
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(loaded), "ns/event")
}
