package storetest

import (
	"context"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// slots is a lock or a pool of connections, which gives up with the context.
type slots chan struct{}

func (s slots) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) release() { <-s }

// holding wraps what is read in a slot, which release gives back.
func (v *variant) holding(s slots, wrap func(seq eventSeq, release func()) eventSeq) {
	held := func(ctx context.Context, seq eventSeq) eventSeq {
		return func(yield func(evsourcing.StoredEvent, error) bool) {
			if err := s.acquire(ctx); err != nil {
				yield(evsourcing.StoredEvent{}, err)
				return
			}
			wrap(seq, s.release)(yield)
		}
	}
	v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		return held(ctx, v.simpleStore.Load(ctx, id, r))
	}
	v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
		return held(ctx, v.simpleStore.Events(ctx, r, f))
	}
}

// whileRead keeps a slot until the loop has ended, however it ends.
func whileRead(seq eventSeq, release func()) eventSeq {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		defer release()
		seq(yield)
	}
}

func brokenIterators() []brokenStore {
	return []brokenStore{
		{"holds its lock across the loop body", func(_ *testing.T, v *variant) {
			lock := make(slots, 1)
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if err := lock.acquire(ctx); err != nil {
					return evsourcing.AppendResult{}, err
				}
				defer lock.release()
				return v.simpleStore.Append(ctx, batches...)
			}
			v.holding(lock, whileRead)
		}, []accusation{
			{"promise 7", "a loop body may append", "Append to storetest/a " + stuck},
			{"promise 7", "a loop body may wait for another writer", stuck},
			{"promise 7", "a loop body may read", "Load of storetest/a " + stuck},
			{"promise 7", "iterators at rest block nobody", stuck},
		}},

		{"has one connection for readers", func(_ *testing.T, v *variant) {
			v.holding(make(slots, 1), whileRead)
		}, []accusation{
			{"promise 7", "a loop body may read", "Load of storetest/a " + stuck},
		}},

		{"has eight connections for readers", func(_ *testing.T, v *variant) {
			v.holding(make(slots, 8), whileRead)
		}, []accusation{
			{"promise 7", "iterators at rest block nobody", stuck},
		}},

		{"releases an iterator at its end only", func(_ *testing.T, v *variant) {
			v.holding(make(slots, 8), func(seq eventSeq, release func()) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					for e, err := range seq {
						if !yield(e, err) {
							return
						}
					}
					release()
				}
			})
		}, []accusation{
			{"promise 7", "iterators abandoned half way release what they held", stuck},
		}},

		{"releases an iterator after the loop, but not in a panic", func(_ *testing.T, v *variant) {
			v.holding(make(slots, 8), func(seq eventSeq, release func()) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					seq(yield)
					release()
				}
			})
		}, []accusation{
			{"promise 7", "a panic in a loop body passes and releases the iterator", stuck},
		}},

		{"swallows a panic of the loop body", func(_ *testing.T, v *variant) {
			v.editOut(func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					defer func() { _ = recover() }()
					seq(yield)
				}
			})
		}, []accusation{
			{"promise 7", "a panic in a loop body passes and releases the iterator", "the loop body's panic arrived as"},
		}},

		{"leaves a goroutine behind", func(t *testing.T, v *variant) {
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			type pair struct {
				e   evsourcing.StoredEvent
				err error
			}
			v.editOut(func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					pairs := make(chan pair)
					go func() {
						defer close(pairs)
						for e, err := range seq {
							select {
							case pairs <- pair{e, err}:
							case <-over: // the end of the test, not of the loop
								return
							}
						}
					}()
					for p := range pairs {
						if !yield(p.e, p.err) {
							return
						}
					}
				}
			})
		}, []accusation{
			{"promise 7", "iterators abandoned half way release what they held", "the end of the goroutines of abandoned iterators did not come within"},
		}},
	}
}
