package storetest

import (
	"context"
	"iter"
	"slices"
	"sort"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func (s *simpleStore) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		if err := id.Validate(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		s.read(ctx, func() []evsourcing.StoredEvent { return s.streams[id] }, versionOf, r, yield)
	}
}

func (s *simpleStore) Events(ctx context.Context, r evsourcing.Range, _ evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		s.read(ctx, func() []evsourcing.StoredEvent { return s.log }, positionOf, r, yield)
	}
}

// read yields the range page by page.
func (s *simpleStore) read(ctx context.Context, list func() []evsourcing.StoredEvent, number func(evsourcing.StoredEvent) uint64,
	r evsourcing.Range, yield func(evsourcing.StoredEvent, error) bool) {
	const pageSize = 64
	for left := r.Limit; ; {
		if err := ctx.Err(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		size := pageSize
		if r.Limit > 0 {
			size = min(size, left)
		}
		s.reads.Add(1)
		s.mu.Lock()
		page := s.copyOut(firstPage(list(), number, r, size))
		s.mu.Unlock()
		for _, e := range page {
			if err := ctx.Err(); err != nil {
				yield(evsourcing.StoredEvent{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		left -= len(page)
		if len(page) < size || r.Limit > 0 && left == 0 {
			return
		}
		if last := number(page[len(page)-1]); !r.Backward {
			r.After = last
		} else if r.Until = last - 1; r.Until == 0 {
			return
		}
	}
}

// firstPage returns the first events of a range, at most size.
func firstPage(list []evsourcing.StoredEvent, number func(evsourcing.StoredEvent) uint64, r evsourcing.Range, size int) []evsourcing.StoredEvent {
	low := sort.Search(len(list), func(i int) bool { return number(list[i]) > r.After })
	high := len(list)
	if r.Until != 0 {
		high = sort.Search(len(list), func(i int) bool { return number(list[i]) > r.Until })
	}
	if low >= high {
		return nil
	}
	if !r.Backward {
		return slices.Clone(list[low:min(high, low+size)])
	}
	events := slices.Clone(list[max(low, high-size):high])
	slices.Reverse(events)
	return events
}

func (s *simpleStore) Head(ctx context.Context) (evsourcing.Mark, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Mark{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.log) == 0 {
		return evsourcing.Mark{}, nil
	}
	last := s.log[len(s.log)-1]
	return evsourcing.Mark{Position: last.Position, EventID: last.ID}, nil
}

func (s *simpleStore) Wait(ctx context.Context, after uint64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		wake, beyond := s.wake, len(s.log) > 0 && s.log[len(s.log)-1].Position > after
		s.mu.Unlock()
		if beyond {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

func (s *simpleStore) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.places[event]
	if !ok || p.stream != id {
		return 0, false, nil
	}
	return p.version, true, nil
}
