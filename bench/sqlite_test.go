package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
	b.Run("floor", func(b *testing.B) {
		d := openBare(b)
		for b.Loop() {
			d.append(b)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { benchmarkAppend(b, openSQLite(b), writers) })
	}
}

func benchmarkAppend(b *testing.B, s evsourcing.EventStore, writers int) {
	appenders := make([]appender, writers)
	for i := range appenders {
		appenders[i] = appender{store: s, name: uuid.NewString()}
	}
	b.ResetTimer()
	appendAll(b, appenders, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// An appender appends to one stream after the other, 20 events each.
type appender struct {
	store   evsourcing.EventStore
	name    string
	streams int
	version uint64
}

func (a *appender) append() error {
	stream := evsourcing.StreamID{Type: "flight", ID: fmt.Sprintf("flight-%d-of-%s", a.streams, a.name)}
	batch := evsourcing.Batch{Stream: stream, Expected: a.version, Events: []evsourcing.StoredEvent{landingEvent(a.version + 1)}}
	if _, err := a.store.Append(context.Background(), batch); err != nil {
		return err
	}
	if a.version++; a.version == 20 {
		a.version, a.streams = 0, a.streams+1
	}
	return nil
}

// appendAll lets all of them append n events together.
func appendAll(tb testing.TB, appenders []appender, n int) {
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for i := range appenders {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := appenders[i].append(); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A bareDriver inserts rows as the driver alone does.
type bareDriver struct {
	conn                  *zsqlite.Conn
	begin, insert, commit *zsqlite.Stmt
	rows                  int
}

func openBare(tb testing.TB) *bareDriver {
	tb.Helper()
	c, err := zsqlite.OpenConn(filepath.Join(tb.TempDir(), "bare.db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	err = sqlitex.ExecuteScript(c, `
		CREATE TABLE events (position INTEGER PRIMARY KEY, kind INTEGER NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL,
			time INTEGER NOT NULL, checksum INTEGER NOT NULL, id BLOB NOT NULL, stream TEXT NOT NULL, header TEXT, data BLOB NOT NULL) STRICT;`, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := sqlitex.ExecuteTransient(c, "PRAGMA synchronous = FULL", nil); err != nil {
		tb.Fatal(err)
	}
	return &bareDriver{conn: c, begin: c.Prep("BEGIN IMMEDIATE"), insert: c.Prep("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)"), commit: c.Prep("COMMIT")}
}

func (d *bareDriver) append(tb testing.TB) {
	step := func(s *zsqlite.Stmt) {
		if _, err := s.Step(); err != nil {
			tb.Fatal(err)
		}
		if err := s.Reset(); err != nil {
			tb.Fatal(err)
		}
	}
	d.rows++
	e := landingEvent(1)
	step(d.begin)
	d.insert.BindInt64(1, int64(d.rows))
	d.insert.BindInt64(2, 1)
	d.insert.BindInt64(3, int64(d.rows/20))
	d.insert.BindInt64(4, 1)
	d.insert.BindInt64(5, e.Time.UnixMicro())
	d.insert.BindInt64(6, int64(d.rows)*77777)
	d.insert.BindBytes(7, e.ID[:])
	d.insert.BindText(8, streamName(d.rows))
	d.insert.BindNull(9)
	d.insert.BindBytes(10, e.Data)
	step(d.insert)
	step(d.commit)
}

// BenchmarkSQLiteRatio alternates between the floor and so many writers, a few
// hundred appends each, so that a disk whose speed changes changes both. It
// reports how many times as many events are appended, the figure of interest.
func BenchmarkSQLiteRatio(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			bare, s := openBare(b), openSQLite(b)
			appenders := make([]appender, writers)
			for i := range appenders {
				appenders[i] = appender{store: s, name: uuid.NewString()}
			}
			chunk := 100 * writers // about as long as the floor takes for some
			var floor, ours time.Duration
			rows, events := 0, 0
			for n := 0; n < b.N || events == 0; n += chunk {
				began := time.Now()
				for range 100 {
					bare.append(b)
				}
				rows += 100
				floor += time.Since(began)
				began = time.Now()
				appendAll(b, appenders, chunk)
				events += chunk
				ours += time.Since(began)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(rows)/floor.Seconds(), "floor/s")
			b.ReportMetric(float64(events)/ours.Seconds(), "events/s")
			b.ReportMetric(float64(events)/ours.Seconds()/(float64(rows)/floor.Seconds()), "x-floor")
		})
	}
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

// BenchmarkSQLiteScale appends to, loads from and reads stores of different sizes:
// the cost must not rise. Each of the stored streams has 20 events.
func BenchmarkSQLiteScale(b *testing.B) {
	for _, size := range engineSizes() {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			s := openSQLite(b)
			fillMixed(b, s, size/20, 20)
			b.Run("append", func(b *testing.B) { benchmarkAppend(b, s, 64) })
			b.Run("load", func(b *testing.B) { benchmarkLoads(b, s, size/20) })
			b.Run("read", func(b *testing.B) { benchmarkRead(b, s) })
		})
	}
}

// engineSizes returns how many events there are in the stores of different sizes.
// With EVSOURCING_FULL=1 the largest has ten million.
func engineSizes() []int {
	sizes := []int{10_000, 100_000, 1_000_000}
	switch {
	case os.Getenv("EVSOURCING_FULL") == "1":
		return append(sizes, 10_000_000)
	case testing.Short():
		return sizes[:1]
	}
	return sizes
}

// benchmarkLoads loads streams of 20 events, one here and one there.
func benchmarkLoads(b *testing.B, s evsourcing.EventStore, streams int) {
	for i := 0; b.Loop(); i++ {
		n := 0
		for _, err := range s.Load(context.Background(), evsourcing.StreamID{Type: "flight", ID: streamName(i * 7919 % streams)}, evsourcing.Range{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 20 {
			b.Fatalf("%d events", n)
		}
	}
}

// benchmarkRead reads the whole log once, whatever b.N is, and reports the most
// memory that the heap had meanwhile.
func benchmarkRead(b *testing.B, log evsourcing.Log) {
	runtime.GC()
	var m runtime.MemStats
	peak, n := uint64(0), 0
	for _, err := range log.Events(context.Background(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			b.Fatal(err)
		}
		if n++; n%10_000 == 0 {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MiB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSQLiteProjection catches up with a log by a handler that writes one
// row an event in the transaction that saves its checkpoint. An operation is an
// event.
func BenchmarkSQLiteProjection(b *testing.B) {
	s := openSQLite(b)
	const events = 20_000
	fillMixed(b, s, 1000, events/1000)
	handler := s.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		insert, err := tx.Prepare("INSERT INTO delays VALUES (?, ?) ON CONFLICT (flight) DO UPDATE SET n = n + excluded.n")
		if err != nil {
			return err
		}
		for i := range msgs {
			insert.BindText(1, msgs[i].Stream.ID)
			insert.BindInt64(2, int64(len(msgs[i].Data)))
			if _, err := insert.Step(); err != nil {
				return err
			}
			if err := insert.Reset(); err != nil {
				return err
			}
		}
		return nil
	})
	err := s.Handler(func(_ context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
		return sqlitex.ExecuteTransient(tx, "CREATE TABLE delays (flight TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT", nil)
	}).Handle(context.Background(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n, round := 0, 0; n < b.N; round++ {
		var msgs []evsourcing.Message
		name := fmt.Sprint("delays-", round)
		var from evsourcing.Checkpoint
		flush := func() {
			last := msgs[len(msgs)-1]
			to := evsourcing.Checkpoint{Position: last.Position, EventID: last.ID}
			if err := handler.HandleTx(context.Background(), name, from, to, msgs); err != nil {
				b.Fatal(err)
			}
			n += len(msgs)
			from, msgs = to, msgs[:0]
		}
		for e, err := range s.Events(context.Background(), evsourcing.Range{}, evsourcing.Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			if msgs = append(msgs, evsourcing.Message{StoredEvent: e}); len(msgs) == 500 {
				flush()
			}
		}
		if len(msgs) > 0 {
			flush()
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
