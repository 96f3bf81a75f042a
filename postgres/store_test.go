package postgres_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
	"github.com/evsourcing/evsourcing/storetest"
)

func TestStoreKeepsThePromises(t *testing.T) {
	dsn := serverDSN(t)
	t.Parallel()
	storetest.Run(t, opener(dsn, &postgres.Options{}))
}

// bouncerDSN returns where a PgBouncer in front of the server is.
func bouncerDSN(t *testing.T) string {
	t.Helper()
	dsn := os.Getenv("EVSOURCING_PGBOUNCER")
	if dsn == "" {
		faulttest.Missing(t, "EVSOURCING_PGBOUNCER does not name a PgBouncer in transaction mode; tools/pgbouncer starts one and prints it")
	}
	return dsn
}

func TestStoreKeepsThePromisesThroughPgBouncer(t *testing.T) {
	dsn := bouncerDSN(t)
	t.Parallel()
	storetest.Run(t, opener(dsn, &postgres.Options{ListenDSN: serverDSN(t)}))
}

func TestPreparedStatementsThroughPgBouncerFailWithARemedy(t *testing.T) {
	dsn, _, _ := strings.Cut(bouncerDSN(t), "?")
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s, err := postgres.New(t.Context(), pool, quiet(postgres.Options{Schema: newSchema(t, serverDSN(t)), NoListen: true}))
	for i := uint64(0); err == nil && i < 200; i++ {
		_, err = s.Append(t.Context(), batch(stream("a"), i, 1))
		if err == nil && i%2 == 0 {
			_, err = s.Append(t.Context(), batch(stream("b"), evsourcing.AnyVersion, 1))
		}
		if i == 0 {
			closeAfter(t, s)
		}
		for range 2 { // so that clients get servers in turn
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
		}
		if i > 1 {
			break
		}
	}
	if err != nil && !strings.Contains(err.Error(), "default_query_exec_mode=cache_describe") {
		t.Errorf("the error names no remedy: %v", err)
	}
}

// TestStoreWorksInEveryModeOfTheDriver makes each call once in the modes that pgx can run
// queries in, which differ in the format of what they send and receive.
func TestStoreWorksInEveryModeOfTheDriver(t *testing.T) {
	server := serverDSN(t)
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			separator := "?"
			if strings.Contains(server, "?") {
				separator = "&"
			}
			dsn := server + separator + "default_query_exec_mode=" + mode
			schema := newSchema(t, server)
			s := open(t, dsn, &postgres.Options{Schema: schema})
			useEverything(t, s, server, schema)
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []*postgres.Options{
		{Schema: "a-b"}, {Schema: `a"b`}, {Schema: "1a"}, {Schema: strings.Repeat("a", 51)},
		{GroupEvents: -1}, {GroupBytes: -1}, {Committers: -1}, {PollInterval: -1}, {HandlerTime: -1},
	} {
		if s, err := postgres.Open(t.Context(), "postgres://postgres@127.0.0.1:1/none", o); err == nil {
			closeAfter(t, s)
			t.Errorf("%+v was accepted", o)
		} else if strings.Contains(err.Error(), "connect") {
			t.Errorf("%+v was looked at too late: %v", o, err)
		}
	}
	if _, err := postgres.Open(t.Context(), "postgres://%zz", nil); err == nil {
		t.Error("a bad connection string was accepted")
	}
}

func TestStoresInOneDatabaseAreKeptApart(t *testing.T) {
	dsn := serverDSN(t)
	a := open(t, dsn, &postgres.Options{Schema: newSchema(t, dsn)})
	b := open(t, dsn, &postgres.Options{Schema: newSchema(t, dsn)})
	one := batch(stream("a"), 0, 2)
	put(t, a, one)
	put(t, b, one)
	put(t, b, batch(stream("a"), 2, 1))
	if got := versions(t, t.Context(), a, stream("a"), evsourcing.Range{}); got != "1 2" {
		t.Errorf("the first store has versions %s", got)
	}
	if got := versions(t, t.Context(), b, stream("a"), evsourcing.Range{}); got != "1 2 3" {
		t.Errorf("the second store has versions %s", got)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s := newStore(t)
	put(t, s, batch(stream("a"), 0, 1))
	waiting := make(chan error, 1)
	go func() { waiting <- s.Wait(t.Context(), 100) }()
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-waiting; !errors.Is(err, evsourcing.ErrClosed) {
		t.Errorf("Wait returned %v", err)
	}
	if _, err := s.Append(t.Context(), batch(stream("a"), 1, 1)); !errors.Is(err, evsourcing.ErrClosed) {
		t.Errorf("Append returned %v", err)
	}
	if err := s.InTx(t.Context(), nil); !errors.Is(err, evsourcing.ErrClosed) {
		t.Errorf("InTx returned %v", err)
	}
	for _, err := range s.Load(t.Context(), stream("a"), evsourcing.Range{}) {
		if err == nil {
			t.Error("Load works after Close")
		}
	}
}
