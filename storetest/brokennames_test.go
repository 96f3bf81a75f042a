package storetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// rename stores streams under other names, and returns their events as if it
// did not.
func (v *variant) rename(f func(evsourcing.StreamID) evsourcing.StreamID) {
	var names sync.Map // of event IDs
	restore := editEvents(func(e *evsourcing.StoredEvent) {
		if name, ok := names.Load(e.ID); ok {
			e.Stream = name.(evsourcing.StreamID)
		}
	})
	v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
		if err := evsourcing.Validate(batches...); err != nil {
			return evsourcing.AppendResult{}, err
		}
		list := edited(batches, func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{} })
		for i, b := range batches {
			list[i].Stream = f(b.Stream)
			for _, e := range b.Events {
				names.Store(e.ID, b.Stream)
			}
		}
		return v.simpleStore.Append(ctx, list...)
	}
	v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		return restore(v.simpleStore.Load(ctx, f(id), r))
	}
	v.events = func(ctx context.Context, r evsourcing.Range, filter evsourcing.Filter) eventSeq {
		return restore(v.simpleStore.Events(ctx, r, filter))
	}
}

// renameEach renames type and ID.
func (v *variant) renameEach(f func(string) string) {
	v.rename(func(id evsourcing.StreamID) evsourcing.StreamID {
		return evsourcing.StreamID{Type: f(id.Type), ID: f(id.ID)}
	})
}

// without removes what is bad, unless nothing is left then.
func without(bad string) func(string) string {
	return func(s string) string {
		if t := strings.ReplaceAll(s, bad, ""); t != "" {
			return t
		}
		return s
	}
}

func brokenNames() []brokenStore {
	const (
		streams = "streams with hostile and similar names are kept apart"
		joined  = "streams whose type and ID join to the same text are kept apart"
		fields  = "hostile names of topics and other fields come back"
		filters = "the log finds hostile topics and types"
		invalid = "appends with bad input are refused and store nothing"
	)
	return []brokenStore{
		{"folds the case of names", func(_ *testing.T, v *variant) {
			v.renameEach(strings.ToLower)
		}, []accusation{{"promise 5", streams, "version conflict"}}},

		{"ignores trailing spaces of names", func(_ *testing.T, v *variant) {
			v.renameEach(func(s string) string {
				if t := strings.TrimRight(s, " "); t != "" {
					return t
				}
				return s
			})
		}, []accusation{{"promise 5", streams, "version conflict"}}},

		{"normalises names", func(_ *testing.T, v *variant) {
			v.renameEach(strings.NewReplacer("e\u0301", "é", "n\u0303", "ñ").Replace)
		}, []accusation{{"promise 5", streams, "version conflict"}}},

		{"takes names for numbers", func(_ *testing.T, v *variant) {
			v.renameEach(func(s string) string {
				if s == "01" || s == "1.0" || s == "1e0" || s == "+1" {
					return "1"
				}
				return s
			})
		}, []accusation{{"promise 5", streams, "version conflict"}}},

		{"cuts names", func(_ *testing.T, v *variant) {
			v.renameEach(func(s string) string { return strings.ToValidUTF8(s[:min(len(s), 255)], "") })
		}, []accusation{{"promise 5", streams, "version conflict"}}},

		{"joins type and ID", func(_ *testing.T, v *variant) {
			v.rename(func(id evsourcing.StreamID) evsourcing.StreamID {
				return evsourcing.StreamID{Type: "all", ID: id.Type + "-" + id.ID}
			})
		}, []accusation{{"promise 5", joined, "version conflict"}}},

		{"joins type and ID as a path", func(_ *testing.T, v *variant) {
			v.rename(func(id evsourcing.StreamID) evsourcing.StreamID {
				return evsourcing.StreamID{Type: "all", ID: id.String()}
			})
		}, []accusation{{"promise 5", joined, "version conflict"}}},

		{"trims topics and tags", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) {
				e.Topic = without(" ")(e.Topic)
				for i, tag := range e.Tags {
					e.Tags[i] = without(" ")(tag)
				}
			})
		}, []accusation{{"promise 5", fields, "Topic is"}}},

		{"folds metadata keys", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) {
				m := evsourcing.Metadata{}
				for k, value := range e.Metadata {
					m[strings.ToLower(k)] = value
				}
				e.Metadata = m
			})
		}, []accusation{
			{"promise 5", fields, "Metadata is"},
			{"promise 5", "tags and metadata come back", "Metadata is"},
		}},

		{"passes the names of a filter as a list with commas", func(_ *testing.T, v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				split := func(names []string) []string {
					if len(names) == 0 {
						return nil
					}
					return strings.Split(strings.Join(names, ","), ",")
				}
				return matching(v.simpleStore.Events(ctx, r, f), evsourcing.Filter{Topics: split(f.Topics), Types: split(f.Types)}, 0)
			}
		}, []accusation{{"promise 5", filters, `lacks position`}}},

		{"cannot index long names", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) { e.Topic = strings.ToValidUTF8(e.Topic[:min(len(e.Topic), 255)], "") })
		}, []accusation{{"promise 8", "names as long as may be are accepted", "Topic is"}}},

		{"accepts NUL bytes", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) { e.Topic = without("\x00")(e.Topic) })
		}, []accusation{{"promise 8", invalid, "an append with a topic with a NUL byte was accepted"}}},

		{"accepts invalid UTF-8", func(_ *testing.T, v *variant) {
			v.editIn(func(e *evsourcing.StoredEvent) {
				for k, value := range e.Metadata {
					e.Metadata[k] = strings.ToValidUTF8(value, "?")
				}
			})
		}, []accusation{{"promise 8", invalid, "an append with a metadata value with invalid UTF-8 was accepted"}}},

		{"numbers versions itself", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				list := slices.Clone(batches)
				for i, b := range batches {
					list[i] = batchOf(b.Stream, b.Expected, b.Events...)
				}
				return v.simpleStore.Append(ctx, list...)
			}
		}, []accusation{
			{"promise 8", invalid, "an append with a missing version was accepted"},
			{"promise 8", invalid, "an append with a version left out was accepted"},
			{"promise 8", invalid, "an append with an event of another stream was accepted"},
		}},

		{"accepts empty batches", func(_ *testing.T, v *variant) {
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				list := slices.DeleteFunc(slices.Clone(batches), func(b evsourcing.Batch) bool { return len(b.Events) == 0 })
				if len(list) == 0 {
					return evsourcing.AppendResult{}, nil
				}
				return v.simpleStore.Append(ctx, list...)
			}
		}, []accusation{
			{"promise 8", invalid, "an append with no batches was accepted"},
			{"promise 8", invalid, "an append with a batch of no events after a good one was accepted"},
		}},

		{"finds nothing in streams with bad names", func(_ *testing.T, v *variant) {
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				if id.Validate() != nil {
					return func(func(evsourcing.StoredEvent, error) bool) {}
				}
				return v.simpleStore.Load(ctx, id, r)
			}
		}, []accusation{{"promise 8", "loading a stream with a bad name is refused", "want only ErrInvalidStream"}}},
	}
}

// matching returns the events of seq that a filter lets pass, up to a limit if
// that is positive.
func matching(seq eventSeq, f evsourcing.Filter, limit int) eventSeq {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		count := 0
		for e, err := range seq {
			if err == nil && !f.Match(e) {
				continue
			}
			if count++; !yield(e, err) || count == limit {
				return
			}
		}
	}
}
