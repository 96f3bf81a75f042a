package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// anyVersions returns the batches without what they expect.
func anyVersions(batches []evsourcing.Batch) []evsourcing.Batch {
	list := edited(batches, func(e *evsourcing.StoredEvent) { e.Version = 0 })
	for i := range list {
		list[i].Expected = evsourcing.AnyVersion
	}
	return list
}

func brokenAppends() []brokenStore {
	return []brokenStore{
		{"keeps the stream that an event names", func(_ *testing.T, v *variant) {
			var nameless sync.Map
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				return v.simpleStore.Append(ctx, edited(batches, func(e *evsourcing.StoredEvent) {
					if e.Stream == (evsourcing.StreamID{}) {
						nameless.Store(e.ID, true)
					}
				})...)
			}
			v.editOut(editEvents(func(e *evsourcing.StoredEvent) {
				if _, ok := nameless.Load(e.ID); ok {
					e.Stream = evsourcing.StreamID{}
				}
			}))
		}, []accusation{
			{"promise 1", "an append that expects the right version is stored", "Stream is"},
		}},

		{"takes any version for a new stream", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				list := edited(batches, func(*evsourcing.StoredEvent) {})
				for i, b := range list {
					if b.Expected == evsourcing.AnyVersion {
						list[i] = batchOf(b.Stream, 0, b.Events...)
					}
				}
				return v.simpleStore.Append(ctx, list...)
			}
		}, []accusation{
			{"promise 1", "an append that expects any version goes to the end", "version conflict"},
			{"promise 1", "racers that expect any version all win", "though no other expected the same version"},
		}},

		{"ignores the expected version", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				return v.simpleStore.Append(ctx, anyVersions(batches)...)
			}
		}, []accusation{
			{"promise 1", "an append that expects a wrong version conflicts", "was accepted, want ErrConflict"},
			{"promise 1", "one of many racers wins each round", "16 of 16 appends that expect version 0 were accepted, want 1"},
			{"promise 1", "one of many racers creates a stream", "16 of 16 appends"},
			{"promise 2", "an append with one conflict stores none of its batches", "was accepted, want ErrConflict"},
		}},

		{"returns conflicts that are not ErrConflict", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if errors.Is(err, evsourcing.ErrConflict) {
					err = errors.New(err.Error())
				}
				return result, err
			}
		}, []accusation{
			{"promise 1", "an append that expects a wrong version conflicts", "that is not ErrConflict"},
			{"promise 1", "one of many racers wins each round", "want a *ConflictError that is ErrConflict"},
		}},

		{"returns conflicts without their detail", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if errors.Is(err, evsourcing.ErrConflict) {
					err = evsourcing.ErrConflict
				}
				return result, err
			}
		}, []accusation{
			{"promise 1", "an append that expects a wrong version conflicts", "that has no *ConflictError"},
			{"promise 1", "one of many racers wins each round", "want a *ConflictError that is ErrConflict"},
		}},

		{"mixes up the versions of a conflict", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				var c *evsourcing.ConflictError
				if errors.As(err, &c) {
					c.Expected, c.Actual = c.Actual, c.Expected
				}
				return result, err
			}
		}, []accusation{
			{"promise 1", "an append that expects a wrong version conflicts", "want {Stream:storetest/a Expected:0 Actual:3}"},
			{"promise 1", "one of many racers wins each round", "an append that lost got"},
		}},

		{"looks at the version before it takes the lock", func(_ *testing.T, v *variant) {
			v.between = unevenly()
		}, []accusation{
			{"promise 1", "one of many racers wins each round", "were accepted, want 1"},
			{"promise 1", "one of many racers creates a stream", "were accepted, want 1"},
			{"promise 1", "one of the racers for overlapping streams wins", "were accepted, want 1"},
			{"promise 3", "racing repetitions are stored once", "equal appends"},
			{"promise 3", "an event ID is stored by one of many racers", "with one event ID were accepted, want 1"},
		}},

		{"takes any other append for a conflict", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				before, _ := v.simpleStore.Head(ctx)
				linger()
				v.mu.Lock()
				moved := v.position != before.Position
				v.mu.Unlock()
				if moved {
					return evsourcing.AppendResult{}, &evsourcing.ConflictError{Stream: batches[0].Stream, Expected: batches[0].Expected}
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 1", "racers for distinct streams all win", "though no other expected the same version"},
			{"promise 1", "racers that expect any version all win", "though no other expected the same version"},
			{"promise 1", "racers for streams in opposite orders all win", "though no other expected the same version"},
		}},

		{"locks streams in the order of the batches", func(_ *testing.T, v *variant) {
			var locks sync.Map
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				for _, b := range batches {
					l, _ := locks.LoadOrStore(b.Stream, make(chan struct{}, 1))
					lock := l.(chan struct{})
					select {
					case lock <- struct{}{}:
						defer func() { <-lock }()
					case <-ctx.Done():
						return evsourcing.AppendResult{}, ctx.Err()
					}
					linger()
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 1", "one of the racers for overlapping streams wins", stuck},
			{"promise 1", "racers for streams in opposite orders all win", stuck},
		}},

		{"keeps the batches before a bad one", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if err != nil {
					for _, b := range batches {
						if _, err := v.simpleStore.Append(ctx, b); err != nil {
							break
						}
					}
				}
				return result, err
			}
		}, []accusation{
			{"promise 2", "an append with one conflict stores none of its batches", "Load of storetest/a: got 5 events, want 2"},
			{"promise 2", "a conflict leaves the event IDs free", "duplicate event ID"},
			{"promise 2", "an append that fails keeps no part of a long batch", "yields 600 events, want none"},
			{"promise 3", "an append that is stored in part is refused", "got 1 events, want 0"},
			{"promise 8", "appends with bad input are refused and store nothing", "a batch of no events after a good one stored something"},
		}},

		{"remembers the event IDs of refused appends", func(_ *testing.T, v *variant) {
			var refused sync.Map
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				known := false
				_ = edited(batches, func(e *evsourcing.StoredEvent) {
					_, ok := refused.Load(e.ID)
					known = known || ok
				})
				if known {
					return evsourcing.AppendResult{}, evsourcing.ErrDuplicateEvent
				}
				result, err := v.simpleStore.Append(ctx, batches...)
				if errors.Is(err, evsourcing.ErrConflict) {
					_ = edited(batches, func(e *evsourcing.StoredEvent) { refused.Store(e.ID, true) })
				}
				return result, err
			}
		}, []accusation{
			{"promise 2", "a conflict leaves the event IDs free", "duplicate event ID"},
		}},

		{"ignores the context of an append", func(_ *testing.T, v *variant) {
			v.append = func(_ context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				return v.simpleStore.Append(context.Background(), batches...)
			}
		}, []accusation{
			{"promise 2", "an append under a cancelled context stores nothing", "was accepted although its context had ended"},
		}},

		{"returns ErrUncertain for what it never began", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if ctx.Err() != nil {
					err = errors.Join(evsourcing.ErrUncertain, ctx.Err())
				}
				return result, err
			}
		}, []accusation{
			{"promise 2", "an append under a cancelled context stores nothing", "returned ErrUncertain"},
		}},

		{"returns the context's error for what it has stored", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if _, ok := ctx.Deadline(); ok && err == nil {
					<-ctx.Done()
					err = ctx.Err()
				}
				return result, err
			}
		}, []accusation{
			{"promise 2", "impatient writers disturb no other and leave nothing behind", "Load of storetest/shared"},
		}},

		{"stores half of an append whose outcome is uncertain", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if _, ok := ctx.Deadline(); !ok {
					return v.simpleStore.Append(ctx, batches...)
				}
				half := batchOf(batches[0].Stream, batches[0].Expected, batches[0].Events[:1]...)
				_, _ = v.simpleStore.Append(context.Background(), half)
				<-ctx.Done()
				return evsourcing.AppendResult{}, evsourcing.ErrUncertain
			}
		}, []accusation{
			{"promise 2", "impatient writers disturb no other and leave nothing behind", "repeating an append that was uncertain failed"},
		}},

		{"rolls back what others write with a cancelled append", func(_ *testing.T, v *variant) {
			var cancelled atomic.Bool
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if _, ok := ctx.Deadline(); ok {
					<-ctx.Done()
					cancelled.Store(true)
				} else if cancelled.CompareAndSwap(true, false) {
					return evsourcing.AppendResult{}, errors.New("the transaction was rolled back")
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 2", "impatient writers disturb no other and leave nothing behind", "the transaction was rolled back"},
		}},

		{"fails when two write at once", func(_ *testing.T, v *variant) {
			var writing sync.Mutex
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if !writing.TryLock() {
					return evsourcing.AppendResult{}, errors.New("database is locked")
				}
				defer writing.Unlock()
				linger()
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 1", "racers for distinct streams all win", "database is locked"},
			{"EventStore", "everything is used at once", "database is locked"},
		}},
	}
}
