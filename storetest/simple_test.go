package storetest

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// simpleStore is a correct store, as simple as can be, with all capabilities.
// It uses all the freedom that the contract leaves, to show that the suite asks
// for no more: it leaves gaps between positions, reads pages, and takes no
// notice of filters. The broken stores are variations of it.
type simpleStore struct {
	mu          sync.Mutex // guards everything below
	log         []evsourcing.StoredEvent
	streams     map[evsourcing.StreamID][]evsourcing.StoredEvent
	heads       map[evsourcing.StreamID]uint64
	places      map[uuid.UUID]place
	position    uint64        // the last one given out
	wake        chan struct{} // closed by the next append
	snapshots   map[evsourcing.StreamID]evsourcing.Snapshot
	checkpoints map[string]*lease

	reads atomic.Int64 // pages that were read
	hooks
}

// hooks are where broken stores differ.
type hooks struct {
	between func()                                                  // nil, or called without the lock between looking and writing
	number  func(evsourcing.StreamID) uint64                        // draws the next position
	publish func([]evsourcing.StoredEvent)                          // shows an append to readers
	copyIn  func(evsourcing.StoredEvent) evsourcing.StoredEvent     // of what is passed
	copyOut func([]evsourcing.StoredEvent) []evsourcing.StoredEvent // of a page that is read
	round   func(time.Time) time.Time
}

// A place is where an event stands.
type place struct {
	stream   evsourcing.StreamID
	version  uint64
	position uint64
}

type lease struct {
	evsourcing.Checkpoint
	saved bool
	owner string
	until time.Time
}

func newSimpleStore() *simpleStore {
	s := &simpleStore{
		heads:       map[evsourcing.StreamID]uint64{},
		streams:     map[evsourcing.StreamID][]evsourcing.StoredEvent{},
		places:      map[uuid.UUID]place{},
		wake:        make(chan struct{}),
		snapshots:   map[evsourcing.StreamID]evsourcing.Snapshot{},
		checkpoints: map[string]*lease{},
	}
	s.hooks = hooks{
		number:  func(evsourcing.StreamID) uint64 { return s.position + 1 },
		publish: s.show,
		copyIn:  clone,
		copyOut: cloneAll,
		round:   func(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) },
	}
	return s
}

func cloneAll(list []evsourcing.StoredEvent) []evsourcing.StoredEvent {
	list = slices.Clone(list)
	for i := range list {
		list[i] = clone(list[i])
	}
	return list
}

// pause gives others the lock, in a broken store.
func (s *simpleStore) pause() {
	if s.between != nil {
		s.mu.Unlock()
		s.between()
		s.mu.Lock()
	}
}

func (s *simpleStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.AppendResult{}, err
	}
	if err := evsourcing.Validate(batches...); err != nil {
		return evsourcing.AppendResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if result, err := s.repetition(batches); err != nil || result.Repeated {
		return result, err
	}
	if err := s.conflict(batches); err != nil {
		return evsourcing.AppendResult{}, err
	}
	s.pause()
	return s.write(batches), nil
}

// repetition returns the result of an append that is stored already, and an
// error if it is stored in part or elsewhere.
func (s *simpleStore) repetition(batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
	result := evsourcing.AppendResult{Versions: make([]uint64, len(batches))}
	known, repeated := false, true
	for i, b := range batches {
		next := b.Expected + 1
		for j, e := range b.Events {
			p, ok := s.places[e.ID]
			known = known || ok
			if j == 0 && b.Expected == evsourcing.AnyVersion {
				next = p.version
			}
			repeated = repeated && ok && p.stream == b.Stream && p.version == next
			result.Position = max(result.Position, p.position)
			result.Versions[i] = next
			next++
		}
	}
	if !known {
		return evsourcing.AppendResult{}, nil
	}
	if !repeated {
		return evsourcing.AppendResult{}, fmt.Errorf("%w in the append to %v", evsourcing.ErrDuplicateEvent, batches[0].Stream)
	}
	result.Repeated = true
	return result, nil
}

func (s *simpleStore) conflict(batches []evsourcing.Batch) error {
	for _, b := range batches {
		if actual := s.heads[b.Stream]; b.Expected != evsourcing.AnyVersion && b.Expected != actual {
			return &evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: actual}
		}
	}
	return nil
}

// write stores all batches.
func (s *simpleStore) write(batches []evsourcing.Batch) evsourcing.AppendResult {
	s.position += s.position % 3 // a gap now and then
	var result evsourcing.AppendResult
	var list []evsourcing.StoredEvent
	for _, b := range batches {
		for _, e := range b.Events {
			e = s.copyIn(e)
			s.heads[b.Stream]++
			s.position = s.number(b.Stream)
			e.Stream, e.Version, e.Position, e.Time = b.Stream, s.heads[b.Stream], s.position, s.round(e.Time)
			s.places[e.ID] = place{e.Stream, e.Version, e.Position}
			list = append(list, e)
		}
		result.Versions = append(result.Versions, s.heads[b.Stream])
	}
	s.publish(list)
	s.notify()
	result.Position = list[len(list)-1].Position
	return result
}

func (s *simpleStore) show(list []evsourcing.StoredEvent) {
	s.showInStreams(list)
	s.showInLog(list)
}

// The lists are kept in order, whatever the order in which broken stores show
// events.

func (s *simpleStore) showInStreams(list []evsourcing.StoredEvent) {
	for _, e := range list {
		s.streams[e.Stream] = insert(s.streams[e.Stream], e, versionOf)
	}
}

func (s *simpleStore) showInLog(list []evsourcing.StoredEvent) {
	for _, e := range list {
		s.log = insert(s.log, e, positionOf)
	}
}

func insert(list []evsourcing.StoredEvent, e evsourcing.StoredEvent, number func(evsourcing.StoredEvent) uint64) []evsourcing.StoredEvent {
	i := sort.Search(len(list), func(i int) bool { return number(list[i]) > number(e) })
	return slices.Insert(list, i, e)
}

func (s *simpleStore) notify() {
	close(s.wake)
	s.wake = make(chan struct{})
}
