package storetest

import (
	"errors"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func duplicateCases() []testCase {
	return []testCase{
		{"an append that is stored in part is refused", ruleDuplicate, nil, checkPartlyStored},
		{"an append that is stored elsewhere is refused", ruleDuplicate, nil, checkStoredElsewhere},
		{"an event ID is stored by one of many racers", ruleOnce, nil, checkDuplicateRace},
	}
}

// wantDuplicate makes an append that must be refused as a duplicate, and checks
// that it stored nothing.
func (s *suite) wantDuplicate(what string, batches ...evsourcing.Batch) {
	s.t.Helper()
	result, err := s.append(s.ctx, batches...)
	switch {
	case err == nil:
		s.errorf("%s: the append was accepted with %+v, want ErrDuplicateEvent", what, result)
	case errors.Is(err, evsourcing.ErrConflict):
		s.errorf("%s: the append returned ErrConflict, want ErrDuplicateEvent: %v", what, err)
	case !errors.Is(err, evsourcing.ErrDuplicateEvent):
		s.errorf("%s: the append returned %v, want ErrDuplicateEvent", what, err)
	}
	s.verify()
	for _, b := range batches {
		s.verifyStream(b.Stream)
	}
	s.stopIfFailed()
}

func checkPartlyStored(s *suite) {
	const anyVersion = evsourcing.AnyVersion
	a, b, fresh := stream("a"), stream("b"), stream("fresh")
	batchA, batchB := newBatch(a, 0, 3), newBatch(b, 0, 2)
	s.put(batchA)
	s.put(batchB)
	ea, eb := batchA.Events, batchB.Events

	for _, expected := range []uint64{0, 1, 2, 3, 4, anyVersion} {
		what := fmt.Sprintf("expecting version %d", expected)
		if expected == anyVersion {
			what = "expecting any version"
		}
		s.wantDuplicate("one stored event and a new one "+what, batchOf(a, expected, ea[2], newEvent()))
		s.wantDuplicate("a new event and a stored one "+what, batchOf(a, expected, newEvent(), ea[0]))
		s.wantDuplicate("a new event amid stored ones "+what, batchOf(a, expected, ea[0], newEvent(), ea[2]))
		s.wantDuplicate("stored events amid new ones "+what, batchOf(a, expected, newEvent(), ea[1], ea[2], newEvent()))
	}
	s.wantDuplicate("a longer batch than is stored", batchOf(a, 0, append(ea[:3:3], newEvent())...))
	s.wantDuplicate("a stored batch and one for a new stream", batchA, newBatch(fresh, 0, 1))
	s.wantDuplicate("a new stream and a stored batch", newBatch(fresh, anyVersion, 1), batchB)
	s.wantDuplicate("a stored batch and new events of a stored stream", batchA, newBatch(b, 2, 1))
	s.wantDuplicate("a stored batch and one that conflicts", batchA, newBatch(b, 0, 1))
	s.wantDuplicate("one that conflicts and a stored batch", newBatch(b, 0, 1), batchA)
	s.wantDuplicate("a stored batch and one stored in part", batchA, batchOf(b, 0, eb[0], newEvent()))
	s.put(newBatch(a, 3, 1), newBatch(b, 2, 1))
	s.verify()
}

func checkStoredElsewhere(s *suite) {
	const anyVersion = evsourcing.AnyVersion
	a, b, fresh := stream("a"), stream("b"), stream("fresh")
	batchA, batchB := newBatch(a, 0, 3), newBatch(b, 0, 3)
	s.put(batchA)
	s.put(batchB)
	ea, eb := batchA.Events, batchB.Events

	s.wantDuplicate("events of another stream, for a new one", batchOf(fresh, 0, ea...))
	s.wantDuplicate("events of another stream, for a new one at any version", batchOf(fresh, anyVersion, ea...))
	s.wantDuplicate("events of another stream, at the same versions", batchOf(b, 0, ea...))
	s.wantDuplicate("events of another stream, at the end", batchOf(b, 3, ea[0]))
	s.wantDuplicate("an event of another stream after one of this", batchOf(a, 0, ea[0], eb[1]))
	s.wantDuplicate("stored events, at later versions", batchOf(a, 3, ea...))
	s.wantDuplicate("a stored event, one version on", batchOf(a, 1, ea[0]))
	s.wantDuplicate("a stored event, one version back", batchOf(a, 1, ea[2]))
	s.wantDuplicate("a stored event, far on", batchOf(a, 1<<40, ea[0]))
	s.wantDuplicate("stored events in another order", batchOf(a, 0, ea[1], ea[0], ea[2]))
	s.wantDuplicate("stored events in another order, at any version", batchOf(a, anyVersion, ea[1], ea[0]))
	s.wantDuplicate("stored events that are not consecutive, at any version", batchOf(a, anyVersion, ea[0], ea[2]))
	s.wantDuplicate("batches whose streams are swapped", batchOf(a, 0, eb...), batchOf(b, 0, ea...))
	s.wantDuplicate("one stored batch and one stored elsewhere", batchA, batchOf(fresh, 0, eb...))
	s.put(newBatch(a, 3, 1))
	s.verify()
}

// checkDuplicateRace lets racers store one event ID in streams of their own.
func checkDuplicateRace(s *suite) {
	for round := range s.size(40, 15) {
		e := newEvent()
		attempts := s.race(racers, func(i int) []evsourcing.Batch {
			return []evsourcing.Batch{batchOf(stream(fmt.Sprintf("%d-%d", round, i)), 0, e, newEvent())}
		})
		winners := 0
		for _, a := range attempts {
			switch {
			case a.err == nil:
				winners++
				s.record(a.result, a.batches...)
			case !errors.Is(a.err, evsourcing.ErrDuplicateEvent):
				s.errorf("round %d: an append that lost returned %v, want ErrDuplicateEvent", round, a.err)
			}
		}
		if winners != 1 {
			s.errorf("round %d: %d of %d appends with one event ID were accepted, want 1", round, winners, racers)
		}
		s.stopIfFailed()
		for _, a := range attempts {
			s.verifyStream(a.batches[0].Stream)
		}
	}
	s.verify()
}
