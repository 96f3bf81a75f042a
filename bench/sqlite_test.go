package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/sqlite"
)

var payload = []byte(`{"airport":"CDG","from":"JFK","delay":12}`)

func openSQLite(tb testing.TB) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(filepath.Join(tb.TempDir(), "bench.db"), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func landingEvent(version uint64) evsourcing.StoredEvent {
	return evsourcing.StoredEvent{ID: uuid.Must(uuid.NewV7()), Version: version, Topic: "flight.landed", ContentType: "application/json", Data: payload, Time: time.Now()}
}

// BenchmarkSQLiteAppend appends one event at a time, each writer to streams of
// its own. The floor is the bare driver that inserts the same row, into a table
// without other indexes, in a transaction of its own.
func BenchmarkSQLiteAppend(b *testing.B) {
	b.Run("floor", func(b *testing.B) { benchmarkBareInsert(b, filepath.Join(b.TempDir(), "bare.db")) })
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { benchmarkAppend(b, openSQLite(b), writers) })
	}
}

func benchmarkAppend(b *testing.B, s evsourcing.EventStore, writers int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			version := uint64(0)
			stream := evsourcing.StreamID{Type: "flight", ID: uuid.NewString()}
			for i := 0; left.Add(-1) >= 0; i++ {
				if version == 20 {
					version, stream.ID = 0, fmt.Sprintf("%d-%d-%d", w, i, time.Now().UnixNano())
				}
				batch := evsourcing.Batch{Stream: stream, Expected: version, Events: []evsourcing.StoredEvent{landingEvent(version + 1)}}
				if _, err := s.Append(context.Background(), batch); err != nil {
					b.Error(err)
					return
				}
				version++
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func benchmarkBareInsert(b *testing.B, path string) {
	c, err := zsqlite.OpenConn(path)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	err = sqlitex.ExecuteScript(c, `
		CREATE TABLE events (position INTEGER PRIMARY KEY, version INTEGER NOT NULL, time INTEGER NOT NULL, checksum INTEGER NOT NULL,
			id BLOB NOT NULL, type TEXT NOT NULL, stream TEXT NOT NULL, topic TEXT NOT NULL, content_type TEXT NOT NULL, tags TEXT, metadata TEXT, data BLOB NOT NULL) STRICT;`, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := sqlitex.ExecuteTransient(c, "PRAGMA synchronous = FULL", nil); err != nil {
		b.Fatal(err)
	}
	begin, insert, commit := c.Prep("BEGIN IMMEDIATE"), c.Prep("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"), c.Prep("COMMIT")
	step := func(s *zsqlite.Stmt) {
		if _, err := s.Step(); err != nil {
			b.Fatal(err)
		}
		if err := s.Reset(); err != nil {
			b.Fatal(err)
		}
	}
	for i := 1; b.Loop(); i++ {
		e := landingEvent(1)
		step(begin)
		insert.BindInt64(1, int64(i))
		insert.BindInt64(2, 1)
		insert.BindInt64(3, e.Time.UnixMicro())
		insert.BindInt64(4, int64(i*77777))
		insert.BindBytes(5, e.ID[:])
		insert.BindText(6, "flight")
		insert.BindText(7, streamName(i))
		insert.BindText(8, e.Topic)
		insert.BindText(9, e.ContentType)
		insert.BindNull(10)
		insert.BindNull(11)
		insert.BindBytes(12, e.Data)
		step(insert)
		step(commit)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// fillStore appends events to streams of the given length.
func fillStore(tb testing.TB, s evsourcing.EventStore, events, length int) {
	tb.Helper()
	for n := 0; n < events; n += length {
		batch := evsourcing.Batch{Stream: evsourcing.StreamID{Type: "flight", ID: streamName(n / length)}}
		for v := range length {
			batch.Events = append(batch.Events, landingEvent(uint64(v+1)))
		}
		if _, err := s.Append(context.Background(), batch); err != nil {
			tb.Fatal(err)
		}
	}
}

// fillMixed appends events to so many streams in turn, so that those of one
// stream are far apart.
func fillMixed(tb testing.TB, s evsourcing.EventStore, streams, length int) {
	tb.Helper()
	for v := 0; v < length; v++ {
		for first := 0; first < streams; first += 1000 {
			var batches []evsourcing.Batch
			for i := first; i < min(first+1000, streams); i++ {
				batches = append(batches, evsourcing.Batch{
					Stream: evsourcing.StreamID{Type: "flight", ID: streamName(i)}, Expected: uint64(v),
					Events: []evsourcing.StoredEvent{landingEvent(uint64(v + 1))},
				})
			}
			if _, err := s.Append(context.Background(), batches...); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// BenchmarkSQLiteLoad loads a stream of 1,000 events. An operation is an event.
func BenchmarkSQLiteLoad(b *testing.B) {
	const length = 1000
	for _, mixed := range []bool{false, true} {
		name := "together"
		if mixed {
			name = "apart"
		}
		b.Run(name, func(b *testing.B) {
			s := openSQLite(b)
			if mixed {
				fillMixed(b, s, 100, length)
			} else {
				fillStore(b, s, 10*length, length)
			}
			b.ReportAllocs()
			b.ResetTimer()
			n := 0
			for n < b.N {
				for e, err := range s.Load(context.Background(), evsourcing.StreamID{Type: "flight", ID: streamName(7)}, evsourcing.Range{}) {
					if err != nil || len(e.Data) != len(payload) {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkSQLiteEvents reads a log of 200,000 events. An operation is an event.
// The floor is the bare driver that scans the table, reading a number and the
// data.
func BenchmarkSQLiteEvents(b *testing.B) {
	path := filepath.Join(b.TempDir(), "bench.db")
	s, err := sqlite.Open(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	fillMixed(b, s, 10_000, 20)
	b.Run("floor", func(b *testing.B) {
		c, err := zsqlite.OpenConn(path, zsqlite.OpenReadOnly)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		scan := c.Prep("SELECT position, data FROM events ORDER BY position")
		buf := make([]byte, 1024)
		n := 0
		for b.ResetTimer(); n < b.N; {
			for {
				ok, err := scan.Step()
				if err != nil {
					b.Fatal(err)
				}
				if !ok {
					break
				}
				if scan.ColumnInt64(0) == 0 || scan.ColumnBytes(1, buf) == 0 {
					b.Fatal("empty")
				}
				n++
			}
			if err := scan.Reset(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	})
	for _, f := range []struct {
		name   string
		filter evsourcing.Filter
	}{
		{"all", evsourcing.Filter{}},
		{"one topic", evsourcing.Filter{Topics: []string{"flight.landed"}}},
		{"none", evsourcing.Filter{Topics: []string{"flight.other"}}},
	} {
		b.Run(f.name, func(b *testing.B) {
			n := 0
			b.ReportAllocs()
			for b.ResetTimer(); n < b.N; {
				for e, err := range s.Events(context.Background(), evsourcing.Range{}, f.filter) {
					if err != nil || len(e.Data) != len(payload) {
						b.Fatal(err)
					}
					n++
				}
				if f.name == "none" {
					n += 200_000
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
