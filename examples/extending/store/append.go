package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evsourcing/evsourcing"
)

// What an append has to find out before it writes. All of it runs in turn.

// repetition returns the result of an append that is stored already, and an
// error if its events are stored in part or elsewhere.
func (s *Store) repetition(batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
	result := evsourcing.AppendResult{Versions: make([]uint64, len(batches))}
	known, repeated := false, true
	for i, b := range batches {
		version := b.Expected
		for j, e := range b.Events {
			at, ok := s.ids[e.ID]
			if !ok {
				repeated = false
				continue
			}
			known = true
			stored := &s.log[at]
			if b.Expected == evsourcing.AnyVersion && j == 0 {
				version = stored.Version - 1
			}
			version++
			repeated = repeated && stored.Stream == b.Stream && stored.Version == version
			result.Position = max(result.Position, stored.Position)
		}
		result.Versions[i] = version
	}
	if !known {
		return evsourcing.AppendResult{}, nil
	}
	if !repeated {
		return evsourcing.AppendResult{}, fmt.Errorf("%w: in the append to %v", evsourcing.ErrDuplicateEvent, batches[0].Stream)
	}
	result.Repeated = true
	return result, nil
}

// conflict returns an error if a stream is not at the version that its batch
// expects.
func (s *Store) conflict(batches []evsourcing.Batch) error {
	for _, b := range batches {
		actual := uint64(len(s.streams[b.Stream]))
		if b.Expected != evsourcing.AnyVersion && b.Expected != actual {
			return &evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: actual}
		}
	}
	return nil
}

// number returns the events as they are to be stored, and where that is.
func (s *Store) number(batches []evsourcing.Batch) (events []evsourcing.StoredEvent, result evsourcing.AppendResult) {
	position := uint64(len(s.log))
	for _, b := range batches {
		version := uint64(len(s.streams[b.Stream]))
		for _, e := range b.Events {
			version++
			position++
			e = clone(e)
			e.Stream, e.Version, e.Position = b.Stream, version, position
			e.Time = e.Time.UTC().Truncate(time.Microsecond)
			events = append(events, e)
		}
		result.Versions = append(result.Versions, version)
	}
	result.Position = position
	return events, result
}

// clone returns an event that shares no memory with e.
func clone(e evsourcing.StoredEvent) evsourcing.StoredEvent {
	e.Data = bytes.Clone(e.Data)
	e.Tags = slices.Clone(e.Tags)
	e.Metadata = maps.Clone(e.Metadata)
	return e
}
