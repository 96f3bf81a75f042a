package bench

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// BenchmarkSnapshotLoad loads an aggregate of 100,999 events, of which the last
// 999 are not in its snapshot, and beside it one of 1,000 events without
// snapshots, which is the floor. An operation is one load.
func BenchmarkSnapshotLoad(b *testing.B) {
	const every = 1000
	events := 100 * every
	if testing.Short() {
		events = 5 * every
	}
	store := evsourcing.NewMemoryStore()
	plain := newRepository(store)
	fill(b, plain, "short", every)
	fill(b, plain, "long", events)
	options := &evsourcing.RepositoryOptions{Snapshots: store, SnapshotEvery: every}
	repo := evsourcing.NewRepository[flight]("flight", store, evsourcing.NewRegistry(landed{}), options)
	if err := plain.Save(context.Background(), record(snapshot(b, repo, "long"), every-1)); err != nil {
		b.Fatal(err)
	}
	s, _, err := store.LoadSnapshot(context.Background(), evsourcing.StreamID{Type: "flight", ID: "long"})
	if err != nil || s.Version != uint64(events) {
		b.Fatalf("the snapshot is at version %d, want %d (error: %v)", s.Version, events, err)
	}
	b.Run("floor", func(b *testing.B) { benchmarkWholeLoad(b, plain, "short", every) })
	b.Run("snapshot", func(b *testing.B) { benchmarkWholeLoad(b, repo, "long", events+every-1) })
}

// BenchmarkSnapshotCache loads an aggregate of 1,000 events whose newest version
// has a snapshot in a MemoryStore, which is what this library has for a cache of
// aggregates. The floors are what no cache saves: reading the stream's end, to
// know whether it has moved on, and a copy, by encoding/json, because aggregates
// can't be shared.
func BenchmarkSnapshotCache(b *testing.B) {
	const events = 1000
	ctx := context.Background()
	store := evsourcing.NewMemoryStore()
	fill(b, newRepository(store), "one", events)
	options := &evsourcing.RepositoryOptions{Snapshots: evsourcing.NewMemoryStore(), SnapshotEvery: 1}
	repo := evsourcing.NewRepository[flight]("flight", store, evsourcing.NewRegistry(landed{}), options)
	a := snapshot(b, repo, "one")
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, err := range store.Load(ctx, evsourcing.StreamID{Type: "flight", ID: "one"}, evsourcing.Range{After: events - 1}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("copy", func(b *testing.B) {
		data, err := json.Marshal(a)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(data, &flight{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("snapshot", func(b *testing.B) { benchmarkWholeLoad(b, repo, "one", events) })
	b.Run("replay", func(b *testing.B) { benchmarkWholeLoad(b, newRepository(store), "one", events) })
}

// record records n more events.
func record(a *flight, n int) *flight {
	for range n {
		evsourcing.Record(a, landing)
	}
	return a
}

// snapshot loads the aggregate and waits for the snapshot that this asks for.
func snapshot(tb testing.TB, repo *evsourcing.Repository[flight], id string) *flight {
	tb.Helper()
	a, err := repo.Load(context.Background(), id)
	if err != nil {
		tb.Fatal(err)
	}
	if err := repo.Close(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return a
}

func benchmarkWholeLoad(b *testing.B, repo *evsourcing.Repository[flight], id string, count int) {
	b.ReportAllocs()
	for b.Loop() {
		a, err := repo.Load(context.Background(), id)
		if err != nil {
			b.Fatal(err)
		}
		if a.Count != count {
			b.Fatalf("%d events were applied, want %d", a.Count, count)
		}
	}
}
