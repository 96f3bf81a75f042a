package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
	"github.com/evsourcing/evsourcing/sqlite"
)

// A storage is where the program's events are, and the board that a subscription
// keeps there.
type storage struct {
	evsourcing.EventStore
	board board
	close func(ctx context.Context) error
}

// openStorage opens the store with the name: a database of PostgreSQL if it is a
// URL of one, a file of SQLite, or the memory of the process if it is empty. This
// is the one place that knows which kind of store there is.
func openStorage(ctx context.Context, name string, logger *slog.Logger) (*storage, error) {
	var s *storage
	var err error
	switch {
	case name == "":
		return memoryStorage(), nil
	case strings.HasPrefix(name, "postgres://"), strings.HasPrefix(name, "postgresql://"):
		s, err = openPostgres(ctx, name, logger)
	case strings.Contains(name, "://"):
		err = errors.New("it is neither the name of a file nor a postgres:// URL")
	default:
		s, err = openSQLite(ctx, name, logger)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return s, nil
}

func memoryStorage() *storage {
	return &storage{evsourcing.NewMemoryStore(), newDelayBoard(), func(context.Context) error { return nil }}
}

func openSQLite(ctx context.Context, name string, logger *slog.Logger) (*storage, error) {
	store, err := sqlite.Open(name, &sqlite.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	b, err := newSQLiteBoard(ctx, store)
	if err != nil {
		return nil, errors.Join(err, store.Close(ctx))
	}
	return &storage{store, b, store.Close}, nil
}

func openPostgres(ctx context.Context, url string, logger *slog.Logger) (*storage, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	store, err := postgres.New(ctx, pool, &postgres.Options{Logger: logger})
	if err != nil {
		pool.Close()
		return nil, err
	}
	closeBoth := func(ctx context.Context) error {
		err := store.Close(ctx)
		pool.Close()
		return err
	}
	b, err := newPostgresBoard(ctx, store, pool)
	if err != nil {
		return nil, errors.Join(err, closeBoth(ctx))
	}
	return &storage{store, b, closeBoth}, nil
}
