package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// eventIDs returns the IDs of all events of an append as one text.
func eventIDs(batches []evsourcing.Batch) string {
	var text string
	_ = edited(batches, func(e *evsourcing.StoredEvent) { text += e.ID.String() })
	return text
}

// known returns the repetition that an append is, or the error that it gets for
// being half of one, or neither.
func (v *variant) known(batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.repetition(batches)
}

// fresh returns a copy of the batches in which all event IDs are new.
func fresh(batches []evsourcing.Batch) []evsourcing.Batch {
	return edited(batches, func(e *evsourcing.StoredEvent) { e.ID = newEvent().ID })
}

func brokenRetries() []brokenStore {
	return []brokenStore{
		{"reports a conflict for a repetition", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if result, _ := v.known(batches); result.Repeated {
					return evsourcing.AppendResult{}, &evsourcing.ConflictError{Stream: batches[0].Stream}
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 3", "a repeated append returns the original", "repeating the append failed: evsourcing: version conflict"},
			{"promise 3", "racing repetitions are stored once", "equal appends failed: evsourcing: version conflict"},
		}},

		{"stores a repetition again", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if result, _ := v.known(batches); result.Repeated {
					_, _ = v.simpleStore.Append(ctx, anyVersions(fresh(batches))...)
					return result, nil
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 3", "a repeated append returns the original", "got 4 events, want 2"},
		}},

		{"does not say Repeated", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				result.Repeated = false
				return result, err
			}
		}, []accusation{
			{"promise 3", "a repeated append returns the original", "does not say Repeated"},
		}},

		{"returns the head for a repetition", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if result.Repeated {
					v.mu.Lock()
					defer v.mu.Unlock()
					result.Position = v.position
					for i, b := range batches {
						result.Versions[i] = v.heads[b.Stream]
					}
				}
				return result, err
			}
		}, []accusation{
			{"promise 3", "a repetition is recognised after later appends", "the repetition returned position"},
			{"promise 3", "a run of stored events is a repetition too", "the repetition returned versions"},
		}},

		{"recognises only the last append", func(_ *testing.T, v *variant) {
			var mu sync.Mutex
			var last string
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				mu.Lock()
				defer mu.Unlock()
				if ids := eventIDs(batches); result.Repeated && ids != last {
					return evsourcing.AppendResult{}, evsourcing.ErrDuplicateEvent
				} else if err == nil {
					last = ids
				}
				return result, err
			}
		}, []accusation{
			{"promise 3", "a repetition is recognised after later appends", "repeating the append failed: evsourcing: duplicate"},
		}},

		{"compares the data of a repetition", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if result.Repeated {
					for i, b := range batches {
						n := result.Versions[i] - uint64(len(b.Events))
						for j, e := range b.Events {
							v.mu.Lock()
							same := bytes.Equal(v.streams[b.Stream][n+uint64(j)].Data, e.Data)
							v.mu.Unlock()
							if !same {
								return evsourcing.AppendResult{}, evsourcing.ErrDuplicateEvent
							}
						}
					}
				}
				return result, err
			}
		}, []accusation{
			{"promise 3", "a repetition is recognised by its event IDs alone", "repeating the append failed: evsourcing: duplicate"},
		}},

		{"stores what a repetition has changed", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if result.Repeated {
					v.mu.Lock()
					defer v.mu.Unlock()
					for i, b := range batches {
						n := result.Versions[i] - uint64(len(b.Events))
						for j, e := range b.Events {
							v.streams[b.Stream][n+uint64(j)].Data = slices.Clone(e.Data)
						}
					}
				}
				return result, err
			}
		}, []accusation{
			{"promise 3", "a repetition is recognised by its event IDs alone", "Data (48 bytes, want 48) is"},
		}},

		{"recognises whole appends only", func(_ *testing.T, v *variant) {
			var whole sync.Map
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if !result.Repeated {
					whole.Store(eventIDs(batches), true)
				} else if _, ok := whole.Load(eventIDs(batches)); !ok {
					return evsourcing.AppendResult{}, evsourcing.ErrDuplicateEvent
				}
				return result, err
			}
		}, []accusation{
			{"promise 3", "a run of stored events is a repetition too", "repeating the append failed: evsourcing: duplicate"},
		}},

		{"skips events that are stored already", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if _, err := v.known(batches); err == nil {
					return v.simpleStore.Append(ctx, batches...)
				}
				list := anyVersions(batches)
				v.mu.Lock()
				defer v.mu.Unlock()
				for i := range list {
					list[i].Events = slices.DeleteFunc(list[i].Events, func(e evsourcing.StoredEvent) bool {
						_, ok := v.places[e.ID]
						return ok
					})
				}
				list = slices.DeleteFunc(list, func(b evsourcing.Batch) bool { return len(b.Events) == 0 })
				if len(list) == 0 {
					return evsourcing.AppendResult{}, nil
				}
				return v.write(list), nil
			}
		}, []accusation{
			{"promise 3", "an append that is stored in part is refused", "was accepted with"},
			{"promise 3", "an append that is stored elsewhere is refused", "was accepted with"},
		}},

		{"keeps event IDs unique within a stream only", func(_ *testing.T, v *variant) {
			v.append = func(_ context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				v.mu.Lock()
				defer v.mu.Unlock()
				for _, b := range batches {
					for _, e := range b.Events {
						if p, ok := v.places[e.ID]; ok && p.stream == b.Stream {
							return v.repetition(batches)
						}
					}
				}
				if err := v.conflict(batches); err != nil {
					return evsourcing.AppendResult{}, err
				}
				return v.write(batches), nil
			}
		}, []accusation{
			{"promise 3", "an append that is stored elsewhere is refused", "events of another stream, for a new one: the append was accepted"},
			{"promise 3", "an event ID is stored by one of many racers", "16 of 16 appends with one event ID were accepted, want 1"},
		}},

		{"does not look where a repetition stands", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if result, err := v.known(anyVersions(batches)); err != nil || result.Repeated {
					return result, err
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 3", "an append that is stored elsewhere is refused", "stored events, at later versions: the append was accepted"},
		}},

		{"takes a partial repetition for a conflict", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if _, err := v.known(batches); err != nil {
					return evsourcing.AppendResult{}, fmt.Errorf("%w: %w", &evsourcing.ConflictError{Stream: batches[0].Stream}, err)
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 3", "an append that is stored in part is refused", "returned ErrConflict, want ErrDuplicateEvent"},
		}},

		{"looks for repetitions before it takes the lock", func(_ *testing.T, v *variant) {
			wait := unevenly()
			v.append = func(_ context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if result, err := v.known(batches); err != nil || result.Repeated {
					return result, err
				}
				wait()
				v.mu.Lock()
				defer v.mu.Unlock()
				if err := v.conflict(batches); err != nil {
					return evsourcing.AppendResult{}, err
				}
				return v.write(batches), nil
			}
		}, []accusation{
			{"promise 3", "racing repetitions are stored once", "equal appends"},
			{"promise 3", "an event ID is stored by one of many racers", "with one event ID were accepted, want 1"},
		}},
	}
}
