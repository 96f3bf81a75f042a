package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

var schemas atomic.Int64

// openPostgres returns a store in a schema of its own, which has the connections
// that it takes by default. The floor has one for each writer, 90 at most, because
// a server lets in 100 by default; with -short 32, to leave some to others. It inserts a prepared row into the store's own
// table, which gives no order, and reads that table.
func openPostgres(b *testing.B, writers int) (bed, func()) {
	b.Helper()
	config, err := pgxpool.ParseConfig(cmp.Or(os.Getenv("EVSOURCING_POSTGRES"), "postgres://postgres@127.0.0.1:5432/test"))
	if err != nil {
		b.Fatal(err)
	}
	ours, err := pgxpool.NewWithConfig(b.Context(), config.Copy())
	if err == nil {
		err = ours.Ping(b.Context())
	}
	if err != nil {
		faulttest.Missing(b, "no PostgreSQL server; EVSOURCING_POSTGRES may name one: %v", err)
	}
	config.MaxConns = int32(min(max(writers, 2), faulttest.Scale(32, 90, 90))) // a projection reads and writes
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	connect(b, pool)
	schema := fmt.Sprintf("bench_%d_%d", os.Getpid(), schemas.Add(1))
	s, err := postgres.New(b.Context(), ours, &postgres.Options{Schema: schema})
	if err != nil {
		b.Fatal(err)
	}
	return bed{s, &barePostgres{pool: pool, schema: schema}}, func() {
		ctx := context.Background()
		warn(s.Close(ctx))
		_, err := pool.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		warn(err)
		pool.Close()
		ours.Close()
	}
}

// connect makes all connections of the pool, so that nobody waits for one later.
func connect(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Release()
	}
}

type barePostgres struct {
	pool   *pgxpool.Pool
	schema string
}

func (d *barePostgres) insert(ctx context.Context, id evsourcing.StreamID, e *evsourcing.StoredEvent) error {
	_, err := d.pool.Exec(ctx, "INSERT INTO "+d.schema+".events (position, version, time, id, type, stream, topic, content_type, data)"+
		" VALUES (nextval('"+d.schema+".positions'), $1, $2, $3, $4, $5, $6, $7, $8)",
		e.Version, e.Time.UnixMicro(), e.ID, id.Type, id.ID, e.Topic, e.ContentType, e.Data)
	return err
}

func (d *barePostgres) load(ctx context.Context, id evsourcing.StreamID, f func(data []byte)) error {
	return d.query(ctx, f, "SELECT position, version, time, id, topic, content_type, data, tags, metadata FROM "+d.schema+
		".events WHERE stream = $1 AND type = $2 ORDER BY version", id.ID, id.Type)
}

func (d *barePostgres) scan(ctx context.Context, f func(data []byte)) error {
	return d.query(ctx, f, "SELECT position, version, time, id, topic, content_type, data, tags, metadata, type, stream FROM "+d.schema+
		".events ORDER BY position")
}

// query gives the data of each row to f, raw, without decoding the rest.
func (d *barePostgres) query(ctx context.Context, f func(data []byte), sql string, args ...any) error {
	rows, err := d.pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		f(rows.RawValues()[6])
	}
	return rows.Err()
}
