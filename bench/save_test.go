package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
)

// BenchmarkSave records one event and saves it in a MemoryStore: alone, with a
// bus that has a reactor, and in a transaction, whose streams are short so that
// the load does not hide the rest. The floor is to encode the payload, a UUID, the
// clock and an insertion into a map; beside a bus, a hop over a channel too; of a
// transaction, also to decode the stream.
func BenchmarkSave(b *testing.B) {
	b.Run("case=alone", func(b *testing.B) {
		compare(b, func(b *testing.B) { bareSaves(b, evsourcing.JSON{}, landing) },
			func(b *testing.B) { saves(b, newRepository(evsourcing.NewMemoryStore(), nil), landing) })
	})
	b.Run("case=bus", func(b *testing.B) {
		compare(b, func(b *testing.B) {
			hops, done := hop()
			s := bareStore{}
			for b.Loop() {
				s.save(b, evsourcing.JSON{}, landing)
				hops <- 1
			}
			done()
		}, func(b *testing.B) {
			bus, done := listeningBus(b, 1, 0)
			saves(b, newRepository(evsourcing.NewMemoryStore(), &evsourcing.RepositoryOptions{Bus: bus}), landing)
			done()
		})
	})
	b.Run("case=transaction", func(b *testing.B) {
		compare(b, func(b *testing.B) {
			s := bareStore{}
			i := 0
			for b.Loop() {
				decodeTimes(b, payload, i%8)
				s.save(b, evsourcing.JSON{}, landing)
				i++
			}
		}, func(b *testing.B) {
			repo := newRepository(evsourcing.NewMemoryStore(), nil)
			i := 0
			for b.Loop() {
				_, err := repo.CreateOrUpdate(b.Context(), streamName(i/8), func(f *flight) error {
					evsourcing.Record(f, landing)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	})
}

// BenchmarkSaveStream saves an event to a stream that has many.
func BenchmarkSaveStream(b *testing.B) {
	for _, n := range lengths(1e6) {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			compare(b, func(b *testing.B) { bareSaves(b, evsourcing.JSON{}, landing) }, func(b *testing.B) {
				repo := newRepository(evsourcing.NewMemoryStore(), nil)
				a := fill(b, repo, "one", n, landing)
				for b.Loop() {
					evsourcing.Record(a, landing)
					if err := repo.Save(b.Context(), a); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func saves(b *testing.B, repo *evsourcing.Repository[flight], e evsourcing.EventOf[*flight]) {
	a := repo.New("one")
	for b.Loop() {
		evsourcing.Record(a, e)
		if err := repo.Save(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}

// A bareStore is what saving costs at least.
type bareStore map[uint64]bareEvent

type bareEvent struct {
	id   uuid.UUID
	data []byte
	time time.Time
}

func (s bareStore) save(b *testing.B, enc evsourcing.Encoder, e any) {
	data, err := enc.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	s[uint64(len(s)+1)] = bareEvent{uuid.Must(uuid.NewV7()), data, time.Now()}
}

func bareSaves(b *testing.B, enc evsourcing.Encoder, e any) {
	s := bareStore{}
	for b.Loop() {
		s.save(b, enc, e)
	}
}
