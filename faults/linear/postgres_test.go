package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"sync/atomic"
	"testing"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// cluster is the server that all tests share, made by the first of them.
var cluster *faulttest.Cluster

// A postgresWorld is a server that is killed, and a proxy to it that cuts connections.
type postgresWorld struct {
	t       *testing.T
	proxied string // how to connect by the proxy
	proxy   *faulttest.Proxy
	schemas int
	cuts    atomic.Int64
	kills   int
	site    atomic.Pointer[postgresSite] // the present one
}

// A shaky endpoint is one to a store that may have been left without an answer by the
// server. If it finds events stored after that, it says that it has stored them, and not
// that they are Repeated, as the doc comment of Append has it.
type shaky struct {
	endpoint
	broken *atomic.Bool // a connection was
}

func (s shaky) do(ctx context.Context, q Request) Response {
	p := s.endpoint.do(ctx, q)
	p.Unsure = q.Kind == Append && s.broken.Load()
	return p
}

func newPostgresWorld(t *testing.T) *postgresWorld {
	if cluster == nil {
		dir, err := os.MkdirTemp("", "evsourcing-linear-")
		if err != nil {
			t.Fatal(err)
		}
		cluster = faulttest.NewCluster(t, dir, "fsync = off") // the server is killed, not the machine
	}
	w := &postgresWorld{t: t}
	w.proxy, w.proxied = faulttest.NewProxy(t, cluster.DSN("postgres"))
	w.proxy.Cut = func() bool { return w.cut(20) }
	w.proxy.Request = func() bool { return w.cut(40) }
	return w
}

// cut decides to cut a connection, once in n times.
func (w *postgresWorld) cut(n int) bool {
	if rand.IntN(n) > 0 {
		return false
	}
	w.cuts.Add(1)
	if s := w.site.Load(); s != nil {
		s.broken[1].Store(true)
	}
	return true
}

// A postgresSite is a schema that two stores use, as two processes would: one connects
// directly, the other one by the proxy.
type postgresSite struct {
	*postgresWorld
	schema  string
	stores  [2]*postgres.Store
	spoiled [2]store
	broken  [2]atomic.Bool // a connection of the store was broken
}

// prepare makes sites. On the first, and on each tenth after that, the server is killed.
func (w *postgresWorld) prepare(spoil func(store) store) func(context.Context) (site, error) {
	return func(ctx context.Context) (site, error) {
		w.schemas++
		s := &postgresSite{postgresWorld: w, schema: fmt.Sprintf("linear_%d", w.schemas)}
		for i, dsn := range []string{cluster.DSN("postgres"), w.proxied} {
			u, err := url.Parse(dsn)
			if err != nil {
				return nil, err
			}
			q := u.Query()
			q.Set("pool_max_conns", "8")
			u.RawQuery = q.Encode()
			s.stores[i], err = postgres.Open(ctx, u.String(), &postgres.Options{Schema: s.schema, NoListen: true, Logger: quiet})
			if err != nil {
				return nil, err
			}
			s.spoiled[i] = spoil(s.stores[i])
		}
		w.site.Store(s)
		return s, nil
	}
}

func (s *postgresSite) endpoints() []endpoint {
	return []endpoint{shaky{local{s.spoiled[0]}, &s.broken[0]}, shaky{local{s.spoiled[1]}, &s.broken[1]}}
}

// disturb kills the server, or cuts all connections of the proxy at once.
func (s *postgresSite) disturb(ctx context.Context, h *history) {
	if !h.await(ctx, 50+rand.IntN(200)) {
		return
	}
	if s.schemas%10 != 1 {
		s.broken[1].Store(true)
		s.cuts.Add(1)
		s.proxy.CutAll()
		return
	}
	s.broken[0].Store(true)
	s.broken[1].Store(true)
	cluster.Stop(s.t, "immediate")
	cluster.Start(s.t)
	s.kills++
}

func (s *postgresSite) calm(context.Context) (endpoint, error) { return local{s.spoiled[0]}, nil }

func (s *postgresSite) close() error {
	ctx := context.Background()
	errs := []error{s.stores[0].Close(ctx), s.stores[1].Close(ctx)}
	conn, err := pgx.Connect(ctx, cluster.DSN("postgres")) // one that is not of before the server was killed
	if err == nil {
		_, err = conn.Exec(ctx, "DROP SCHEMA "+s.schema+" CASCADE")
		err = errors.Join(err, conn.Close(ctx))
	}
	return errors.Join(append(errs, err)...)
}

// A store in PostgreSQL is linearizable for all processes that use it, although requests
// and answers get lost with their connections, the server is killed, and contexts end
// during a commit.
func TestPostgres(t *testing.T) {
	w := newPostgresWorld(t)
	prove(t, faulttest.Scale(2, 5, 1000), w.prepare(sound), func() string {
		return fmt.Sprintf("connections cut %s times, the server killed %s times", humanize.Comma(int64(int(w.cuts.Load()))), humanize.Comma(int64(w.kills)))
	})
}

// The same with stores that have one bug each.
func TestPostgresControl(t *testing.T) {
	w := newPostgresWorld(t)
	disprove(t, faulttest.Scale(1, 1, 5), w.prepare)
}
