package faults

import (
	"context"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// A store has every capability.
type store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Waiter
	evsourcing.Finder
	evsourcing.SnapshotStore
	evsourcing.CheckpointStore
	evsourcing.Claimer
}

// A site is where a store's data is: a process's memory, a file, a schema.
type site interface {
	// open returns a store on the site's data, beside those that are open.
	open(ctx context.Context) (store, error)
	// close closes what open returned.
	close(ctx context.Context, s store) error
	// remove removes the data, after all stores were closed.
	remove() error
}

// A kind of store is under test.
type kind struct {
	name string
	// prepare skips or fails the test if the kind can't be tested here, and
	// returns what makes sites, each without any data.
	prepare func(t *testing.T) func(ctx context.Context) (site, error)
}

func kinds() []kind {
	return []kind{
		{"memory", prepareMemory},
		{"sqlite", prepareSQLite},
		{"postgres", preparePostgres},
	}
}

func prepareMemory(*testing.T) func(context.Context) (site, error) {
	return func(context.Context) (site, error) {
		return memorySite{evsourcing.NewMemoryStore()}, nil
	}
}

// A memorySite has one store, for its data is nowhere else.
type memorySite struct{ store }

func (s memorySite) open(context.Context) (store, error) { return s.store, nil }
func (memorySite) close(context.Context, store) error    { return nil }
func (memorySite) remove() error                         { return nil }
