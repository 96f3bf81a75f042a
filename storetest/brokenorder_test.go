package storetest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/evsourcing/evsourcing"
)

func brokenOrders() []brokenStore {
	return []brokenStore{
		{"draws positions from a block for each stream", func(_ *testing.T, v *variant) {
			type block struct{ next, left uint64 }
			blocks := map[evsourcing.StreamID]*block{}
			v.number = func(id evsourcing.StreamID) uint64 {
				b := blocks[id]
				if b == nil || b.left == 0 {
					b = &block{next: uint64(1+len(blocks)) * 1000, left: 500}
					blocks[id] = b
				}
				b.next++
				b.left--
				return b.next
			}
		}, []accusation{
			{"promise 4", "positions rise from append to append", "was given out"},
			{"promise 4", "readers who follow the log while writers race miss nothing", "a reader"},
		}},

		{"sorts the batches of an append", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				list := slices.Clone(batches)
				slices.SortFunc(list, func(a, b evsourcing.Batch) int { return cmp.Compare(a.Stream.ID, b.Stream.ID) })
				result, err := v.simpleStore.Append(ctx, list...)
				if err == nil {
					versions := result.Versions
					result.Versions = nil
					for _, b := range batches {
						i := slices.IndexFunc(list, func(c evsourcing.Batch) bool { return c.Stream == b.Stream })
						result.Versions = append(result.Versions, versions[i])
					}
				}
				return result, err
			}
		}, []accusation{
			{"promise 4", "positions of one append are consecutive", "Position is"},
		}},

		{"leaves gaps within an append", func(_ *testing.T, v *variant) {
			v.number = func(evsourcing.StreamID) uint64 { return v.position + 2 }
		}, []accusation{
			{"promise 4", "positions of one append are consecutive", "Position is"},
		}},

		{"gives out positions of refused appends again", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				if errors.Is(err, evsourcing.ErrConflict) {
					v.mu.Lock()
					v.position -= min(v.position, uint64(len(batches)))
					v.mu.Unlock()
				}
				return result, err
			}
		}, []accusation{
			{"promise 4", "refused appends disturb no position", "was given out"},
		}},

		{"does not read all columns of the log", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				return editEvents(func(e *evsourcing.StoredEvent) { e.Tags = nil })(v.simpleStore.Events(ctx, r, f))
			}
		}, []accusation{
			{"promise 4", "load and the log agree on every event", "Events: event 1 of 300: Tags is []"},
		}},

		{"draws version and position in two steps", func(_ *testing.T, v *variant) {
			wait := v.unevenlySeen()
			v.publish = func(list []evsourcing.StoredEvent) {
				v.mu.Unlock()
				wait()
				v.mu.Lock()
				for i := range list {
					v.position++
					list[i].Position = v.position
				}
				v.show(list)
			}
		}, []accusation{
			{"promise 4", "the order of racers is the same in load and the log", "compared with Load"},
		}},

		{"shows positions before the ones below them", func(_ *testing.T, v *variant) {
			wait := v.unevenlySeen()
			v.publish = func(list []evsourcing.StoredEvent) {
				v.showInStreams(list)
				v.mu.Unlock()
				wait()
				v.mu.Lock()
				v.showInLog(list)
			}
		}, []accusation{
			{"promise 4", "readers who follow the log while writers race miss nothing", "missed the event at position"},
			{"promise 4", "readers who trust the head while writers race miss nothing", "a reader up to the head: missed the event at position"},
			{"promise 4", "readers who trust a position seen elsewhere miss nothing", "a reader up to what"},
			{"promise 4", "readers who look back while writers race see what stays", "missed the event at position"},
		}},

		{"shows the head before the events", func(_ *testing.T, v *variant) {
			wait := v.unevenlySeen()
			var head evsourcing.Mark // guarded by v.mu
			v.publish = func(list []evsourcing.StoredEvent) {
				last := list[len(list)-1]
				head = evsourcing.Mark{Position: last.Position, EventID: last.ID}
				v.mu.Unlock()
				wait()
				v.mu.Lock()
				v.show(list)
			}
			v.head = func(context.Context) (evsourcing.Mark, error) {
				v.mu.Lock()
				defer v.mu.Unlock()
				return head, nil
			}
		}, []accusation{
			{"promise 4", "readers who trust the head while writers race miss nothing", "a reader up to the head: "},
		}},

		{"shows versions before the ones below them", func(_ *testing.T, v *variant) {
			wait := v.unevenlySeen()
			v.publish = func(list []evsourcing.StoredEvent) {
				v.showInLog(list)
				if list[0].Stream == stream("shared") { // where the next caller has a higher version
					v.mu.Unlock()
					wait()
					v.mu.Lock()
				}
				v.showInStreams(list)
			}
		}, []accusation{
			{"promise 4", "readers who follow a stream while writers race see every version", "after version"},
		}},

		{"shows one event of an append after the other", func(_ *testing.T, v *variant) {
			v.publish = func(list []evsourcing.StoredEvent) {
				for i := range list {
					v.show(list[i : i+1])
					v.mu.Unlock()
					linger()
					v.mu.Lock()
				}
			}
		}, []accusation{
			{"promise 2", "readers see an append whole or not at all", "part of an append"},
		}},
	}
}
