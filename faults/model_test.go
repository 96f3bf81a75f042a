package faults

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A model is what a store should hold, and says what it should answer. It is
// written from the interfaces' comments, as plainly as can be.
type model struct {
	log         []evsourcing.StoredEvent // in the order of positions
	streams     map[evsourcing.StreamID][]evsourcing.StoredEvent
	places      map[uuid.UUID]place
	snapshots   map[evsourcing.StreamID]evsourcing.Snapshot
	checkpoints map[string]checkpoint
}

// A place is where an event stands.
type place struct {
	stream            evsourcing.StreamID
	version, position uint64
}

// A checkpoint is what a store keeps under a name.
type checkpoint struct {
	evsourcing.Checkpoint        // Token: the highest that was claimed or saved
	saved                 bool   // what was only claimed is no checkpoint
	owner                 string // whose lease lasts, or ""
}

func newModel() *model {
	return &model{
		streams:     map[evsourcing.StreamID][]evsourcing.StoredEvent{},
		places:      map[uuid.UUID]place{},
		snapshots:   map[evsourcing.StreamID]evsourcing.Snapshot{},
		checkpoints: map[string]checkpoint{},
	}
}

// version returns the version of the last event of a stream.
func (m *model) version(id evsourcing.StreamID) uint64 { return uint64(len(m.streams[id])) }

// head returns the mark of the last event.
func (m *model) head() evsourcing.Mark {
	if len(m.log) == 0 {
		return evsourcing.Mark{}
	}
	last := m.log[len(m.log)-1]
	return evsourcing.Mark{Position: last.Position, EventID: last.ID}
}

// A verdict is what should become of an append.
type verdict struct {
	err       error // nil, ErrDuplicateEvent or ErrConflict
	repeated  bool
	conflicts []evsourcing.ConflictError // one of which an ErrConflict is
	versions  []uint64                   // of a repetition
	positions []uint64                   // of a repetition: the greatest, and that of the last event
}

// judge says what should become of a valid append now.
func (m *model) judge(batches []evsourcing.Batch) verdict {
	known, repeated := 0, true
	v := verdict{positions: []uint64{0, 0}}
	for _, b := range batches {
		next := b.Expected + 1
		for i, e := range b.Events {
			old, ok := m.places[e.ID]
			if !ok {
				repeated = false
				continue
			}
			known++
			if i == 0 && b.Expected == evsourcing.AnyVersion {
				next = old.version
			}
			repeated = repeated && old.stream == b.Stream && old.version == next
			next++
			v.positions = []uint64{max(v.positions[0], old.position), old.position}
		}
		v.versions = append(v.versions, next-1)
		if actual := m.version(b.Stream); b.Expected != evsourcing.AnyVersion && b.Expected != actual {
			v.conflicts = append(v.conflicts, evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: actual})
		}
	}
	switch {
	case known > 0 && repeated:
		v.repeated = true
	case known > 0:
		v.err = evsourcing.ErrDuplicateEvent
	case len(v.conflicts) > 0:
		v.err = evsourcing.ErrConflict
	}
	return v
}

// fresh reports whether the append should be stored.
func (v verdict) fresh() bool { return v.err == nil && !v.repeated }

// refute returns what is wrong with the answer to an append that should not be
// stored, or nil.
func (v verdict) refute(result evsourcing.AppendResult, err error) error {
	switch {
	case v.err != nil && !errors.Is(err, v.err):
		return fmt.Errorf("Append returned %+v and the error %v, want %v", result, err, v.err)
	case v.err == evsourcing.ErrDuplicateEvent && errors.Is(err, evsourcing.ErrConflict):
		return fmt.Errorf("Append returned %v, which is a conflict too", err)
	case v.err == evsourcing.ErrConflict:
		var conflict *evsourcing.ConflictError
		if !errors.As(err, &conflict) {
			return fmt.Errorf("Append returned %v, which is no *ConflictError", err)
		}
		if !slices.Contains(v.conflicts, *conflict) {
			return fmt.Errorf("Append returned %+v, want one of %+v", *conflict, v.conflicts)
		}
	case v.err != nil:
	case err != nil:
		return fmt.Errorf("repeating an append failed: %v", err)
	case !result.Repeated:
		return fmt.Errorf("Append returned %+v for a repetition, which does not say Repeated", result)
	case !slices.Equal(result.Versions, v.versions):
		return fmt.Errorf("Append returned versions %v for a repetition, want %v", result.Versions, v.versions)
	case !slices.Contains(v.positions, result.Position):
		return fmt.Errorf("Append returned position %d for a repetition, want %d", result.Position, v.positions[0])
	}
	return nil
}

// settle compares the answer to a valid append with what it should be, and
// takes in what was stored.
func (m *model) settle(batches []evsourcing.Batch, result evsourcing.AppendResult, err error) error {
	v := m.judge(batches)
	if !v.fresh() {
		return v.refute(result, err)
	}
	if err != nil {
		return fmt.Errorf("Append failed: %v", err)
	}
	if result.Repeated {
		return fmt.Errorf("Append returned %+v for new events, which says Repeated", result)
	}
	return m.add(batches, result)
}

// add takes in the events of a new append, as they should come back.
func (m *model) add(batches []evsourcing.Batch, result evsourcing.AppendResult) error {
	var list []evsourcing.StoredEvent
	var versions []uint64
	for _, b := range batches {
		version := m.version(b.Stream)
		for _, e := range b.Events {
			e = clone(e)
			version++
			e.Stream, e.Version, e.Time = b.Stream, version, stored(e.Time)
			list = append(list, e)
		}
		versions = append(versions, version)
	}
	if !slices.Equal(result.Versions, versions) {
		return fmt.Errorf("Append returned versions %v, want %v", result.Versions, versions)
	}
	if n := uint64(len(list)); result.Position > 1<<63-1 || result.Position < m.head().Position+n {
		return fmt.Errorf("Append returned position %d for the last of %d events, though the head was at %d", result.Position, n, m.head().Position)
	}
	for i := range list {
		list[i].Position = result.Position - uint64(len(list)-1-i)
	}
	for _, e := range list {
		m.log = append(m.log, e)
		m.streams[e.Stream] = append(m.streams[e.Stream], e)
		m.places[e.ID] = place{e.Stream, e.Version, e.Position}
	}
	return nil
}

// selected returns what a range selects of events in the order of their numbers.
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
