package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func brokenData() []brokenStore {
	return []brokenStore{
		{"trims data", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) { e.Data = bytes.TrimSpace(e.Data) })
		}, []accusation{
			{"promise 5", "data comes back byte for byte", `want " spaces at both ends "`},
		}},

		{"keeps JSON as a tree", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) {
				var tree any
				if json.Unmarshal(e.Data, &tree) == nil {
					e.Data, _ = json.Marshal(tree)
				}
			})
		}, []accusation{
			{"promise 5", "data comes back byte for byte", `want "{\"b\":1, \"a\" : 2,\"b\":3}"`},
		}},

		{"keeps data as text", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) { e.Data = bytes.ToValidUTF8(e.Data, []byte("\ufffd")) })
		}, []accusation{
			{"promise 5", "data comes back byte for byte", `want "\xff"`},
		}},

		{"cuts data at 64 KiB", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) { e.Data = e.Data[:min(len(e.Data), 1<<16)] })
		}, []accusation{
			{"promise 5", "a megabyte of data comes back", "Data (65536 bytes, want 65537)"},
		}},

		{"refuses more than half a megabyte", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				for _, b := range batches {
					for _, e := range b.Events {
						if len(e.Data) > 1<<19 {
							return evsourcing.AppendResult{}, errors.New("packet too large")
						}
					}
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 5", "a megabyte of data comes back", "packet too large"},
			{"promise 8", "data as large as may be is accepted", "packet too large"},
		}},

		{"refuses long metadata and many tags", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				for _, b := range batches {
					for _, e := range b.Events {
						if len(fmt.Sprint(e.Tags, e.Metadata)) > 1<<16 {
							return evsourcing.AppendResult{}, errors.New("row too large")
						}
					}
				}
				return v.simpleStore.Append(ctx, batches...)
			}
		}, []accusation{
			{"promise 8", "tags and metadata as large as may be are accepted", "row too large"},
		}},

		{"keeps nanoseconds", func(_ *testing.T, v *variant) {
			v.round = time.Time.UTC
		}, []accusation{
			{"promise 5", "time comes back to the microsecond in UTC", "Time is"},
			{"SnapshotStore", "a snapshot comes back as it was", "the snapshot's time is"},
		}},

		{"keeps milliseconds", func(_ *testing.T, v *variant) {
			v.round = func(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
		}, []accusation{
			{"promise 5", "time comes back to the microsecond in UTC", "Time is"},
		}},

		{"rounds times up", func(_ *testing.T, v *variant) {
			v.round = func(t time.Time) time.Time { return t.UTC().Round(time.Microsecond) }
		}, []accusation{
			{"promise 5", "time comes back to the microsecond in UTC", "Time is"},
		}},

		{"returns local times", func(_ *testing.T, v *variant) {
			v.editOut(editEvents(func(e *evsourcing.StoredEvent) { e.Time = e.Time.In(time.FixedZone("here", 3600)) }))
		}, []accusation{
			{"promise 5", "time comes back to the microsecond in UTC", "Time's location is here, want UTC"},
		}},

		{"keeps the wall clock of a time", func(_ *testing.T, v *variant) {
			v.round = func(t time.Time) time.Time {
				return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond()/1000*1000, time.UTC)
			}
		}, []accusation{
			{"promise 5", "time comes back to the microsecond in UTC", "Time is"},
		}},

		{"keeps tags as a set", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) {
				slices.Sort(e.Tags)
				e.Tags = slices.Compact(e.Tags)
			})
		}, []accusation{
			{"promise 5", "tags and metadata come back", "Tags is"},
		}},

		{"drops empty metadata", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) {
				maps.DeleteFunc(e.Metadata, func(_, value string) bool { return value == "" })
			})
		}, []accusation{
			{"promise 5", "tags and metadata come back", "Metadata is"},
		}},

		{"keeps columns of the row before", func(_ *testing.T, v *variant) {
			v.editOut(func(seq eventSeq) eventSeq {
				var before evsourcing.StoredEvent
				return editEvents(func(e *evsourcing.StoredEvent) {
					if len(e.Tags) == 0 {
						e.Tags = before.Tags
					}
					before = *e
				})(seq)
			})
		}, []accusation{
			{"promise 5", "an event without extras comes back", "Tags is"},
		}},

		{"keeps the caller's memory", func(_ *testing.T, v *variant) {
			v.copyIn = func(e evsourcing.StoredEvent) evsourcing.StoredEvent { return e }
		}, []accusation{
			{"promise 5", "what was appended may be changed afterwards", "event 1 of"},
		}},

		{"keeps the caller's metadata", func(_ *testing.T, v *variant) {
			v.copyIn = func(e evsourcing.StoredEvent) evsourcing.StoredEvent {
				meta := e.Metadata
				e = clone(e)
				e.Metadata = meta
				return e
			}
		}, []accusation{
			{"promise 5", "what was appended may be changed afterwards", "Metadata is"},
		}},

		{"hands out its own memory", func(_ *testing.T, v *variant) {
			v.copyOut = func(list []evsourcing.StoredEvent) []evsourcing.StoredEvent { return list }
		}, []accusation{
			{"promise 5", "what was loaded may be changed", "Data (48 bytes, want 48) is"},
		}},

		{"hands out its own tags", func(_ *testing.T, v *variant) {
			v.copyOut = func(list []evsourcing.StoredEvent) []evsourcing.StoredEvent {
				own := cloneAll(list)
				for i := range own {
					own[i].Tags = list[i].Tags
				}
				return own
			}
		}, []accusation{
			{"promise 5", "what was loaded may be changed", "Tags is"},
		}},

		{"hands out the data of a page as one array", func(_ *testing.T, v *variant) {
			v.copyOut = func(list []evsourcing.StoredEvent) []evsourcing.StoredEvent {
				list = cloneAll(list)
				var data []byte
				for _, e := range list {
					data = append(data, e.Data...)
				}
				for i := range list {
					n := len(list[i].Data)
					list[i].Data, data = data[:n], data[n:]
				}
				return list
			}
		}, []accusation{
			{"promise 5", "events that were loaded share no memory", "changed event 2: Data"},
		}},

		{"hands out equal metadata as one map", func(_ *testing.T, v *variant) {
			v.copyOut = func(list []evsourcing.StoredEvent) []evsourcing.StoredEvent {
				list = cloneAll(list)
				seen := map[string]evsourcing.Metadata{}
				for i := range list {
					text := fmt.Sprint(list[i].Metadata)
					if seen[text] == nil {
						seen[text] = list[i].Metadata
					}
					list[i].Metadata = seen[text]
				}
				return list
			}
		}, []accusation{
			{"promise 5", "events that were loaded share no memory", "changed event 9: Metadata"},
		}},

		{"changes what it is given", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := v.simpleStore.Append(ctx, batches...)
				for i := range batches {
					for j := range batches[i].Events {
						batches[i].Events[j].Position = result.Position
					}
				}
				return result, err
			}
		}, []accusation{
			{"promise 5", "an append does not change what it is given", "batch 0 was changed"},
		}},

		{"keeps the result of an append", func(_ *testing.T, v *variant) {
			results := map[uuid.UUID]evsourcing.AppendResult{}
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if result, ok := results[batches[0].Events[0].ID]; ok {
					result.Repeated = true
					return result, nil
				}
				result, err := v.simpleStore.Append(ctx, batches...)
				results[batches[0].Events[0].ID] = result
				return result, err
			}
		}, []accusation{
			{"promise 5", "the result of an append may be changed", "after a caller changed its result"},
		}},
	}
}
