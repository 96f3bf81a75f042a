package faults

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evsourcing/evsourcing"
)

func brokenAppends() []brokenStore {
	return []brokenStore{
		{"ignores the expected version", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if err := evsourcing.Validate(list...); err != nil {
					return evsourcing.AppendResult{}, err
				}
				result, err := s.Append(ctx, list...)
				if errors.Is(err, evsourcing.ErrConflict) {
					return s.Append(ctx, anyVersion(list)...)
				}
				return result, err
			}}
		}, "want evsourcing: version conflict|can't be right"},

		{"looks before it writes, without a lock", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				for _, b := range list {
					if b.Expected == evsourcing.AnyVersion || b.Stream.Validate() != nil {
						return s.Append(ctx, list...)
					}
					for e := range s.Load(ctx, b.Stream, evsourcing.Range{Backward: true, Limit: 1}) {
						if e.Version != b.Expected {
							return s.Append(ctx, list...)
						}
					}
				}
				if evsourcing.Validate(list...) != nil {
					return s.Append(ctx, list...)
				}
				for range 50 {
					runtime.Gosched()
				}
				result, err := s.Append(ctx, list...)
				if errors.Is(err, evsourcing.ErrConflict) {
					return s.Append(ctx, anyVersion(list)...)
				}
				return result, err
			}}
		}, "returned versions|can't be right|want evsourcing: version conflict"},

		{"stores batches one by one", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				var all evsourcing.AppendResult
				if evsourcing.Validate(list...) != nil {
					return s.Append(ctx, list...)
				}
				for _, b := range list {
					result, err := s.Append(ctx, b)
					if err != nil {
						return evsourcing.AppendResult{}, err
					}
					all.Position, all.Repeated = result.Position, result.Repeated
					all.Versions = append(all.Versions, result.Versions...)
				}
				return all, nil
			}}
		}, "got|Head: it is|can't be right"},

		{"reports a conflict for a repetition", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, list...)
				if result.Repeated {
					return evsourcing.AppendResult{}, &evsourcing.ConflictError{Stream: list[0].Stream}
				}
				return result, err
			}}
		}, "repeating an append failed|version conflict"},

		{"does not say Repeated", func(s store) store {
			return editResult(s, func(_ context.Context, result *evsourcing.AppendResult, err error) error {
				result.Repeated = false
				return err
			})
		}, "does not say Repeated|returned position|returned versions"},

		{"returns the head for a repetition", func(s store) store {
			return editResult(s, func(ctx context.Context, result *evsourcing.AppendResult, err error) error {
				if result.Repeated {
					mark, _ := s.Head(ctx)
					result.Position = mark.Position
				}
				return err
			})
		}, "returned position"},

		{"accepts a part of what is stored as a repetition", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, list...)
				if errors.Is(err, evsourcing.ErrDuplicateEvent) && evsourcing.Validate(list...) == nil {
					return evsourcing.AppendResult{Position: 1, Versions: make([]uint64, len(list)), Repeated: true}, nil
				}
				return result, err
			}}
		}, "want evsourcing: duplicate event ID|can't be right"},

		{"names another version in a conflict", func(s store) store {
			return editResult(s, func(_ context.Context, _ *evsourcing.AppendResult, err error) error {
				var conflict *evsourcing.ConflictError
				if errors.As(err, &conflict) {
					conflict.Actual = conflict.Expected + 1
				}
				return err
			})
		}, "want one of|can't be right"},

		{"numbers batches by the first", func(s store) store {
			return editResult(s, func(_ context.Context, result *evsourcing.AppendResult, err error) error {
				slices.Sort(result.Versions)
				return err
			})
		}, "returned versions"},

		{"stores under a context that has ended", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				return s.Append(context.WithoutCancel(ctx), list...)
			}}
		}, "under a context that had ended"},

		{"calls stored what was cancelled", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if err := ctx.Err(); err != nil {
					return evsourcing.AppendResult{}, err
				}
				result, err := s.Append(context.WithoutCancel(ctx), list...)
				linger(ctx)
				if ctx.Err() != nil {
					return evsourcing.AppendResult{}, ctx.Err()
				}
				return result, err
			}}
		}, "Head: it is"},

		{"cancels all appends with one", func(s store) store {
			var cancelled atomic.Int64
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if err := ctx.Err(); err != nil {
					return evsourcing.AppendResult{}, err
				}
				before := cancelled.Load()
				linger(ctx)
				if ctx.Err() != nil {
					cancelled.Add(1)
				}
				if cancelled.Load() != before {
					return evsourcing.AppendResult{}, context.Canceled
				}
				return s.Append(ctx, list...)
			}}
		}, "Append failed: context canceled|error context canceled"},

		{"checks nothing of what it is passed", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, list...)
				if err != nil && evsourcing.Validate(list...) != nil {
					return result, nil
				}
				return result, err
			}}
		}, "with a mistake in"},

		{"cuts times to the millisecond", func(s store) store {
			return editIn(s, func(_ *evsourcing.Batch, e *evsourcing.StoredEvent) { e.Time = e.Time.Truncate(time.Millisecond) })
		}, "Time is"},

		{"sorts tags", func(s store) store {
			return editIn(s, func(_ *evsourcing.Batch, e *evsourcing.StoredEvent) { slices.Sort(e.Tags) })
		}, "Tags is"},

		{"escapes metadata for HTML", func(s store) store {
			return editIn(s, func(_ *evsourcing.Batch, e *evsourcing.StoredEvent) {
				for k, v := range e.Metadata {
					e.Metadata[k] = strings.ReplaceAll(v, "<", `\u003c`)
				}
			})
		}, "Metadata is"},

		{"ends data at a NUL byte", func(s store) store {
			return editIn(s, func(_ *evsourcing.Batch, e *evsourcing.StoredEvent) {
				before, _, _ := strings.Cut(string(e.Data), "\x00")
				e.Data = []byte(before)
			})
		}, "Data ("},

		{"trims topics", func(s store) store {
			return editIn(s, func(_ *evsourcing.Batch, e *evsourcing.StoredEvent) {
				if e.Topic == "made " {
					e.Topic = "made"
				}
			})
		}, "Topic is"},

		{"changes what it is passed", func(s store) store {
			return withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				for i := range list {
					for j := range list[i].Events {
						list[i].Events[j].Stream = list[i].Stream
					}
				}
				return s.Append(ctx, list...)
			}}
		}, "changed what it was passed|can't be right|got"},

		{"lets no one append while somebody reads", func(s store) store {
			var lock sync.Mutex
			return editOut(withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				lock.Lock()
				defer lock.Unlock()
				return s.Append(ctx, list...)
			}}, func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					lock.Lock()
					defer lock.Unlock()
					seq(yield)
				}
			})
		}, "stuck"},

		{"shows an event late", func(s store) store {
			var mu sync.Mutex
			var late uint64
			appends := withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, list...)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && !result.Repeated {
					late = result.Position - 1
				}
				return result, err
			}}
			return withEvents{appends, func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					mu.Lock()
					skip := late
					late = 0
					mu.Unlock()
					for e, err := range s.Events(ctx, r, f) {
						if (err != nil || e.Position != skip) && !yield(e, err) {
							return
						}
					}
				}
			}}
		}, "read meanwhile|is missing|want"},

		{"forgets the last append when it is closed", func(s store) store { return &forgetful{store: s, head: 1 << 62} }, "opening|Head: it is|want"},
	}
}

// anyVersion returns the batches for any version.
func anyVersion(list []evsourcing.Batch) []evsourcing.Batch {
	list = cloneBatches(list)
	for i, b := range list {
		list[i] = batchOf(b.Stream, evsourcing.AnyVersion, b.Events...)
	}
	return list
}

// linger gives others time until ctx ends, without taking much.
func linger(ctx context.Context) {
	for i := 0; i < 1000 && ctx.Err() == nil; i++ {
		runtime.Gosched()
	}
}

// forgetful stores have no event beyond the head.
type forgetful struct {
	store
	mu   sync.Mutex // guards head
	head uint64
}

func (s *forgetful) reopened() {
	mark, err := s.store.Head(context.Background())
	if err == nil && mark.Position > 0 {
		s.mu.Lock()
		s.head = mark.Position - 1
		s.mu.Unlock()
	}
}

func (s *forgetful) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		s.mu.Lock()
		head := s.head
		s.mu.Unlock()
		for e, err := range s.store.Events(ctx, r, f) {
			if (err != nil || e.Position <= head) && !yield(e, err) {
				return
			}
		}
	}
}
