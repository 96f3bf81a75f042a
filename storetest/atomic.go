package storetest

import (
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func atomicCases() []testCase {
	return []testCase{
		{"an append with one conflict stores none of its batches", ruleNothing, nil, checkConflictingBatch},
		{"a conflict leaves the event IDs free", ruleNothing, nil, checkConflictFreesIDs},
		{"an append that fails keeps no part of a long batch", ruleNothing, nil, checkLongBatch},
		{"readers see an append whole or not at all", ruleAtomic, nil, checkWhole},
	}
}

func checkConflictingBatch(s *suite) {
	ids := []evsourcing.StreamID{stream("a"), stream("b"), stream("c")}
	s.put(newBatch(ids[0], 0, 2), newBatch(ids[1], 0, 2), newBatch(ids[2], 0, 2))
	for bad := range ids {
		batches := make([]evsourcing.Batch, len(ids), len(ids)+1)
		for i, id := range ids {
			batches[i] = newBatch(id, 2, 3)
		}
		batches[bad] = newBatch(ids[bad], 1, 3)
		fresh := stream(fmt.Sprint("fresh-", bad))
		batches = append(batches, newBatch(fresh, evsourcing.AnyVersion, 1))
		_, err := s.append(s.ctx, batches...)
		s.wantConflict(fmt.Sprintf("four batches of which number %d conflicts", bad+1), err, batches[bad], 2)
		s.verify()
		s.wantEmpty(fresh)
	}
	s.put(newBatch(ids[2], 2, 1), newBatch(ids[1], 2, 1), newBatch(ids[0], 2, 1))
	s.verify()
}

func checkConflictFreesIDs(s *suite) {
	a, b := stream("a"), stream("b")
	s.put(newBatch(a, 0, 1))
	first, second := newBatch(b, 0, 2), newBatch(a, 0, 2)
	_, err := s.append(s.ctx, first, second)
	s.wantConflict("a second batch that expects a new stream", err, second, 1)
	s.put(first, batchOf(a, 1, second.Events...))
	s.verify()
}

// checkLongBatch conflicts after many events that a store may have sent to its
// database in several statements already.
func checkLongBatch(s *suite) {
	a, b := stream("a"), stream("b")
	s.put(newBatch(b, 0, 1))
	bad := newBatch(b, 0, 1)
	_, err := s.append(s.ctx, newBatch(a, 0, s.size(3000, 600)), bad)
	s.wantConflict("a long batch and one that conflicts", err, bad, 1)
	s.wantEmpty(a)
	s.verify()
	s.put(newBatch(a, 0, 1))
	s.verify()
}

// checkWhole reads while appends of three events a stream are made. Pages cut
// an append in two, but at its end every iterator has read all of it.
func checkWhole(s *suite) {
	const part = 3
	a, b := stream("a"), stream("b")
	rounds := s.size(300, 100)
	over := make(chan struct{})
	writers, readers := s.group(), s.group()
	writers.start(func() {
		for i := range rounds {
			if i%2 == 0 {
				s.put(newBatch(a, evsourcing.AnyVersion, part), newBatch(b, evsourcing.AnyVersion, part))
			} else {
				s.put(newBatch(b, evsourcing.AnyVersion, part), newBatch(a, evsourcing.AnyVersion, part))
			}
		}
	})
	read := func(what string, list func() []evsourcing.StoredEvent) {
		readers.start(func() {
			for last := false; !last; {
				last = isClosed(over)
				if n := len(list()); n%part != 0 {
					s.fatalf("%s: %d events while appends of %d were made: part of an append", what, n, part)
				}
			}
		})
	}
	read("Load", func() []evsourcing.StoredEvent { return s.load(a, evsourcing.Range{}) })
	read("Load backward", func() []evsourcing.StoredEvent { return s.load(b, evsourcing.Range{Backward: true}) })
	if _, ok := s.log(); ok {
		// Of a log, both parts of an append must be there.
		read("Events", func() []evsourcing.StoredEvent {
			list := s.events(evsourcing.Range{}, evsourcing.Filter{})
			if len(list)%(2*part) != 0 {
				s.fatalf("Events: %d events while appends of %d to two streams were made: part of an append", len(list), 2*part)
			}
			return list
		})
	}
	writers.wait()
	close(over)
	readers.wait()
	s.stopIfFailed()
	s.verify()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
