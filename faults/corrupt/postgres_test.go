package corrupt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

const postgresPage = 8192

// A relation is a file of a store: of its events, an index of them, or of values that
// are too large for a row.
type relation struct {
	name, path string
	file       []byte
}

// A tenant is one of the stores of a cluster. There are many, each with one damage,
// for starting the server takes longer than reading a store.
type tenant struct {
	truth
	schema    string
	relations []relation
	size      int // of all files
}

// A farm is a cluster of stores, whose server is stopped.
type farm struct {
	cluster *faulttest.Cluster
	tenants []*tenant
}

func newFarm(t *testing.T, tenants int, settings ...string) *farm {
	t.Helper()
	dir, err := os.MkdirTemp("", "evsourcing-corrupt-")
	if err != nil {
		t.Fatal(err)
	}
	f := &farm{cluster: faulttest.NewCluster(t, dir, append(settings, "autovacuum = off", "fsync = off")...)}
	t.Cleanup(f.cluster.Remove)
	pool := f.connect(t)
	for i := range tenants {
		w := &tenant{schema: fmt.Sprint("store_", i)}
		f.tenants = append(f.tenants, w)
		s, err := w.open(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.fill(t.Context(), s, 40); err != nil {
			t.Fatal(err)
		}
		if o := w.examine(t.Context(), s); len(o.reported) > 0 || o.wrong != "" || o.appends != len(w.ends) {
			t.Fatalf("without damage: %+v", o)
		}
		w.ends = append(w.ends, len(w.events)+1) // examine has appended one more
		w.events, err = collect(s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}))
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close(t.Context())
	}
	if _, err := pool.Exec(t.Context(), "CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	for _, w := range f.tenants {
		w.find(t, f.cluster, pool)
	}
	pool.Close()
	f.cluster.Stop(t, "fast")
	for _, w := range f.tenants {
		for i := range w.relations {
			r := &w.relations[i]
			if r.file, err = os.ReadFile(r.path); err != nil {
				t.Fatal(err)
			}
			w.size += len(r.file)
		}
	}
	return f
}

func (f *farm) connect(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), f.cluster.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (w *tenant) open(ctx context.Context, pool *pgxpool.Pool) (*postgres.Store, error) {
	return postgres.New(ctx, pool, &postgres.Options{Schema: w.schema, NoListen: true, Logger: quiet})
}

// find finds the files of the events.
func (w *tenant) find(t *testing.T, c *faulttest.Cluster, pool *pgxpool.Pool) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
WITH t AS (SELECT oid, reltoastrelid FROM pg_class WHERE oid = ($1 || '.events')::regclass)
SELECT c.relname, pg_relation_filepath(c.oid) FROM pg_class c, t
WHERE c.oid IN (t.oid, t.reltoastrelid) OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN (t.oid, t.reltoastrelid))
ORDER BY c.relname`, w.schema)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r relation
		if err := rows.Scan(&r.name, &r.path); err != nil {
			t.Fatal(err)
		}
		r.path = filepath.Join(c.Data(), r.path)
		w.relations = append(w.relations, r)
	}
	if err := rows.Err(); err != nil || len(w.relations) != 6 {
		t.Fatalf("%d relations, %v", len(w.relations), err)
	}
}

// A wound is a damage of one of a store's files.
type wound struct {
	damage
	of *relation
}

func (w wound) String() string { return fmt.Sprintf("%s: %v", w.of.name, w.damage) }

// hurt damages one of the files, a large one more often.
func (w *tenant) hurt(r *rand.Rand) (wound, error) {
	at := r.IntN(w.size)
	for i := range w.relations {
		file := &w.relations[i]
		if at -= len(file.file); at < 0 {
			d := wound{draw(r, len(file.file), postgresPage), file}
			return d, os.WriteFile(file.path, d.damage.of(file.file), 0)
		}
	}
	panic("unreachable")
}

// hunt damages every store, starts the server, reads them, and makes them good again,
// until there were so many cases.
func (f *farm) hunt(t *testing.T, cases int) (n tally) {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	told := time.Now()
	for n.cases < cases {
		wounds := make([]wound, len(f.tenants))
		for i, w := range f.tenants {
			var err error
			if wounds[i], err = w.hurt(r); err != nil {
				t.Fatal(err)
			}
		}
		f.cluster.Start(t)
		pool := f.connect(t)
		for i, w := range f.tenants {
			o, err := w.try(t.Context(), pool)
			if err != nil {
				t.Fatalf("%v: %v", wounds[i], err)
			}
			n.add(wounds[i], o, len(w.ends))
		}
		pool.Close()
		f.cluster.Stop(t, "fast")
		for _, w := range f.tenants {
			for _, r := range w.relations {
				if err := os.WriteFile(r.path, r.file, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		if time.Since(told) > 20*time.Second {
			told = time.Now()
			t.Logf("%d of %d: %d harmless, %d reported, %d shortened, %d silent", n.cases, cases, n.harmless, n.reported, n.shortened, len(n.silent))
		}
	}
	return n
}

// try examines one store; a server that the one before has crashed may be back first.
func (w *tenant) try(ctx context.Context, pool *pgxpool.Pool) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for pool.Ping(ctx) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return o, ctx.Err()
		}
	}
	s, err := w.open(ctx, pool)
	if err != nil {
		o.report(err)
		return o, nil
	}
	o = w.examine(ctx, s)
	_ = s.Close(ctx)
	return o, ctx.Err()
}

// Whatever bit of the files of the events table, its indexes and its large values is
// flipped, and wherever one is cut off: on a cluster with data checksums (initdb
// --data-checksums, which PostgreSQL 18 has by default, or pg_checksums --enable), all
// events are read as they were stored, or an error says that a page is damaged.
func TestPostgresFiles(t *testing.T) {
	f := newFarm(t, faulttest.Scale(4, 6, 50), "--data-checksums")
	n := f.hunt(t, faulttest.Scale(16, 48, 10_000))
	t.Attr("figure", fmt.Sprintf("with data checksums, %s bit flips and cuts of the files of the events table and its indexes: %s harmless, %s reported (%s by Append alone), %d silent",
		humanize.Comma(int64(n.cases)), humanize.Comma(int64(n.harmless)), humanize.Comma(int64(n.reported)), humanize.Comma(int64(n.late)), len(n.silent)+n.shortened))
	if err := n.err(0); err != nil {
		t.Error(err)
	}
}

// Without them, PostgreSQL passes on what it finds in a page.
func TestPostgresFilesControl(t *testing.T) {
	f := newFarm(t, faulttest.Scale(4, 6, 50))
	n := f.hunt(t, faulttest.Scale(16, 36, 1_000))
	t.Attr("figure", fmt.Sprintf("without data checksums, %s bit flips and cuts of the files of the events table and its indexes: %s harmless, %s reported, %s silent",
		humanize.Comma(int64(n.cases)), humanize.Comma(int64(n.harmless)), humanize.Comma(int64(n.reported)), humanize.Comma(int64(len(n.silent)+n.shortened))))
	if err := n.err(0); err == nil {
		t.Error("no damage was silent, although nothing looks for it")
	} else {
		t.Log(err)
	}
}
