package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
	"github.com/evsourcing/evsourcing/sqlite"
)

// projectionBatch is how many events are projected in a transaction.
const projectionBatch = 1000

// BenchmarkProjection catches up with a log by a subscription that counts the
// events of each stream: in the engine's transaction that saves the checkpoint too
// (exactly once), in memory in a map. The floor does so with the driver, in
// transactions as large, and decodes each payload. An operation is a whole log.
func BenchmarkProjection(b *testing.B) {
	eachEngine(b, true, func(b *testing.B, e engine) {
		events := catchUpEvents(e)
		s := longLog(b, e)
		var p projection
		switch store := s.store.(type) {
		case *sqlite.Store:
			p = newSQLiteProjection(b, store, s.bare.(*bareSQLite))
		case *postgres.Store:
			p = newPostgresProjection(b, store, s.bare.(*barePostgres))
		default:
			p = mapProjection{}
		}
		compare(b, func(b *testing.B) {
			for b.Loop() {
				var counts streamCounts
				n := 0
				project := func() {
					if err := p.bare(b.Context(), counts); err != nil {
						b.Fatal(err)
					}
				}
				// Without the driver's rows of the stream's name: every thousandth is
				// of the next stream, which is about as many as there are in a batch.
				err := s.bare.scan(b.Context(), func(data []byte) {
					if err := json.Unmarshal(data, &landed{}); err != nil {
						b.Fatal(err)
					}
					counts.add(streamName(n / 10 * 7 % 1000))
					if n++; n%projectionBatch == 0 {
						project()
						counts = streamCounts{}
					}
				})
				if len(counts.n) > 0 {
					project()
				}
				check(b, err, n, events)
			}
			many(b, events)
		}, func(b *testing.B) {
			for b.Loop() {
				follow(b, s.store, p.handler(), evsourcing.SubscriptionOptions{BatchSize: projectionBatch})
			}
			many(b, events)
		})
	})
}

// streamCounts are events by stream.
type streamCounts struct{ n map[string]int64 }

func (c *streamCounts) add(id string) {
	if c.n == nil {
		c.n = map[string]int64{}
	}
	c.n[id]++
}

func countsOf(msgs []evsourcing.Message) (c streamCounts) {
	for i := range msgs {
		c.add(msgs[i].Stream.ID)
	}
	return c
}

// A projection adds up the events of streams.
type projection interface {
	handler() evsourcing.Handler
	// bare does with the driver what the handler does, transaction and checkpoint
	// included.
	bare(ctx context.Context, counts streamCounts) error
}

type mapProjection map[string]int64

func (p mapProjection) handler() evsourcing.Handler {
	return evsourcing.HandlerFunc(func(ctx context.Context, msgs []evsourcing.Message) error { return p.bare(ctx, countsOf(msgs)) })
}

func (p mapProjection) bare(_ context.Context, counts streamCounts) error {
	for id, n := range counts.n {
		p[id] += n
	}
	return nil
}

type sqliteProjection struct {
	store *sqlite.Store
	conn  *zsqlite.Conn
	place int64
}

const (
	sqliteTables = "CREATE TABLE IF NOT EXISTS flights (id TEXT PRIMARY KEY, events INTEGER NOT NULL) STRICT"
	sqliteUpsert = "INSERT INTO flights VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET events = events + excluded.events"
	sqlitePlace  = "INSERT INTO places VALUES ('flights', ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
)

func newSQLiteProjection(b *testing.B, s *sqlite.Store, bare *bareSQLite) *sqliteProjection {
	b.Helper()
	p := &sqliteProjection{store: s, conn: bare.writing}
	for _, query := range []string{sqliteTables, "CREATE TABLE IF NOT EXISTS places (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT"} {
		if err := sqlitex.ExecuteTransient(p.conn, query, nil); err != nil {
			b.Fatal(err)
		}
	}
	err := s.Handler(func(_ context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error {
		return sqlitex.ExecuteTransient(tx, sqliteTables, nil)
	}).Handle(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *sqliteProjection) handler() evsourcing.Handler {
	return p.store.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		return p.write(tx, countsOf(msgs))
	})
}

func (p *sqliteProjection) write(tx *zsqlite.Conn, counts streamCounts) error {
	for id, n := range counts.n {
		if err := sqlitex.Execute(tx, sqliteUpsert, &sqlitex.ExecOptions{Args: []any{id, n}}); err != nil {
			return err
		}
	}
	return nil
}

func (p *sqliteProjection) bare(_ context.Context, counts streamCounts) (err error) {
	end, err := sqlitex.ImmediateTransaction(p.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	if err := p.write(p.conn, counts); err != nil {
		return err
	}
	p.place++
	return sqlitex.Execute(p.conn, sqlitePlace, &sqlitex.ExecOptions{Args: []any{p.place}})
}

type postgresProjection struct {
	store *postgres.Store
	db    *barePostgres
	place int64
}

func newPostgresProjection(b *testing.B, s *postgres.Store, bare *barePostgres) *postgresProjection {
	b.Helper()
	for _, query := range []string{
		"CREATE TABLE IF NOT EXISTS %s.flights (id text PRIMARY KEY, events bigint NOT NULL)",
		"CREATE TABLE IF NOT EXISTS %s.bare_flights (id text PRIMARY KEY, events bigint NOT NULL)",
		"CREATE TABLE IF NOT EXISTS %s.places (name text PRIMARY KEY, position bigint NOT NULL)",
	} {
		if _, err := bare.pool.Exec(b.Context(), fmt.Sprintf(query, bare.schema)); err != nil {
			b.Fatal(err)
		}
	}
	return &postgresProjection{store: s, db: bare}
}

func (p *postgresProjection) handler() evsourcing.Handler {
	return p.store.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		return p.write(ctx, tx, "flights", countsOf(msgs))
	})
}

func (p *postgresProjection) write(ctx context.Context, tx pgx.Tx, table string, counts streamCounts) error {
	ids := slices.Collect(maps.Keys(counts.n))
	events := make([]int64, len(ids))
	for i, id := range ids {
		events[i] = counts.n[id]
	}
	_, err := tx.Exec(ctx, "INSERT INTO "+p.db.schema+"."+table+" AS f SELECT * FROM unnest($1::text[], $2::bigint[])"+
		" ON CONFLICT (id) DO UPDATE SET events = f.events + excluded.events", ids, events)
	return err
}

func (p *postgresProjection) bare(ctx context.Context, counts streamCounts) error {
	return pgx.BeginFunc(ctx, p.db.pool, func(tx pgx.Tx) error {
		if err := p.write(ctx, tx, "bare_flights", counts); err != nil {
			return err
		}
		p.place++
		_, err := tx.Exec(ctx, "INSERT INTO "+p.db.schema+".places VALUES ('flights', $1)"+
			" ON CONFLICT (name) DO UPDATE SET position = excluded.position", p.place)
		return err
	})
}
