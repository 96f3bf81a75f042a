package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func brokenLogs() []brokenStore {
	const (
		wakes  = "wait returns when the head goes beyond"
		raced  = "wait misses no append that races with it"
		goesOn = "wait goes on until the head is beyond"
		ends   = "wait ends when its context ends"
	)
	return []brokenStore{
		{"counts the limit before it filters", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				return matching(v.simpleStore.Events(ctx, r, f), f, 0)
			}
		}, []accusation{
			{"Log", "a filter yields all that it lets pass", "Limit:10 Backward:false} through"},
		}},

		{"looks at the first name of a filter", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				if len(f.Topics) > 1 {
					f.Topics = f.Topics[:1]
				}
				all := evsourcing.Range{After: r.After, Until: r.Until, Backward: r.Backward}
				return matching(v.simpleStore.Events(ctx, all, f), f, r.Limit)
			}
		}, []accusation{
			{"Log", "a filter yields all that it lets pass", "which the filter lets pass"},
		}},

		{"takes an empty filter for one of nothing", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				if f.Topics != nil && len(f.Topics) == 0 {
					return func(func(evsourcing.StoredEvent, error) bool) {}
				}
				return v.simpleStore.Events(ctx, r, f)
			}
		}, []accusation{
			{"Log", "a filter yields all that it lets pass", "which the filter lets pass"},
		}},

		{"exceeds the limit when it filters", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				if len(f.Topics) > 0 {
					r.Limit = 0
				}
				return matching(v.simpleStore.Events(ctx, r, f), f, 0)
			}
		}, []accusation{
			{"Log", "a filter yields all that it lets pass", "more than the limit"},
		}},

		{"fails on unknown names", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				for _, name := range append(f.Topics, f.Types...) {
					if name == "unknown" {
						return func(yield func(evsourcing.StoredEvent, error) bool) {
							yield(evsourcing.StoredEvent{}, errors.New("no such name"))
						}
					}
				}
				return v.simpleStore.Events(ctx, r, f)
			}
		}, []accusation{
			{"Log", "a filter of nothing known is no error", "no such name"},
		}},

		{"has no head while it is empty", func(_ *testing.T, v *variant) {
			v.head = func(ctx context.Context) (evsourcing.Mark, error) {
				mark, err := v.simpleStore.Head(ctx)
				if err == nil && mark.Position == 0 {
					err = evsourcing.ErrNotFound
				}
				return mark, err
			}
		}, []accusation{
			{"Log", "head is the last event", "Head failed: evsourcing: not found"},
		}},

		{"takes the event last asked for as the head", func(_ *testing.T, v *variant) {
			var last evsourcing.Mark
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if err == nil {
					events := batches[len(batches)-1].Events
					last = evsourcing.Mark{Position: result.Position, EventID: events[len(events)-1].ID}
				}
				return result, err
			}
			v.head = func(context.Context) (evsourcing.Mark, error) { return last, nil }
		}, []accusation{
			{"Log", "head is the last event", "Head is"},
		}},

		{"waits for the next append", func(_ *testing.T, v *variant) {
			v.wait = func(ctx context.Context, _ uint64) error {
				v.mu.Lock()
				wake := v.wake
				v.mu.Unlock()
				select {
				case <-wake:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}, []accusation{
			{"Waiter", "wait returns at once if the head is beyond", stuck},
			{"Waiter", goesOn, "returned while the head was at"},
		}},

		{"wakes one waiter", func(_ *testing.T, v *variant) {
			signal := make(chan struct{})
			v.publish = func(list []evsourcing.StoredEvent) {
				v.show(list)
				select {
				case signal <- struct{}{}:
				default:
				}
			}
			v.wait = func(ctx context.Context, after uint64) error {
				for {
					head, err := v.simpleStore.Head(ctx)
					if err != nil || head.Position > after {
						return err
					}
					select {
					case <-signal:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
		}, []accusation{
			{"Waiter", wakes, stuck},
			{"Waiter", raced, stuck},
		}},

		{"looks at the head and listens afterwards", func(_ *testing.T, v *variant) {
			v.wait = func(ctx context.Context, after uint64) error {
				for {
					head, err := v.simpleStore.Head(ctx)
					if err != nil || head.Position > after {
						return err
					}
					linger()
					v.mu.Lock()
					wake := v.wake
					v.mu.Unlock()
					select {
					case <-wake:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
		}, []accusation{
			{"Waiter", raced, stuck},
		}},

		{"ignores the context of a wait", func(t *testing.T, v *variant) {
			over, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			v.wait = func(_ context.Context, after uint64) error { return v.simpleStore.Wait(over, after) }
		}, []accusation{
			{"Waiter", ends, stuck + " 500ms, though its context had ended"},
		}},

		{"ends a wait without an error", func(_ *testing.T, v *variant) {
			v.wait = func(ctx context.Context, after uint64) error {
				_ = v.simpleStore.Wait(ctx, after)
				return nil
			}
		}, []accusation{
			{"Waiter", ends, "under a cancelled context returned the error <nil>"},
		}},

		{"finds positions", func(_ *testing.T, v *variant) {
			v.find = func(_ context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
				v.mu.Lock()
				defer v.mu.Unlock()
				p, ok := v.places[event]
				return p.position, ok && p.stream == id, nil
			}
		}, []accusation{
			{"Finder", "find returns the version of an event", "for the event at version"},
		}},

		{"finds events of other streams", func(_ *testing.T, v *variant) {
			v.find = func(_ context.Context, _ evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
				v.mu.Lock()
				defer v.mu.Unlock()
				p, ok := v.places[event]
				return p.version, ok, nil
			}
		}, []accusation{
			{"Finder", "find does not return what another stream holds", "for an event of another stream"},
		}},

		{"finds nothing with an error", func(_ *testing.T, v *variant) {
			v.find = func(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
				version, ok, err := v.simpleStore.Find(ctx, id, event)
				if err == nil && !ok {
					err = evsourcing.ErrNotFound
				}
				return version, ok, err
			}
		}, []accusation{
			{"Finder", "find returns the version of an event", "for an event never stored"},
		}},
	}
}
