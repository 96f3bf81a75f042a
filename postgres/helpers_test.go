package postgres_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// serverDSN returns where the server is, which the test can't do without.
func serverDSN(t testing.TB) string {
	t.Helper()
	dsn := cmp.Or(os.Getenv("EVSOURCING_POSTGRES"), "postgres://postgres@127.0.0.1:5432/test")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		faulttest.Missing(t, "there is no PostgreSQL server; EVSOURCING_POSTGRES may name one: %v", err)
	}
	_ = conn.Close(ctx)
	return dsn
}

var schemas atomic.Int64

// newSchema returns the name of a schema of the test's own, which is dropped after
// it.
func newSchema(t testing.TB, dsn string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), schemas.Add(1))
	t.Cleanup(func() { run(t, dsn, "DROP SCHEMA IF EXISTS "+name+" CASCADE") })
	return name
}

// run runs statements on a connection of their own. It may be called in a cleanup.
func run(t testing.TB, dsn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Errorf("%.60s: %v", sql, err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		t.Errorf("%.60s: %v", sql, err)
	}
}

// query returns the value that a statement yields.
func query[T any](t testing.TB, dsn, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%.60s: %v", sql, err)
	}
	return v
}

// open opens a store for the test, and closes it after.
func open(t testing.TB, dsn string, opts *postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s)
	return s
}

func closeAfter(t testing.TB, s *postgres.Store) {
	t.Cleanup(func() {
		// A connection whose statement was cancelled is closed by the driver, which now and
		// then waits 15 s for the server.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// quiet returns options without a log, for tests that break connections.
func quiet(o postgres.Options) *postgres.Options {
	o.Logger = slog.New(slog.DiscardHandler)
	return &o
}

// newStore opens an empty store.
func newStore(t testing.TB) *postgres.Store {
	t.Helper()
	dsn := serverDSN(t)
	return open(t, dsn, &postgres.Options{Schema: newSchema(t, dsn)})
}

func stream(name string) evsourcing.StreamID { return evsourcing.StreamID{Type: "test", ID: name} }

// batch returns a batch of n new events.
func batch(id evsourcing.StreamID, expected uint64, n int) evsourcing.Batch {
	b := evsourcing.Batch{Stream: id, Expected: expected}
	for i := range n {
		e := evsourcing.StoredEvent{ID: uuid.Must(uuid.NewV7()), Topic: "test.happened", ContentType: "application/json", Data: []byte(`{"n": 1}`), Time: time.Now()}
		if expected != evsourcing.AnyVersion {
			e.Version = expected + uint64(i) + 1
		}
		b.Events = append(b.Events, e)
	}
	return b
}

// put appends what must be stored.
func put(t testing.TB, s evsourcing.EventStore, batches ...evsourcing.Batch) evsourcing.AppendResult {
	t.Helper()
	r, err := s.Append(t.Context(), batches...)
	if err != nil {
		t.Fatalf("Append to %v: %v", batches[0].Stream, err)
	}
	return r
}

// versions returns the versions of a stream's events.
func versions(t testing.TB, ctx context.Context, s evsourcing.EventStore, id evsourcing.StreamID, r evsourcing.Range) string { //revive:disable-line:context-as-argument the test goes first
	t.Helper()
	var list []string
	for e, err := range s.Load(ctx, id, r) {
		if err != nil {
			t.Fatalf("Load of %v: %v", id, err)
		}
		list = append(list, fmt.Sprint(e.Version))
	}
	return strings.Join(list, " ")
}

// opener returns a function for storetest.Run that opens stores through the given
// connection.
func opener(dsn string, opts *postgres.Options) func(t *testing.T) evsourcing.EventStore {
	return func(t *testing.T) evsourcing.EventStore {
		o := *opts
		o.Schema = newSchema(t, serverDSN(t))
		return open(t, dsn, &o)
	}
}

// headOf returns the version of a stream.
func headOf(ctx context.Context, s evsourcing.EventStore, id evsourcing.StreamID) (uint64, error) {
	for e, err := range s.Load(ctx, id, evsourcing.Range{Backward: true, Limit: 1}) {
		return e.Version, err
	}
	return 0, nil
}
