package faults

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// preparePostgres makes sites that are schemas of the database that
// EVSOURCING_POSTGRES names.
func preparePostgres(t *testing.T) func(context.Context) (site, error) {
	dsn := os.Getenv("EVSOURCING_POSTGRES")
	if dsn == "" {
		dsn = "postgres://postgres@127.0.0.1:5432/test"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	pool, err := pgxpool.New(ctx, dsn)
	if err == nil {
		t.Cleanup(pool.Close)
		err = pool.Ping(ctx)
	}
	if err != nil {
		faulttest.Missing(t, "no PostgreSQL at EVSOURCING_POSTGRES, or where it is by default: %v", err)
	}
	var made atomic.Int64
	return func(context.Context) (site, error) {
		schema := fmt.Sprintf("model_%d_%d", os.Getpid(), made.Add(1))
		return &postgresSite{pool, schema}, nil
	}
}

// A postgresSite is a schema. Its stores share a pool and nothing else.
type postgresSite struct {
	pool   *pgxpool.Pool
	schema string
}

func (s *postgresSite) open(ctx context.Context) (store, error) {
	return postgres.New(ctx, s.pool, &postgres.Options{Schema: s.schema, PollInterval: 20 * time.Millisecond, NoListen: true})
}

func (*postgresSite) close(ctx context.Context, s store) error { return s.(*postgres.Store).Close(ctx) }

func (s *postgresSite) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := s.pool.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{s.schema}.Sanitize()+" CASCADE")
	return err
}
