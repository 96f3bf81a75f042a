package storetest

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// editRange changes the range of every read.
func (v *variant) editRange(f func(r evsourcing.Range) evsourcing.Range) {
	v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		return v.simpleStore.Load(ctx, id, f(r))
	}
	v.events = func(ctx context.Context, r evsourcing.Range, filter evsourcing.Filter) eventSeq {
		return v.simpleStore.Events(ctx, f(r), filter)
	}
}

func brokenReads() []brokenStore {
	const (
		short = "ranges of short streams yield what they select"
		pages = "ranges at the bounds of pages yield what they select"
		log   = "ranges of the log yield what they select"
	)
	return []brokenStore{
		{"yields an error for a stream never written", func(_ *testing.T, v *variant) {
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					v.mu.Lock()
					head := v.heads[id]
					v.mu.Unlock()
					if head == 0 {
						yield(evsourcing.StoredEvent{}, evsourcing.ErrNotFound)
						return
					}
					v.simpleStore.Load(ctx, id, r)(yield)
				}
			}
		}, []accusation{{"promise 6", "a stream never written yields nothing", "failed: evsourcing: not found"}}},

		{"panics for a stream never written", func(_ *testing.T, v *variant) {
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				v.mu.Lock()
				defer v.mu.Unlock()
				_ = v.streams[id][0]
				return v.simpleStore.Load(ctx, id, r)
			}
		}, []accusation{{"promise 6", "a stream never written yields nothing", "panic: runtime error: index out of range"}}},

		{"counts in signed numbers", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				if r.After > math.MaxInt64 {
					r.After = 0
				}
				return r
			})
		}, []accusation{
			{"promise 6", "reading past the end yields nothing", "After:9223372036854775808"},
			{"promise 6", pages, "After:18446744073709551615"},
		}},

		{"takes Until for exclusive", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				if r.Until > 1 {
					r.Until--
				}
				return r
			})
		}, []accusation{
			{"promise 6", short, "Until:2"},
			{"promise 6", log, "events, want"},
		}},

		{"takes After for inclusive", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				r.After = max(r.After, 1) - 1
				return r
			})
		}, []accusation{
			{"promise 6", short, "After:1"},
			{"promise 6", "reading past the end yields nothing", "yields events"},
		}},

		{"reads upwards always", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				r.Backward = false
				return r
			})
		}, []accusation{
			{"promise 6", short, "Backward:true"},
			{"promise 6", log, "Backward:true"},
			{"promise 6", "a long stream is read whole", "Backward:true"},
		}},

		{"takes After for the upper end of what it reads backward", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				if r.Backward && r.After != 0 {
					r.After, r.Until = r.Until, r.After
				}
				return r
			})
		}, []accusation{{"promise 6", short, "Backward:true"}}},

		{"yields nothing for a negative limit", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				if r.Limit < 0 {
					r.After = math.MaxUint64
				}
				return r
			})
		}, []accusation{{"promise 6", short, "Limit:-1"}}},

		{"yields one more at the bound of a page", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				if r.Limit > 0 && r.Limit%256 == 0 {
					r.Limit++
				}
				return r
			})
		}, []accusation{
			{"promise 6", pages, "Limit:256 Backward:false}: got 257 events, want 256"},
			{"promise 6", log, "events, want"},
		}},

		{"loses an event between pages", func(_ *testing.T, v *variant) {
			v.editOut(func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					i := 0
					for e, err := range seq {
						if i++; i != 101 && !yield(e, err) {
							return
						}
					}
				}
			})
		}, []accusation{
			{"promise 6", pages, "event 101 of"},
			{"promise 6", log, "event 101 of"},
			{"promise 6", "a long stream is read whole", "event 101 of 5000"},
		}},

		{"reads 4096 events at most", func(_ *testing.T, v *variant) {
			v.editRange(func(r evsourcing.Range) evsourcing.Range {
				if r.Limit <= 0 || r.Limit > 4096 {
					r.Limit = 4096
				}
				return r
			})
		}, []accusation{{"promise 6", "a long stream is read whole", "yields 4096, want 5000"}}},

		{"counts positions without gaps", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				v.mu.Lock()
				if n := uint64(len(v.log)); 0 < r.After && r.After < n {
					r.After = v.log[r.After-1].Position
				}
				v.mu.Unlock()
				return v.simpleStore.Events(ctx, r, f)
			}
		}, []accusation{{"promise 6", log, "event 1 of"}}},

		{"can be ranged over once", func(_ *testing.T, v *variant) {
			v.editOut(func(seq eventSeq) eventSeq {
				used := false
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					if !used {
						used = true
						seq(yield)
					}
				}
			})
		}, []accusation{{"promise 6", "ranging again reads again", "ranged over again: got 0 events"}}},

		{"goes on with the limit of the last loop", func(_ *testing.T, v *variant) {
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				left := r.Limit
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					for e, err := range v.simpleStore.Load(ctx, id, evsourcing.Range{After: r.After, Until: r.Until, Backward: r.Backward}) {
						if left--; r.Limit > 0 && left < 0 || !yield(e, err) {
							return
						}
					}
				}
			}
		}, []accusation{{"promise 6", "ranging again reads again", "Load with a limit, ranged over again: got 0 events, want 300"}}},

		{"reads when the iterator is made", func(_ *testing.T, v *variant) {
			v.editOut(func(seq eventSeq) eventSeq {
				var list []evsourcing.StoredEvent
				var last error
				for e, err := range seq {
					if last = err; err == nil {
						list = append(list, e)
					}
				}
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					for _, e := range list {
						if !yield(clone(e), nil) {
							return
						}
					}
					if last != nil {
						yield(evsourcing.StoredEvent{}, last)
					}
				}
			})
		}, []accusation{
			{"promise 6", "ranging again reads again", "after an append of 3 events"},
			{"promise 6", "a context cancelled before it is read ends an iteration", "cancelled before the loop"},
		}},

		{"ignores the context of a read", func(_ *testing.T, v *variant) {
			v.load = func(_ context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				return v.simpleStore.Load(context.Background(), id, r)
			}
		}, []accusation{
			{"promise 6", "a context cancelled before it is read ends an iteration", "yields 3 events and the error <nil>"},
			{"promise 6", "a context cancelled in the loop body ends an iteration", "ended without an error after 3000 of 3000 events"},
		}},

		{"looks at the context once", func(_ *testing.T, v *variant) {
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					if err := ctx.Err(); err != nil {
						yield(evsourcing.StoredEvent{}, err)
						return
					}
					v.simpleStore.Load(context.Background(), id, r)(yield)
				}
			}
		}, []accusation{
			{"promise 6", "a context cancelled in the loop body ends an iteration", "ended without an error after 3000 of 3000 events"},
		}},

		{"ends without the context's error", func(_ *testing.T, v *variant) {
			v.editOut(func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					for e, err := range seq {
						if err != nil || !yield(e, nil) {
							return
						}
					}
				}
			})
		}, []accusation{
			{"promise 6", "a context cancelled before it is read ends an iteration", "the error <nil>"},
			{"promise 6", "a context cancelled in the loop body ends an iteration", "ended without an error after 1 of 3000 events"},
		}},

		{"goes on after an error", func(_ *testing.T, v *variant) {
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					if err := ctx.Err(); err != nil && !yield(evsourcing.StoredEvent{}, err) {
						return
					}
					v.simpleStore.Load(context.Background(), id, r)(yield)
				}
			}
		}, []accusation{
			{"promise 6", "a context cancelled before it is read ends an iteration", "an iterator went on after it had yielded the error"},
		}},

		{"ignores the context of its other methods", func(_ *testing.T, v *variant) {
			free := context.Background()
			v.head = func(context.Context) (evsourcing.Mark, error) { return v.simpleStore.Head(free) }
			v.find = func(_ context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
				return v.simpleStore.Find(free, id, event)
			}
			v.saveSnapshot = func(_ context.Context, s evsourcing.Snapshot) error { return v.simpleStore.SaveSnapshot(free, s) }
			v.saveCheckpoint = func(_ context.Context, name string, c evsourcing.Checkpoint) error {
				return v.simpleStore.SaveCheckpoint(free, name, c)
			}
			v.claim = func(_ context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				return v.simpleStore.Claim(free, name, owner, ttl)
			}
		}, []accusation{
			{"promise 6", "a context cancelled before ends every other call", "Head under a cancelled context returned the error <nil>"},
			{"promise 6", "a context cancelled before ends every other call", "SaveSnapshot under a cancelled context saved the snapshot"},
			{"promise 6", "a context cancelled before ends every other call", "SaveCheckpoint under a cancelled context saved the checkpoint"},
			{"promise 6", "a context cancelled before ends every other call", "Claim failed, after a Claim under a cancelled context"},
		}},
	}
}
