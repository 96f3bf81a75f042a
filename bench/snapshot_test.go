package bench

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// BenchmarkSnapshot loads an aggregate of 100,999 events with snapshots every
// 1,000, of which the last 999 are not in one, and without; one of 1,000 events
// without snapshots; and one whose newest version has a snapshot in memory, which
// is what this library has for a cache of aggregates. The floor is to decode the
// snapshot and the events after it. An operation is a load.
func BenchmarkSnapshot(b *testing.B) {
	const every = 1000
	events := faulttest.Scale(5, 100, 100) * every
	store := evsourcing.NewMemoryStore()
	plain := newRepository(store, nil)
	fill(b, plain, "short", every, landing)
	fill(b, plain, "long", events, landing)
	snapshots := newRepository(store, &evsourcing.RepositoryOptions{Snapshots: store, SnapshotEvery: every})
	a := snapshot(b, snapshots, "long")
	state, err := json.Marshal(a)
	if err != nil {
		b.Fatal(err)
	}
	for range every - 1 {
		evsourcing.Record(a, landing)
	}
	if err := plain.Save(b.Context(), a); err != nil {
		b.Fatal(err)
	}
	if s, _, err := store.LoadSnapshot(b.Context(), evsourcing.StreamID{Type: "flight", ID: "long"}); err != nil || s.Version != uint64(events) {
		b.Fatalf("the snapshot is at version %d, want %d (error: %v)", s.Version, events, err)
	}
	cache := newRepository(store, &evsourcing.RepositoryOptions{Snapshots: evsourcing.NewMemoryStore(), SnapshotEvery: 1})
	snapshot(b, cache, "short")

	for _, c := range []struct {
		name   string
		repo   *evsourcing.Repository[flight]
		id     string
		events int // of the aggregate
		decode int // how many of them are decoded
	}{
		{"off", plain, "short", every, every},
		{"off", plain, "long", events + every - 1, events + every - 1},
		{"on", snapshots, "long", events + every - 1, every - 1},
		{"each", cache, "short", every, 0},
	} {
		b.Run(fmt.Sprintf("snapshots=%s/events=%d", c.name, c.events), func(b *testing.B) {
			compare(b, func(b *testing.B) {
				for b.Loop() {
					if c.decode < c.events {
						if err := json.Unmarshal(state, &flight{}); err != nil {
							b.Fatal(err)
						}
					}
					decodeTimes(b, payload, c.decode)
				}
			}, func(b *testing.B) {
				loads(b, c.repo, c.id, c.events)
				many(b, 1)
			})
		})
	}
}

// BenchmarkSnapshotSave saves one event after the other to a stream, without
// snapshots and with one every 100 events, which is taken in the background.
func BenchmarkSnapshotSave(b *testing.B) {
	for _, every := range []int{0, 100} {
		b.Run(fmt.Sprintf("every=%d", every), func(b *testing.B) {
			compare(b, func(b *testing.B) { bareSaves(b, evsourcing.JSON{}, landing) }, func(b *testing.B) {
				store := evsourcing.NewMemoryStore()
				opts := &evsourcing.RepositoryOptions{}
				if every > 0 {
					opts.Snapshots, opts.SnapshotEvery = store, every
				}
				repo := newRepository(store, opts)
				saves(b, repo, landing)
				if err := repo.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// snapshot loads the aggregate and waits for the snapshot that this asks for.
func snapshot(b *testing.B, repo *evsourcing.Repository[flight], id string) *flight {
	b.Helper()
	a, err := repo.Load(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if err := repo.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return a
}
