package postgres

import (
	"context"
	"errors"
	"iter"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// txStore is the store that InTx hands out. It reads and appends in the transaction, and
// has none of the store's other capabilities: snapshots, above all, are taken in the
// background, beside the function, and would be of events that may be rolled back.
type txStore struct{ t *transaction }

var _ interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Finder
} = txStore{}

// errForeign is for readers that are not the function, which has the connection to itself.
var errForeign = errors.New("evsourcing: postgres: the store of a transaction is read with the context that the function got, " +
	"or one derived from it (a repository that uses it takes no snapshots)")

// check refuses other contexts.
func (s txStore) check(ctx context.Context) error {
	if s.t.store.transaction(ctx) != s.t {
		return errForeign
	}
	return nil
}

// Append stores events in the transaction, whatever its context.
func (s txStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	return s.t.store.Append(context.WithValue(ctx, txKey{s.t.store}, s.t), batches...)
}

func (s txStore) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	if err := s.check(ctx); err != nil {
		return failedEvents(err)
	}
	return s.t.store.Load(ctx, id, r)
}

func (s txStore) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if err := s.check(ctx); err != nil {
		return failedEvents(err)
	}
	return s.t.store.Events(ctx, r, f)
}

func (s txStore) Head(ctx context.Context) (evsourcing.Mark, error) {
	if err := s.check(ctx); err != nil {
		return evsourcing.Mark{}, err
	}
	return s.t.store.Head(ctx)
}

func (s txStore) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	if err := s.check(ctx); err != nil {
		return 0, false, err
	}
	return s.t.store.Find(ctx, id, event)
}

func failedEvents(err error) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) { yield(evsourcing.StoredEvent{}, err) }
}
