package engine

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A Place is where an event stands.
type Place struct {
	Stream            evsourcing.StreamID
	Version, Position uint64
}

// A Lookup answers questions about what is stored, all at one moment.
type Lookup interface {
	// Find returns where the event with the ID stands.
	Find(id uuid.UUID) (p Place, ok bool, err error)
	// Version returns the stream's version.
	Version(id evsourcing.StreamID) (uint64, error)
}

// Judge says what becomes of an append, by promise 3 of
// [evsourcing.EventStore]: it can be stored (fresh), or was before (the result
// is the original's, Repeated), or is refused with an ErrDuplicateEvent or a
// ConflictError. Any other error is the lookup's.
func Judge(batches []evsourcing.Batch, l Lookup) (result evsourcing.AppendResult, fresh bool, err error) {
	for i := range batches {
		for j := range batches[i].Events {
			id := batches[i].Events[j].ID
			p, ok, err := l.Find(id)
			if err != nil {
				return result, false, err
			}
			if ok {
				result, err = repeated(batches, l, id, p)
				return result, false, err
			}
		}
	}
	for i := range batches {
		b := &batches[i]
		if b.Expected == evsourcing.AnyVersion {
			continue
		}
		v, err := l.Version(b.Stream)
		if err != nil {
			return result, false, err
		}
		if v != b.Expected {
			return result, false, &evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: v}
		}
	}
	return result, true, nil
}

// repeated answers an append of which the event id is stored at p.
func repeated(batches []evsourcing.Batch, l Lookup, id uuid.UUID, stored Place) (evsourcing.AppendResult, error) {
	result := evsourcing.AppendResult{Versions: make([]uint64, len(batches)), Repeated: true}
	for i := range batches {
		b := &batches[i]
		next := b.Expected + 1
		for j := range b.Events {
			p, ok, err := l.Find(b.Events[j].ID)
			if err != nil {
				return evsourcing.AppendResult{}, err
			}
			if ok && j == 0 && b.Expected == evsourcing.AnyVersion {
				next = p.Version
			}
			if !ok || p.Stream != b.Stream || p.Version != next {
				return evsourcing.AppendResult{}, fmt.Errorf("%w: %v is stored at version %d of %v",
					evsourcing.ErrDuplicateEvent, id, stored.Version, stored.Stream)
			}
			result.Position = max(result.Position, p.Position)
			next++
		}
		result.Versions[i] = next - 1
	}
	return result, nil
}
