package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// postgresDSN returns where the server is, or skips the benchmark.
func postgresDSN(b *testing.B) string {
	b.Helper()
	dsn := cmp.Or(os.Getenv("EVSOURCING_POSTGRES"), "postgres://postgres@127.0.0.1:5432/test")
	conn, err := pgx.Connect(b.Context(), dsn)
	if err != nil {
		if os.Getenv("EVSOURCING_REQUIRE_SERVICES") == "1" {
			b.Fatalf("no PostgreSQL server: %v", err)
		}
		b.Skipf("no PostgreSQL server; EVSOURCING_POSTGRES may name one: %v", err)
	}
	_ = conn.Close(b.Context())
	return dsn
}

var postgresSchemas atomic.Int64

// newPostgres returns an empty store, and a pool with room for the writers of a floor.
func newPostgres(b *testing.B, conns int) (*postgres.Store, *pgxpool.Pool, string) {
	b.Helper()
	config, err := pgxpool.ParseConfig(postgresDSN(b))
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = int32(conns)
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	schema := fmt.Sprintf("bench_%d_%d", os.Getpid(), postgresSchemas.Add(1))
	store, err := postgres.New(b.Context(), pool, &postgres.Options{Schema: schema})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx := context.Background()
		if err := store.Close(ctx); err != nil {
			b.Error(err)
		}
		if _, err := pool.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			b.Error(err)
		}
		pool.Close()
	})
	return store, pool, schema
}

// writers shares b.N calls of f among goroutines.
func writers(b *testing.B, n int, f func(ctx context.Context, writer, i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range n {
		wg.Go(func() {
			for i := 0; next.Add(1) <= int64(b.N); i++ {
				if err := f(b.Context(), w, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// oneEvent returns an append of one event to a stream of the writer's own, which gets
// a new one every hundred events.
func oneEvent(b *testing.B, run string, writer, i int) evsourcing.Batch {
	data, err := json.Marshal(landing)
	if err != nil {
		b.Error(err)
	}
	version := uint64(i % 100)
	return evsourcing.Batch{
		Stream:   evsourcing.StreamID{Type: "flight", ID: fmt.Sprintf("%s-%d-%d", run, writer, i/100)},
		Expected: version,
		Events: []evsourcing.StoredEvent{{
			ID: uuid.Must(uuid.NewV7()), Version: version + 1, Topic: "flight.landed", ContentType: "application/json", Data: data, Time: time.Now(),
		}},
	}
}

// BenchmarkPostgresAppend stores one event an append. Its floor is a bare prepared
// insertion of one row into the same table, with pgx, by as many writers on a
// connection each, which gives no order.
func BenchmarkPostgresAppend(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("%d-writers/floor", n), func(b *testing.B) {
			_, pool, schema := newPostgres(b, min(n, 90))
			run := uuid.NewString()[:8]
			insert := "INSERT INTO " + schema + ".events (position, version, time, id, type, stream, topic, content_type, data)" +
				" VALUES (nextval('" + schema + ".positions'), $1, $2, $3, $4, $5, $6, $7, $8)"
			writers(b, n, func(ctx context.Context, w, i int) error {
				e := oneEvent(b, run, w, i)
				_, err := pool.Exec(ctx, insert, e.Expected+1, e.Events[0].Time.UnixMicro(), e.Events[0].ID, e.Stream.Type, e.Stream.ID,
					e.Events[0].Topic, e.Events[0].ContentType, e.Events[0].Data)
				return err
			})
		})
		b.Run(fmt.Sprintf("%d-writers/postgres", n), func(b *testing.B) {
			store, _, _ := newPostgres(b, 8)
			run := uuid.NewString()[:8]
			writers(b, n, func(ctx context.Context, w, i int) error {
				_, err := store.Append(ctx, oneEvent(b, run, w, i))
				return err
			})
		})
	}
}

// fillPostgres stores n events of streams with size events each.
func fillPostgres(b *testing.B, store evsourcing.EventStore, n, size int) {
	b.Helper()
	data, err := json.Marshal(landing)
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	room := make(chan struct{}, 16)
	for i := range n / size {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			batch := evsourcing.Batch{Stream: evsourcing.StreamID{Type: "flight", ID: streamName(i)}}
			for j := range size {
				batch.Events = append(batch.Events, evsourcing.StoredEvent{
					ID: uuid.Must(uuid.NewV7()), Version: uint64(j + 1), Topic: "flight.landed", ContentType: "application/json", Data: data, Time: time.Now(),
				})
			}
			if _, err := store.Append(b.Context(), batch); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkPostgresLoad reads a stream of 1,000 events. Its floor is the same query
// with pgx, whose raw rows are looked at and not decoded.
func BenchmarkPostgresLoad(b *testing.B) {
	const size = 1000
	store, pool, schema := newPostgres(b, 4)
	fillPostgres(b, store, 20*size, size)
	b.Run("floor", func(b *testing.B) {
		sql := "SELECT position, version, time, id, topic, content_type, data, tags, metadata FROM " + schema +
			".events WHERE stream = $1 AND type = $2 ORDER BY version"
		for b.Loop() {
			rows, err := pool.Query(b.Context(), sql, streamName(7), "flight")
			if err != nil {
				b.Fatal(err)
			}
			n, bytes := 0, 0
			for rows.Next() {
				n++
				for _, v := range rows.RawValues() {
					bytes += len(v)
				}
			}
			if n != size || rows.Err() != nil {
				b.Fatal(n, bytes, rows.Err())
			}
		}
		b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("postgres", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range store.Load(b.Context(), evsourcing.StreamID{Type: "flight", ID: streamName(7)}, evsourcing.Range{}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != size {
				b.Fatal(n)
			}
		}
		b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkPostgresScale is BenchmarkSQLiteScale on PostgreSQL.
func BenchmarkPostgresScale(b *testing.B) {
	for _, size := range engineSizes() {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			s, _, _ := newPostgres(b, 8)
			fillMixed(b, s, size/20, 20)
			b.Run("append", func(b *testing.B) { benchmarkAppend(b, s, 64) })
			b.Run("load", func(b *testing.B) { benchmarkLoads(b, s, size/20) })
			b.Run("read", func(b *testing.B) { benchmarkRead(b, s) })
		})
	}
}

// BenchmarkPostgresEvents reads a whole log.
func BenchmarkPostgresEvents(b *testing.B) {
	const n = 100_000
	store, _, _ := newPostgres(b, 4)
	fillPostgres(b, store, n, 100)
	b.ResetTimer()
	for b.Loop() {
		count := 0
		for _, err := range store.Events(b.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			count++
		}
		if count != n {
			b.Fatal(count)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPostgresProjection catches up with a log, in transactions that count the
// events of each stream in a table and save the checkpoint.
func BenchmarkPostgresProjection(b *testing.B) {
	const n, size = 100_000, 1000
	store, pool, schema := newPostgres(b, 4)
	fillPostgres(b, store, n, 100)
	if _, err := pool.Exec(b.Context(), "CREATE TABLE "+schema+".flights (id text PRIMARY KEY, events bigint NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	h := store.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		counts := map[string]int64{}
		for i := range msgs {
			counts[msgs[i].Stream.ID]++
		}
		var ids []string
		var events []int64
		for id, count := range counts {
			ids, events = append(ids, id), append(events, count)
		}
		_, err := tx.Exec(ctx, "INSERT INTO "+schema+".flights AS f SELECT * FROM unnest($1::text[], $2::bigint[])"+
			" ON CONFLICT (id) DO UPDATE SET events = f.events + excluded.events", ids, events)
		return err
	})
	registry := evsourcing.NewRegistry(landed{})
	round := 0
	for b.Loop() {
		round++
		name := fmt.Sprint("projection-", round)
		var at evsourcing.Checkpoint
		var msgs []evsourcing.Message
		handle := func() {
			last := msgs[len(msgs)-1]
			to := evsourcing.Checkpoint{Position: last.Position, EventID: last.ID}
			if err := h.HandleTx(b.Context(), name, at, to, msgs); err != nil {
				b.Fatal(err)
			}
			at, msgs = to, msgs[:0]
		}
		for e, err := range store.Events(b.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			m := evsourcing.Message{StoredEvent: e}
			if m.Event, err = registry.Decode(b.Context(), &e); err != nil {
				b.Fatal(err)
			}
			if msgs = append(msgs, m); len(msgs) == size {
				handle()
			}
		}
		if len(msgs) > 0 {
			handle()
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
}
