package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/internal/mixed"
	"github.com/evsourcing/evsourcing/postgres"
)

// postgresDSN returns where the server is, which is missing otherwise.
func postgresDSN(t *testing.T) string {
	dsn := cmp.Or(os.Getenv("EVSOURCING_POSTGRES"), "postgres://postgres@127.0.0.1:5432/test")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		faulttest.Missing(t, "no PostgreSQL at EVSOURCING_POSTGRES, or where it is by default: %v", err)
	}
	_ = conn.Close(t.Context())
	return dsn
}

var schemas atomic.Int64

func openPostgres(t *testing.T, dsn string) *engine {
	ctx := t.Context()
	name := fmt.Sprintf("soak_%d_%d", os.Getpid(), schemas.Add(1))
	admin, err := pgxpool.New(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	proxy, through := faulttest.NewProxy(t, named(t, dsn, name))
	store, err := postgres.Open(ctx, through, &postgres.Options{Schema: name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
		if _, err := admin.Exec(ctx, "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	table := name + ".accounts"
	if _, err := admin.Exec(ctx, fmt.Sprintf(mixed.CreateTable, table)); err != nil {
		t.Fatal(err)
	}
	add := fmt.Sprintf(mixed.AddPostgres, table)
	var f flaky
	e := &engine{name: "postgres", store: store, rate: rate(200), payload: 100, check: func(context.Context) error { return nil }}
	e.handler = store.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		deltas, err := mixed.Deltas(msgs)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, add, deltas); err != nil {
			return err
		}
		return f.fail()
	})
	e.gauges = []*series{{name: "connections", gauge: func() (n float64, err error) {
		err = admin.QueryRow(ctx, "SELECT count(*)::float8 FROM pg_stat_activity WHERE starts_with(application_name, $1)", name).Scan(&n)
		return n, err
	}}}
	e.disturb = func(ctx context.Context, pause time.Duration) (string, error) {
		cuts, terminations, err := cutConnections(ctx, pause, proxy, admin, name)
		return fmt.Sprintf("%s cuts of all connections, %s backends terminated and %s failures of the handler",
			humanize.Comma(cuts), humanize.Comma(terminations), humanize.Comma(f.n.Load())), err
	}
	e.rows = func(ctx context.Context) (map[string]mixed.Row, error) {
		list, err := admin.Query(ctx, fmt.Sprintf(mixed.ReadTable, table))
		if err != nil {
			return nil, err
		}
		rows := map[string]mixed.Row{}
		var id string
		var row mixed.Row
		_, err = pgx.ForEachRow(list, []any{&id, &row.Events, &row.Total}, func() error {
			rows[id] = row
			return nil
		})
		return rows, err
	}
	e.leak = leakConnections(t, named(t, dsn, name+"_leaked"))
	return e
}

// named returns the connection string of connections that can be told from others.
func named(t *testing.T, dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// cutConnections cuts all connections now and then, and lets the server terminate the
// backend of one.
func cutConnections(ctx context.Context, pause time.Duration, proxy *faulttest.Proxy, admin *pgxpool.Pool, name string) (cuts, terminations int64, err error) {
	for {
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return cuts, terminations, nil
		}
		if rand.IntN(2) == 0 {
			proxy.CutAll()
			cuts++
			continue
		}
		tag, err := admin.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 ORDER BY random() LIMIT 1", name)
		if err != nil && ctx.Err() == nil {
			return cuts, terminations, err
		}
		terminations += tag.RowsAffected()
	}
}

// mostLeaked bounds how many connections are leaked: others use the server too.
const mostLeaked = 30

// leakConnections returns what opens a connection and keeps it.
func leakConnections(t *testing.T, dsn string) func() error {
	var mu sync.Mutex // guards list
	var list []*pgx.Conn
	t.Cleanup(func() {
		for _, c := range list {
			_ = c.Close(context.Background())
		}
	})
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(list) == mostLeaked {
			return nil
		}
		c, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			return errors.Join(errors.New("leaking a connection"), err)
		}
		list = append(list, c)
		return nil
	}
}
