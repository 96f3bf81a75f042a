// Package durable gives the stores that outlive a process one face, with transactions on
// the tests' own tables, for the tests of this module.
package durable

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
	"github.com/evsourcing/evsourcing/sqlite"
)

// Exec executes a statement in a transaction. Both engines have to understand it.
type Exec func(sql string) error

// A Store is one of the durable stores.
type Store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Waiter
	evsourcing.Finder
	evsourcing.CheckpointStore
	evsourcing.Claimer

	// Unwrap returns the engine's own store.
	Unwrap() evsourcing.EventStore
	// Close is what the engine's store has under this name.
	Close(ctx context.Context) error
	// InTx runs f in a transaction, which appends under f's context join.
	InTx(ctx context.Context, f func(ctx context.Context, exec Exec) error) error
	// Handler returns a handler that works in the transaction of its checkpoint.
	Handler(f func(ctx context.Context, exec Exec, msgs []evsourcing.Message) error) evsourcing.TxHandler
	// Rows calls f with each row that a query has for an answer, its columns as text.
	Rows(ctx context.Context, query string, f func(columns []string) error) error
}

// Open opens the store at a place: a connection string of PostgreSQL, or the path of a
// SQLite file.
func Open(ctx context.Context, place string) (Store, error) {
	logger := slog.New(slog.DiscardHandler)
	if IsPostgres(place) {
		s, err := postgres.Open(ctx, place, &postgres.Options{Logger: logger, PollInterval: 50 * time.Millisecond})
		return postgresStore{s}, err
	}
	s, err := sqlite.Open(place, &sqlite.Options{Logger: logger, PollInterval: 10 * time.Millisecond})
	return sqliteStore{s}, err
}

// IsPostgres reports whether a place is one of PostgreSQL.
func IsPostgres(place string) bool { return strings.HasPrefix(place, "postgres:") }

// Numbered returns the definition of a column that numbers rows as they are inserted.
func Numbered(place string) string {
	if IsPostgres(place) {
		return "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
	}
	return "INTEGER PRIMARY KEY AUTOINCREMENT"
}

// Codec decodes every event to a [Fact], and encodes none.
type Codec struct{}

// A Fact is any event.
type Fact struct{}

// Topic is the topic of every event of these tests.
func (Fact) Topic() string { return "fact" }

// Encode implements [evsourcing.Codec], for events that are stored otherwise.
func (Codec) Encode(context.Context, *evsourcing.StoredEvent, evsourcing.Event) error { return nil }

// Decode implements [evsourcing.Codec].
func (Codec) Decode(context.Context, *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return Fact{}, nil
}

// Names implements [evsourcing.Codec].
func (Codec) Names(topic string) []string { return []string{topic} }
