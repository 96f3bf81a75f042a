package storetest

import (
	"context"
	"iter"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

type eventSeq = iter.Seq2[evsourcing.StoredEvent, error]

// append calls the store's Append.
func (s *suite) append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	var about any
	if len(batches) > 0 {
		about = batches[0].Stream
	}
	c := s.begin(ctx, "Append to", about)
	defer s.end(c)
	return s.store.Append(ctx, batches...)
}

// put appends what must be accepted, checks the result, and notes in the model
// what is stored now.
func (s *suite) put(batches ...evsourcing.Batch) evsourcing.AppendResult {
	s.t.Helper()
	result, err := s.append(s.ctx, batches...)
	if err != nil {
		s.fatalf("Append to %v failed: %v", batches[0].Stream, err)
	}
	if result.Repeated {
		s.errorf("Append of new events to %v says Repeated", batches[0].Stream)
	}
	s.record(result, batches...)
	return result
}

// record notes in the model what an append stored, after a check of its result.
func (s *suite) record(result evsourcing.AppendResult, batches ...evsourcing.Batch) {
	s.t.Helper()
	if err := s.model.add(result, batches...); err != nil {
		s.fatalf("Append to %v: %v", batches[0].Stream, err)
	}
}

// watched makes the suite know how long seq takes for each pair. The clock
// stands still while the loop body runs.
func (s *suite) watched(ctx context.Context, what string, about any, seq eventSeq) eventSeq {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		c := s.begin(ctx, what, about)
		defer s.end(c)
		seq(func(e evsourcing.StoredEvent, err error) bool {
			s.turn(c, true)
			defer s.turn(c, false)
			return yield(e, err)
		})
	}
}

// loadSeq calls the store's Load.
func (s *suite) loadSeq(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
	return s.watched(ctx, "Load of", id, s.store.Load(ctx, id, r))
}

// eventsSeq calls the Events of the store, which must be a Log.
func (s *suite) eventsSeq(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
	log, _ := s.log()
	return s.watched(ctx, "Events in", r, log.Events(ctx, r, f))
}

// collect reads seq to its end, and checks that nothing follows an error.
func (s *suite) collect(seq eventSeq) ([]evsourcing.StoredEvent, error) {
	s.t.Helper()
	var list []evsourcing.StoredEvent
	var last error
	for e, err := range seq {
		if last != nil {
			s.errorf("an iterator went on after it had yielded the error %v", last)
			return list, last
		}
		if err != nil {
			last = err
			continue
		}
		list = append(list, e)
	}
	return list, last
}

// load returns the events that Load yields.
func (s *suite) load(id evsourcing.StreamID, r evsourcing.Range) []evsourcing.StoredEvent {
	s.t.Helper()
	list, err := s.collect(s.loadSeq(s.ctx, id, r))
	if err != nil {
		s.fatalf("Load of %v in %v failed: %v", id, r, err)
	}
	return list
}

// events returns what Events yields, of a store that is a Log.
func (s *suite) events(r evsourcing.Range, f evsourcing.Filter) []evsourcing.StoredEvent {
	s.t.Helper()
	list, err := s.collect(s.eventsSeq(s.ctx, r, f))
	if err != nil {
		s.fatalf("Events in %v failed: %v", r, err)
	}
	return list
}

// log returns the store as a Log, if it is one.
func (s *suite) log() (evsourcing.Log, bool) { return evsourcing.Capability[evsourcing.Log](s.store) }

func (s *suite) head() evsourcing.Mark {
	s.t.Helper()
	log, _ := s.log()
	c := s.begin(s.ctx, "Head", nil)
	defer s.end(c)
	mark, err := log.Head(s.ctx)
	if err != nil {
		s.fatalf("Head failed: %v", err)
	}
	return mark
}

func (s *suite) wait(ctx context.Context, after uint64) error {
	waiter, _ := evsourcing.Capability[evsourcing.Waiter](s.store)
	c := s.begin(ctx, "Wait for a position after", after)
	defer s.end(c)
	return waiter.Wait(ctx, after)
}

func (s *suite) find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	finder, _ := evsourcing.Capability[evsourcing.Finder](s.store)
	c := s.begin(ctx, "Find in", id)
	defer s.end(c)
	return finder.Find(ctx, id, event)
}

// A reading is one way to read events.
type reading struct {
	name string
	seq  func(ctx context.Context) eventSeq
}

// readings returns the ways to read the events of the stream, one of them for
// each kind of query that a store is likely to have. The log's yield the events
// of other streams as well.
func (s *suite) readings(id evsourcing.StreamID) []reading {
	load := func(r evsourcing.Range) func(context.Context) eventSeq {
		return func(ctx context.Context) eventSeq { return s.loadSeq(ctx, id, r) }
	}
	list := []reading{
		{"Load", load(evsourcing.Range{})},
		{"Load backward", load(evsourcing.Range{Backward: true})},
		{"Load with a limit", load(evsourcing.Range{Limit: 1 << 30})},
		{"Load between versions", load(evsourcing.Range{After: 1, Until: 1 << 30})},
	}
	if _, ok := s.log(); ok {
		events := func(r evsourcing.Range, f evsourcing.Filter) func(context.Context) eventSeq {
			return func(ctx context.Context) eventSeq { return s.eventsSeq(ctx, r, f) }
		}
		list = append(list,
			reading{"Events", events(evsourcing.Range{}, evsourcing.Filter{})},
			reading{"Events backward", events(evsourcing.Range{Backward: true}, evsourcing.Filter{})},
			reading{"Events with a limit", events(evsourcing.Range{Limit: 1 << 30}, evsourcing.Filter{})},
			reading{"Events of a type", events(evsourcing.Range{}, evsourcing.Filter{Types: []string{id.Type}})},
			reading{"Events of a topic", events(evsourcing.Range{}, evsourcing.Filter{Topics: []string{testTopic}})},
		)
	}
	return list
}
