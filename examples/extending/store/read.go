package store

import (
	"context"
	"iter"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// Load implements [evsourcing.EventStore]. It yields what was stored when the
// caller began to range over it.
func (s *Store) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		if err := id.Validate(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		s.mu.RLock()
		log, stream := s.log, s.streams[id]
		s.mu.RUnlock()
		at := func(version uint64) *evsourcing.StoredEvent { return &log[stream[version-1]] }
		read(ctx, uint64(len(stream)), at, r, evsourcing.Filter{}, yield)
	}
}

// Events implements [evsourcing.Log], like Load.
func (s *Store) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		s.mu.RLock()
		log := s.log
		s.mu.RUnlock()
		at := func(position uint64) *evsourcing.StoredEvent { return &log[position-1] }
		read(ctx, uint64(len(log)), at, r, f, yield)
	}
}

// read yields a range of the events at 1 to last. It holds no lock: events that
// are shown never change, and lists only grow beyond what this one has of them.
func read(ctx context.Context, last uint64, at func(uint64) *evsourcing.StoredEvent, r evsourcing.Range, f evsourcing.Filter,
	yield func(evsourcing.StoredEvent, error) bool) {
	low, high, left := min(r.After, last), last, r.Limit
	if r.Until != 0 {
		high = min(r.Until, last)
	}
	for {
		if err := ctx.Err(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		if low >= high {
			return
		}
		number := low + 1
		if r.Backward {
			number = high
			high--
		} else {
			low++
		}
		e := at(number)
		if !f.Match(*e) {
			continue
		}
		if !yield(clone(*e), nil) {
			return
		}
		if left--; left == 0 { // a limit of none is never reached
			return
		}
	}
}

// Head implements [evsourcing.Log].
func (s *Store) Head(ctx context.Context) (evsourcing.Mark, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Mark{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.log) == 0 {
		return evsourcing.Mark{}, nil
	}
	last := &s.log[len(s.log)-1]
	return evsourcing.Mark{Position: last.Position, EventID: last.ID}, nil
}

// Find implements [evsourcing.Finder].
func (s *Store) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (version uint64, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, ok := s.ids[event]
	if !ok || s.log[at].Stream != id {
		return 0, false, nil
	}
	return s.log[at].Version, true, nil
}
