package evsourcing

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"sync"
	"time"

	"github.com/google/uuid"
)

// MemoryStore is an [EventStore] in memory, the embedded default, with every
// capability: [Log], [Waiter], [Finder], [SnapshotStore], [CheckpointStore] and
// [Claimer]. It keeps bytes, like a store on disk, so that what works on it
// works there. It is durable as long as the process lives, and it only grows.
//
// Events are kept in large blocks without pointers, which the garbage collector
// does not look into, so that the cost of an operation hardly rises with the
// number of events and streams.
type MemoryStore struct {
	seed maphash.Seed

	mu      sync.RWMutex // guards everything below; never held while a caller's code runs
	log     memoryLog
	streams memoryStreams
	ids     hashIndex     // of positions by event ID
	wake    chan struct{} // closed by the next append; nil while nobody waits

	snapshots   map[StreamID]Snapshot
	checkpoints map[string]memoryCheckpoint
}

type memoryCheckpoint struct {
	Checkpoint
	saved bool
	owner string
	until time.Time // the owner's lease ends
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{
		seed:        maphash.MakeSeed(),
		snapshots:   map[StreamID]Snapshot{},
		checkpoints: map[string]memoryCheckpoint{},
	}
}

func (s *MemoryStore) eventHash(id *uuid.UUID) uint64 { return maphash.Bytes(s.seed, id[:]) }

// Append implements [EventStore]. It blocks only while others append or read a
// page.
func (s *MemoryStore) Append(ctx context.Context, batches ...Batch) (AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return AppendResult{}, err
	}
	if err := Validate(batches...); err != nil {
		return AppendResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil { // it ended while others wrote
		return AppendResult{}, err
	}
	var few [4]memoryTarget
	targets := few[:0]
	for i := range batches {
		targets = append(targets, s.target(batches[i].Stream))
	}
	for i := range batches {
		for j := range batches[i].Events {
			if pos, ok := s.findEvent(&batches[i].Events[j].ID); ok {
				return s.repeated(batches, targets, pos)
			}
		}
	}
	for i := range batches {
		if b := &batches[i]; b.Expected != AnyVersion && b.Expected != targets[i].head {
			return AppendResult{}, &ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: targets[i].head}
		}
	}
	result := AppendResult{Versions: make([]uint64, len(batches))}
	for i := range batches {
		result.Versions[i] = s.write(&batches[i], targets[i])
	}
	result.Position = s.log.count
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
	return result, nil
}

// memoryTarget is the stream that a batch is for.
type memoryTarget struct {
	hash   uint64
	number uint32 // 0 if the stream does not exist
	head   uint64
}

func (s *MemoryStore) target(id StreamID) memoryTarget {
	t := memoryTarget{hash: streamHash(s.seed, id)}
	if n, ok := s.streams.find(t.hash, id); ok {
		t.number, t.head = n, s.streams.at(n).head
	}
	return t
}

// write appends one batch and returns the stream's new version.
func (s *MemoryStore) write(b *Batch, t memoryTarget) uint64 {
	if t.number == 0 {
		t.number = s.streams.add(t.hash, b.Stream)
	}
	st := s.streams.at(t.number)
	for i := range b.Events {
		e := &b.Events[i]
		loc := s.log.append(&s.streams.names, e, t.number, st.head+1)
		s.ids.insert(s.eventHash(&e.ID), s.log.count)
		s.streams.push(st, loc)
	}
	return st.head
}

// findEvent returns the position of the event with the ID.
func (s *MemoryStore) findEvent(id *uuid.UUID) (uint64, bool) {
	return s.ids.find(s.eventHash(id), func(pos uint64) bool {
		return *(*uuid.UUID)(s.log.at(pos)[recordID:]) == *id
	})
}

// repeated answers an append of which the event at position stored is in the
// store already: with the original's result if it is a repetition.
func (s *MemoryStore) repeated(batches []Batch, targets []memoryTarget, stored uint64) (AppendResult, error) {
	result := AppendResult{Versions: make([]uint64, len(batches)), Repeated: true}
	for i := range batches {
		b := &batches[i]
		next := b.Expected + 1
		for j := range b.Events {
			pos, ok := s.findEvent(&b.Events[j].ID)
			var rec memoryRecord
			if ok {
				rec = s.log.at(pos)
				if j == 0 && b.Expected == AnyVersion {
					next = rec.version()
				}
			}
			if !ok || rec.stream() != targets[i].number || rec.version() != next {
				first := s.log.at(stored)
				return AppendResult{}, fmt.Errorf("%w: %v is stored at version %d of %v", ErrDuplicateEvent,
					uuid.UUID(first[recordID:recordID+16]), first.version(), s.streams.id(first.stream()))
			}
			result.Position = max(result.Position, pos)
			next++
		}
		result.Versions[i] = next - 1
	}
	return result, nil
}

// Load implements [EventStore]. The iterator ends at the version that the
// stream had when it began.
func (s *MemoryStore) Load(ctx context.Context, id StreamID, r Range) iter.Seq2[StoredEvent, error] {
	return func(yield func(StoredEvent, error) bool) {
		if err := id.Validate(); err != nil {
			yield(StoredEvent{}, err)
			return
		}
		s.mu.RLock()
		t := s.target(id)
		s.mu.RUnlock()
		c := newCursor(r, t.head)
		s.iterate(ctx, yield, &c, func(p *memoryPage) {
			p.stream = id
			if p.done = c.done(); !p.done {
				s.streams.collect(p, &s.log, s.streams.at(t.number), &c)
			}
		})
	}
}

// Events implements [Log], and filters exactly. The iterator ends at the
// position that was the head when it began.
func (s *MemoryStore) Events(ctx context.Context, r Range, f Filter) iter.Seq2[StoredEvent, error] {
	return func(yield func(StoredEvent, error) bool) {
		s.mu.RLock()
		head := s.log.count
		topics, types := s.streams.names.set(f.Topics), s.streams.names.set(f.Types) // up to the head, there are no others
		s.mu.RUnlock()
		c := newCursor(Range{After: r.After, Until: r.Until, Backward: r.Backward}, head)
		limit := r.Limit
		s.iterate(ctx, yield, &c, func(p *memoryPage) {
			p.limit = limit
			s.log.collect(p, &s.streams, topics, types, &c)
			if limit > 0 {
				if limit -= len(p.records); limit == 0 {
					c.end()
				}
			}
		})
	}
}

// iterate yields the events of the pages that read collects by the cursor, and
// calls it under the lock, until it has found the last.
func (s *MemoryStore) iterate(ctx context.Context, yield func(StoredEvent, error) bool, c *cursor, read func(p *memoryPage)) {
	var p memoryPage
	for {
		if err := ctx.Err(); err != nil {
			yield(StoredEvent{}, err)
			return
		}
		p.reset(c.left())
		s.mu.RLock()
		read(&p)
		p.names, p.long = s.streams.names.list, s.streams.long
		s.mu.RUnlock()
		p.data = make([]byte, 0, p.size)
		for i := range p.records {
			if i > 0 {
				if err := ctx.Err(); err != nil {
					yield(StoredEvent{}, err)
					return
				}
			}
			if !yield(p.event(i), nil) {
				return
			}
		}
		if p.done {
			return
		}
	}
}

// Head implements [Log].
func (s *MemoryStore) Head(ctx context.Context) (Mark, error) {
	if err := ctx.Err(); err != nil {
		return Mark{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.log.count == 0 {
		return Mark{}, nil
	}
	return Mark{Position: s.log.count, EventID: s.log.at(s.log.count).id()}, nil
}

// Wait implements [Waiter].
func (s *MemoryStore) Wait(ctx context.Context, after uint64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		if s.log.count > after {
			s.mu.Unlock()
			return nil
		}
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// Find implements [Finder].
func (s *MemoryStore) Find(ctx context.Context, id StreamID, event uuid.UUID) (version uint64, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if err := id.Validate(); err != nil {
		return 0, false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	pos, ok := s.findEvent(&event)
	if !ok {
		return 0, false, nil
	}
	rec := s.log.at(pos)
	if s.streams.id(rec.stream()) != id {
		return 0, false, nil
	}
	return rec.version(), true, nil
}
