package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
)

// A store is what all engines of the library are.
type store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.CheckpointStore
}

// A bed is a store and its floor.
type bed struct {
	store store
	bare  bare
}

// bare is the driver of an engine, used as directly as it allows.
type bare interface {
	// insert stores an event in a transaction of its own, as durable as the
	// store's, in a table of its own or the store's own.
	insert(ctx context.Context, id evsourcing.StreamID, e *evsourcing.StoredEvent) error
	// load reads the events of a stream of the store, and gives their data to f,
	// which does not keep it.
	load(ctx context.Context, id evsourcing.StreamID, f func(data []byte)) error
	// scan does so with the whole log.
	scan(ctx context.Context, f func(data []byte)) error
}

// An engine is one of those that keep events.
type engine struct {
	name string
	// open returns an empty store, whose floor may insert by as many writers, and
	// a function that closes and removes it. A nil store is not there: what is
	// missing was said.
	open func(b *testing.B, writers int) (bed, func())
	// alone says that inserting by several writers at once is no faster or not
	// possible.
	alone bool
}

var engines = []engine{
	{name: "memory", open: openMemory},
	{name: "sqlite", open: openSQLite, alone: true},
	{name: "postgres", open: openPostgres},
}

// eachEngine runs f for the durable engines or for all.
func eachEngine(b *testing.B, all bool, f func(b *testing.B, e engine)) {
	for _, e := range engines {
		if all || e.name != "memory" {
			b.Run("engine="+e.name, func(b *testing.B) { f(b, e) })
		}
	}
}

// fresh returns an empty bed, for the time of the benchmark.
func (e engine) fresh(b *testing.B, writers int) bed {
	b.Helper()
	s, end := e.open(b, writers)
	b.Cleanup(end)
	return s
}

// kept returns a bed that fill has filled, now or in an earlier round.
func (e engine) kept(b *testing.B, key string, fill func(s store)) bed {
	b.Helper()
	return keep(e.name+"/"+key, func() (bed, func()) {
		s, end := e.open(b, 1)
		fill(s.store)
		return s, end
	})
}

// A writer has events to append, each to a stream of the writer's own that gets a
// new one every twenty events.
type writer struct {
	name    string
	data    []byte
	streams int
	version uint64
}

func newWriters(n int, data []byte) []*writer {
	list := make([]*writer, n)
	for i := range list {
		list[i] = &writer{name: uuid.NewString(), data: data}
	}
	return list
}

// next returns the next event, and the stream it belongs to.
func (w *writer) next() (evsourcing.StreamID, evsourcing.StoredEvent) {
	if w.version == 20 {
		w.version, w.streams = 0, w.streams+1
	}
	w.version++
	return evsourcing.StreamID{Type: "flight", ID: fmt.Sprintf("flight-%d-of-%s", w.streams, w.name)}, newEvent(w.version, w.data)
}

func newEvent(version uint64, data []byte) evsourcing.StoredEvent {
	return evsourcing.StoredEvent{
		ID: uuid.Must(uuid.NewV7()), Version: version, Topic: "flight.landed", ContentType: "application/json", Data: data, Time: time.Now(),
	}
}

// appends lets so many writers append b.N events, one at a time.
func appends(b *testing.B, s evsourcing.EventStore, writers int, data []byte) {
	share(b, newWriters(writers, data), func(w *writer) error {
		id, e := w.next()
		_, err := s.Append(b.Context(), evsourcing.Batch{Stream: id, Expected: e.Version - 1, Events: []evsourcing.StoredEvent{e}})
		return err
	})
}

// inserts is the floor of it.
func inserts(b *testing.B, s bare, writers int, data []byte) {
	share(b, newWriters(writers, data), func(w *writer) error {
		id, e := w.next()
		return s.insert(b.Context(), id, &e)
	})
}

// share lets the writers do b.N operations together.
func share(b *testing.B, list []*writer, f func(w *writer) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for _, w := range list {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

// fillStream appends a stream of n events, in batches.
func fillStream(b *testing.B, s evsourcing.EventStore, id evsourcing.StreamID, n int, data []byte) {
	b.Helper()
	for v := 0; v < n; {
		batch := evsourcing.Batch{Stream: id, Expected: uint64(v)}
		for range min(n-v, 1000) {
			v++
			batch.Events = append(batch.Events, newEvent(uint64(v), data))
		}
		if _, err := s.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// fillMixed appends events to so many streams in turn, so that those of one stream
// lie far apart.
func fillMixed(b *testing.B, s evsourcing.EventStore, streams, length int) {
	b.Helper()
	for v := range length {
		for first := 0; first < streams; first += 1000 {
			var batches []evsourcing.Batch
			for i := first; i < min(first+1000, streams); i++ {
				batches = append(batches, evsourcing.Batch{
					Stream: streamID(i), Expected: uint64(v), Events: []evsourcing.StoredEvent{newEvent(uint64(v+1), payload)},
				})
			}
			if _, err := s.Append(b.Context(), batches...); err != nil {
				b.Fatal(err)
			}
		}
	}
}
