package latency

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/internal/mixed"
	"github.com/evsourcing/evsourcing/postgres"
)

var schemas atomic.Int64

func openPostgres(b *testing.B) engine {
	dsn := cmp.Or(os.Getenv("EVSOURCING_POSTGRES"), "postgres://postgres@127.0.0.1:5432/test")
	pool, err := pgxpool.New(b.Context(), dsn)
	if err == nil {
		b.Cleanup(pool.Close)
		err = pool.Ping(b.Context())
	}
	if err != nil {
		faulttest.Missing(b, "no PostgreSQL at EVSOURCING_POSTGRES, or where it is by default: %v", err)
	}
	schema := fmt.Sprintf("latency_%d_%d", os.Getpid(), schemas.Add(1))
	store, err := postgres.New(b.Context(), pool, &postgres.Options{Schema: schema})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			b.Error(err)
		}
	})
	closing(b, store)
	table := schema + ".accounts"
	if _, err := pool.Exec(b.Context(), fmt.Sprintf(mixed.CreateTable, table)); err != nil {
		b.Fatal(err)
	}
	add := fmt.Sprintf(mixed.AddPostgres, table)
	return engine{
		store: store,
		floor: openRow(b, pool.Config().ConnConfig, schema),
		handler: store.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
			deltas, err := mixed.Deltas(msgs)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, add, deltas)
			return err
		}),
	}
}

// openRow returns what inserts a row into a table that is like the store's, on a
// connection of its own.
func openRow(b *testing.B, config *pgx.ConnConfig, schema string) func(b *testing.B) {
	conn, err := pgx.ConnectConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	if _, err := conn.Exec(b.Context(), "CREATE TABLE "+schema+".floor (LIKE "+schema+".events INCLUDING ALL)"); err != nil {
		b.Fatal(err)
	}
	insert := "INSERT INTO " + schema + ".floor (position, version, time, id, type, stream, topic, content_type, data)" +
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
	data := make([]byte, 150)
	n := int64(0)
	return func(b *testing.B) {
		n++
		_, err := conn.Exec(b.Context(), insert, n, n, time.Now().UnixMicro(), uuid.Must(uuid.NewV7()),
			mixed.AccountType, "floor", "account.posted", "application/json", data)
		if err != nil {
			b.Fatal(err)
		}
	}
}
