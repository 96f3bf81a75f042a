package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

const testTopic = "storetest.happened"

// stream returns the ID of one of the suite's ordinary streams.
func stream(name string) evsourcing.StreamID {
	return evsourcing.StreamID{Type: "storetest", ID: name}
}

// newEvent returns an event with a fresh ID and data of its own.
func newEvent() evsourcing.StoredEvent {
	id := uuid.New()
	return evsourcing.StoredEvent{
		ID:          id,
		Topic:       testTopic,
		ContentType: "application/json",
		Data:        []byte(`{"event":"` + id.String() + `"}`),
		Time:        time.Date(2024, 2, 29, 12, 30, 59, 123456000, time.UTC),
	}
}

// newBatch returns a batch of n new events.
func newBatch(id evsourcing.StreamID, expected uint64, n int) evsourcing.Batch {
	list := make([]evsourcing.StoredEvent, n)
	for i := range list {
		list[i] = newEvent()
	}
	return batchOf(id, expected, list...)
}

// batchOf returns a batch of copies of the events, with the versions that the
// expected one asks for.
func batchOf(id evsourcing.StreamID, expected uint64, events ...evsourcing.StoredEvent) evsourcing.Batch {
	b := evsourcing.Batch{Stream: id, Expected: expected}
	for i, e := range events {
		e = clone(e)
		e.Stream, e.Version, e.Position = id, 0, 0
		if expected != evsourcing.AnyVersion {
			e.Version = expected + uint64(i) + 1
		}
		b.Events = append(b.Events, e)
	}
	return b
}

// clone returns a copy of e that shares no memory with it.
func clone(e evsourcing.StoredEvent) evsourcing.StoredEvent {
	e.Data = bytes.Clone(e.Data)
	e.Tags = slices.Clone(e.Tags)
	e.Metadata = maps.Clone(e.Metadata)
	return e
}

// A model is what a store should hold.
type model struct {
	mu      sync.Mutex // guards what follows
	streams map[evsourcing.StreamID][]evsourcing.StoredEvent
}

// add notes the events of an acknowledged append, as they should come back. It
// returns an error if the result can't be that of the append.
func (m *model) add(result evsourcing.AppendResult, batches ...evsourcing.Batch) error {
	if len(result.Versions) != len(batches) {
		return fmt.Errorf("the result has %d versions for %d batches", len(result.Versions), len(batches))
	}
	count := uint64(0)
	for i, b := range batches {
		n := uint64(len(b.Events))
		count += n
		if want := b.Expected + n; b.Expected != evsourcing.AnyVersion && result.Versions[i] != want {
			return fmt.Errorf("the result has version %d for batch %d, want %d", result.Versions[i], i, want)
		}
		if result.Versions[i] < n {
			return fmt.Errorf("the result has version %d for batch %d of %d events", result.Versions[i], i, n)
		}
	}
	if result.Position < count {
		return fmt.Errorf("the result has position %d for the last of %d events", result.Position, count)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.streams == nil {
		m.streams = map[evsourcing.StreamID][]evsourcing.StoredEvent{}
	}
	position := result.Position - count
	for i, b := range batches {
		version := result.Versions[i] - uint64(len(b.Events))
		for _, e := range b.Events {
			position++
			version++
			e = clone(e)
			e.Stream, e.Version, e.Position = b.Stream, version, position
			e.Time = e.Time.UTC().Truncate(time.Microsecond)
			m.streams[b.Stream] = append(m.streams[b.Stream], e)
		}
	}
	return nil
}

// stream returns what the stream should hold, by version.
func (m *model) stream(id evsourcing.StreamID) []evsourcing.StoredEvent {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.streams[id])
	slices.SortStableFunc(list, func(a, b evsourcing.StoredEvent) int { return cmp.Compare(a.Version, b.Version) })
	return list
}

// log returns what the whole store should hold, by position.
func (m *model) log() []evsourcing.StoredEvent {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []evsourcing.StoredEvent
	for _, events := range m.streams {
		list = append(list, events...)
	}
	slices.SortStableFunc(list, func(a, b evsourcing.StoredEvent) int { return cmp.Compare(a.Position, b.Position) })
	return list
}

func (m *model) ids() []evsourcing.StreamID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.streams))
}

// verify compares the store with the model: every stream, and the log if the
// store is one.
func (s *suite) verify() {
	s.t.Helper()
	for _, id := range s.model.ids() {
		s.verifyStream(id)
	}
	if _, ok := s.log(); ok {
		s.compare("Events", s.events(evsourcing.Range{}, evsourcing.Filter{}), s.model.log())
	}
}

// verifyStream compares one stream with the model.
func (s *suite) verifyStream(id evsourcing.StreamID) {
	s.t.Helper()
	s.compare(fmt.Sprintf("Load of %v", id), s.load(id, evsourcing.Range{}), s.model.stream(id))
}

// compare fails the case if the lists differ, and reports whether they are
// equal.
func (s *suite) compare(what string, got, want []evsourcing.StoredEvent) bool {
	s.t.Helper()
	for i := range min(len(got), len(want)) {
		if d := difference(got[i], want[i]); d != "" {
			s.errorf("%s: event %d of %d: %s", what, i+1, len(want), d)
			return false
		}
	}
	if len(got) != len(want) {
		s.errorf("%s: got %d events, want %d", what, len(got), len(want))
		return false
	}
	return true
}

// difference describes the first difference between two events, or returns "".
func difference(got, want evsourcing.StoredEvent) string {
	report := func(field string, got, want any) string {
		return fmt.Sprintf("%s is %v, want %v", field, got, want)
	}
	quote := func(v any) string { return fmt.Sprintf("%.100q", v) }
	switch {
	case got.ID != want.ID:
		return report("ID", fmt.Sprintf("%v (version %d, position %d)", got.ID, got.Version, got.Position),
			fmt.Sprintf("%v (version %d, position %d)", want.ID, want.Version, want.Position))
	case got.Stream != want.Stream:
		return report("Stream", quote(got.Stream), quote(want.Stream))
	case got.Version != want.Version:
		return report("Version", got.Version, want.Version)
	case got.Position != want.Position:
		return report("Position", got.Position, want.Position)
	case got.Topic != want.Topic:
		return report("Topic", quote(got.Topic), quote(want.Topic))
	case got.ContentType != want.ContentType:
		return report("ContentType", quote(got.ContentType), quote(want.ContentType))
	case !bytes.Equal(got.Data, want.Data):
		return report(fmt.Sprintf("Data (%d bytes, want %d)", len(got.Data), len(want.Data)),
			quote(shorten(got.Data)), quote(shorten(want.Data)))
	case !slices.Equal(got.Tags, want.Tags):
		return report("Tags", quote(got.Tags), quote(want.Tags))
	case !maps.Equal(got.Metadata, want.Metadata):
		return report("Metadata", quote(got.Metadata), quote(want.Metadata))
	case !got.Time.Equal(want.Time):
		return report("Time", got.Time.Format(time.RFC3339Nano), want.Time.Format(time.RFC3339Nano))
	case got.Time.Location() != time.UTC:
		return report("Time's location", got.Time.Location(), time.UTC)
	}
	return ""
}

func shorten(data []byte) []byte { return data[:min(len(data), 60)] }

// selected returns what a range selects of events that are in ascending order
// of their numbers.
func selected(events []evsourcing.StoredEvent, number func(evsourcing.StoredEvent) uint64, r evsourcing.Range) []evsourcing.StoredEvent {
	var list []evsourcing.StoredEvent
	for _, e := range events {
		if n := number(e); n > r.After && (r.Until == 0 || n <= r.Until) {
			list = append(list, e)
		}
	}
	if r.Backward {
		slices.Reverse(list)
	}
	if r.Limit > 0 && len(list) > r.Limit {
		list = list[:r.Limit]
	}
	return list
}

func versionOf(e evsourcing.StoredEvent) uint64  { return e.Version }
func positionOf(e evsourcing.StoredEvent) uint64 { return e.Position }
