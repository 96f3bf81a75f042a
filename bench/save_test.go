package bench

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
)

// BenchmarkSave records one event and saves it.
func BenchmarkSave(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		type stored struct {
			id   uuid.UUID
			data []byte
			time time.Time
		}
		store := map[uint64]stored{}
		n := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			data, err := json.Marshal(landing)
			if err != nil {
				b.Fatal(err)
			}
			n++
			store[n] = stored{uuid.Must(uuid.NewV7()), data, time.Now()}
		}
	})
	b.Run("memory", func(b *testing.B) {
		ctx := context.Background()
		repo := newRepository(evsourcing.NewMemoryStore())
		a := repo.New("one")
		b.ReportAllocs()
		for b.Loop() {
			evsourcing.Record(a, landing)
			if err := repo.Save(ctx, a); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("memory-and-bus", func(b *testing.B) {
		ctx := context.Background()
		bus, done := listeningBus(b, 1, 0)
		repo := evsourcing.NewRepository[flight]("flight", evsourcing.NewMemoryStore(),
			evsourcing.NewRegistry(landed{}), &evsourcing.RepositoryOptions{Bus: bus})
		a := repo.New("one")
		b.ReportAllocs()
		for b.Loop() {
			evsourcing.Record(a, landing)
			if err := repo.Save(ctx, a); err != nil {
				b.Fatal(err)
			}
		}
		done()
	})
}

// BenchmarkUpdate runs a transaction: load, one event, save. Its stream is
// short, so that the load does not hide the rest.
func BenchmarkUpdate(b *testing.B) {
	ctx := context.Background()
	repo := newRepository(evsourcing.NewMemoryStore())
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		_, err := repo.CreateOrUpdate(ctx, streamName(i/8), func(f *flight) error {
			evsourcing.Record(f, landing)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
