package storetest

import (
	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func finderCases() []testCase {
	needs := []capability{hasFinder}
	return []testCase{
		{"find returns the version of an event", ruleFind, needs, checkFind},
		{"find does not return what another stream holds", ruleFind, needs, checkFindElsewhere},
	}
}

func (s *suite) wantFound(id evsourcing.StreamID, event uuid.UUID, version uint64) {
	s.t.Helper()
	got, ok, err := s.find(s.ctx, id, event)
	if err != nil || !ok || got != version {
		s.errorf("Find in %v returned %d, %t, %v for the event at version %d", id, got, ok, err, version)
	}
}

func (s *suite) wantNotFound(what string, id evsourcing.StreamID, event uuid.UUID) {
	s.t.Helper()
	if version, ok, err := s.find(s.ctx, id, event); err != nil || ok {
		s.errorf("Find in %v returned %d, %t, %v for %s", id, version, ok, err, what)
	}
}

func checkFind(s *suite) {
	s.fill(300)
	for _, id := range s.model.ids() {
		for _, e := range s.model.stream(id) {
			s.wantFound(id, e.ID, e.Version)
		}
		s.wantNotFound("an event never stored", id, uuid.New())
		s.wantNotFound("the nil ID", id, uuid.Nil)
	}
	// What is acknowledged can be found at once, what was refused never.
	bad, good := newBatch(stream("a"), 7, 1), newBatch(stream("a"), 0, 1)
	if _, err := s.append(s.ctx, bad); err == nil {
		s.errorf("an append that expects version 7 of a stream that does not exist was accepted")
	}
	s.wantNotFound("an event of an append in conflict", stream("a"), bad.Events[0].ID)
	s.put(good)
	s.wantFound(stream("a"), good.Events[0].ID, 1)
}

func checkFindElsewhere(s *suite) {
	a, b := evsourcing.StreamID{Type: "a", ID: "bc"}, evsourcing.StreamID{Type: "ab", ID: "c"}
	s.put(newBatch(a, 0, 3))
	s.put(newBatch(b, 0, 2))
	for _, id := range []evsourcing.StreamID{a, b} {
		for _, e := range s.model.stream(id) {
			for _, other := range []evsourcing.StreamID{a, b, stream("never written"), {Type: "A", ID: "bc"}, {Type: "a", ID: "BC"}} {
				if other != id {
					s.wantNotFound("an event of another stream", other, e.ID)
				}
			}
		}
	}
}
