package attack

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
	"github.com/evsourcing/evsourcing/sqlite"
)

// A store has what all stores of this repository have.
type store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Waiter
	evsourcing.Finder
	evsourcing.SnapshotStore
	evsourcing.CheckpointStore
	evsourcing.Claimer
}

var quiet = slog.New(slog.DiscardHandler)

// each runs a test on a new store of each kind.
func each(t *testing.T, f func(t *testing.T, s store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { f(t, evsourcing.NewMemoryStore()) })
	t.Run("sqlite", func(t *testing.T) { f(t, newSQLite(t)) })
	t.Run("postgres", func(t *testing.T) {
		s, _, _ := newPostgres(t)
		f(t, s)
	})
}

func newSQLite(t *testing.T) *sqlite.Store {
	t.Helper()
	// Power is not lost here.
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "events.db"), &sqlite.Options{Durability: sqlite.Normal, Logger: quiet, Readers: 2, HandlerTime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

var schemas atomic.Int64

// newPostgres returns a store in a new schema of the database that EVSOURCING_POSTGRES
// names.
func newPostgres(t *testing.T) (s *postgres.Store, pool *pgxpool.Pool, schema string) {
	t.Helper()
	dsn := os.Getenv("EVSOURCING_POSTGRES")
	if dsn == "" {
		dsn = "postgres://postgres@127.0.0.1:5432/test"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err == nil {
		t.Cleanup(pool.Close)
		err = pool.Ping(ctx)
	}
	if err != nil {
		faulttest.Missing(t, "no PostgreSQL at EVSOURCING_POSTGRES, or where it is by default: %v", err)
	}
	schema = fmt.Sprintf("attack_%d_%d", os.Getpid(), schemas.Add(1))
	s, err = postgres.New(ctx, pool, &postgres.Options{Schema: schema, Logger: quiet, NoListen: true, PollInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close(context.Background())
		_, _ = pool.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
	})
	return s, pool, schema
}

func stream(id string) evsourcing.StreamID { return evsourcing.StreamID{Type: "thing", ID: id} }

func newEvent(topic string, data []byte) evsourcing.StoredEvent {
	return evsourcing.StoredEvent{ID: uuid.Must(uuid.NewV7()), Topic: topic, ContentType: "application/json", Data: data, Time: time.Now()}
}

// batch returns a batch for the end of a stream.
func batch(id evsourcing.StreamID, events ...evsourcing.StoredEvent) evsourcing.Batch {
	return evsourcing.Batch{Stream: id, Expected: evsourcing.AnyVersion, Events: events}
}

func put(t *testing.T, s evsourcing.EventStore, batches ...evsourcing.Batch) evsourcing.AppendResult {
	t.Helper()
	r, err := s.Append(t.Context(), batches...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// collect returns what an iterator yields, which must be no error.
func collect(t *testing.T, seq iter.Seq2[evsourcing.StoredEvent, error]) (list []evsourcing.StoredEvent) {
	t.Helper()
	for e, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

const mib = 1 << 20

// heapOf returns by how many MiB the heap, stacks included, grows at most while f runs.
func heapOf(f func()) float64 {
	defer debug.SetGCPercent(debug.SetGCPercent(30)) // garbage is not what is asked for
	var stats runtime.MemStats
	heap := func() uint64 { runtime.ReadMemStats(&stats); return stats.HeapAlloc + stats.StackInuse }
	runtime.GC()
	runtime.GC()
	before := heap()
	done, ended := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, heap())
			case <-done:
				ended <- max(most, heap())
				return
			}
		}
	}()
	f()
	close(done)
	return (float64(<-ended) - float64(before)) / mib
}

// held returns by how many MiB the heap has grown when f is done and garbage is gone.
func held(f func()) float64 {
	var stats runtime.MemStats
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	f()
	return (float64(heap()) - float64(before)) / mib
}

// path returns where the store's file is.
func path(t *testing.T, s *sqlite.Store) (path string) {
	t.Helper()
	err := s.Read(t.Context(), func(c *zsqlite.Conn) error {
		return sqlitex.Execute(c, "SELECT file FROM pragma_database_list", &sqlitex.ExecOptions{ResultFunc: func(stmt *zsqlite.Stmt) error {
			path = stmt.ColumnText(0)
			return nil
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}
