package faults

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// The wrappers replace one method of a store.

type eventSeq = iter.Seq2[evsourcing.StoredEvent, error]

type withAppend struct {
	store
	f func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error)
}

func (w withAppend) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	return w.f(ctx, batches...)
}

type withLoad struct {
	store
	f func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq
}

func (w withLoad) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return w.f(ctx, id, r)
}

type withEvents struct {
	store
	f func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq
}

func (w withEvents) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return w.f(ctx, r, f)
}

type withHead struct {
	store
	f func(ctx context.Context) (evsourcing.Mark, error)
}

func (w withHead) Head(ctx context.Context) (evsourcing.Mark, error) { return w.f(ctx) }

type withWait struct {
	store
	f func(ctx context.Context, after uint64) error
}

func (w withWait) Wait(ctx context.Context, after uint64) error { return w.f(ctx, after) }

type withFind struct {
	store
	f func(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error)
}

func (w withFind) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	return w.f(ctx, id, event)
}

type withSaveSnapshot struct {
	store
	f func(ctx context.Context, s evsourcing.Snapshot) error
}

func (w withSaveSnapshot) SaveSnapshot(ctx context.Context, s evsourcing.Snapshot) error {
	return w.f(ctx, s)
}

type withLoadSnapshot struct {
	store
	f func(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error)
}

func (w withLoadSnapshot) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	return w.f(ctx, id)
}

type withCheckpoint struct {
	store
	f func(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error)
}

func (w withCheckpoint) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	return w.f(ctx, name)
}

type withSaveCheckpoint struct {
	store
	f func(ctx context.Context, name string, c evsourcing.Checkpoint) error
}

func (w withSaveCheckpoint) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	return w.f(ctx, name, c)
}

type withClaim struct {
	store
	f func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error)
}

func (w withClaim) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	return w.f(ctx, name, owner, ttl)
}

// editIn returns s with changes to what is appended.
func editIn(s store, f func(b *evsourcing.Batch, e *evsourcing.StoredEvent)) store {
	return withAppend{s, func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
		batches = cloneBatches(batches)
		for i := range batches {
			for j := range batches[i].Events {
				f(&batches[i], &batches[i].Events[j])
			}
		}
		return s.Append(ctx, batches...)
	}}
}

// editResult returns s with changes to what Append returns.
func editResult(s store, f func(ctx context.Context, result *evsourcing.AppendResult, err error) error) store {
	return withAppend{s, func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
		result, err := s.Append(ctx, batches...)
		return result, f(ctx, &result, err)
	}}
}

// editOut returns s with changes to what iterators yield.
func editOut(s store, f func(seq eventSeq) eventSeq) store {
	loads := withLoad{s, func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		return f(s.Load(ctx, id, r))
	}}
	return withEvents{loads, func(ctx context.Context, r evsourcing.Range, filter evsourcing.Filter) eventSeq {
		return f(s.Events(ctx, r, filter))
	}}
}

// editRange returns s with changes to the ranges that are read.
func editRange(s store, f func(r *evsourcing.Range)) store {
	loads := withLoad{s, func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		f(&r)
		return s.Load(ctx, id, r)
	}}
	return withEvents{loads, func(ctx context.Context, r evsourcing.Range, filter evsourcing.Filter) eventSeq {
		f(&r)
		return s.Events(ctx, r, filter)
	}}
}

// editStream returns s with changes to the streams that events are stored in and
// loaded from.
func editStream(s store, f func(id evsourcing.StreamID) evsourcing.StreamID) store {
	appends := withAppend{s, func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
		batches = cloneBatches(batches)
		for i := range batches {
			was := batches[i].Stream
			batches[i].Stream = f(was)
			for j := range batches[i].Events {
				if e := &batches[i].Events[j]; e.Stream == was { // else it is a mistake, to be found as such
					e.Stream = batches[i].Stream
				}
			}
		}
		return s.Append(ctx, batches...)
	}}
	return withLoad{appends, func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		return s.Load(ctx, f(id), r)
	}}
}
