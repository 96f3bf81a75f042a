package storetest

import (
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func orderCases() []testCase {
	log := []capability{hasLog}
	return []testCase{
		{"positions rise from append to append", ruleRising, nil, checkPositions},
		{"positions of one append are consecutive", ruleConsecutive, nil, checkConsecutive},
		{"refused appends disturb no position", ruleRising, nil, checkRefused},
		{"load and the log agree on every event", ruleSameOrder, log, checkLogAgrees},
		{"the order of racers is the same in load and the log", ruleSameOrder, log, checkRacersAgree},
	}
}

// checkPositions appends to many streams in turn.
func checkPositions(s *suite) {
	last := uint64(0)
	for i := range s.size(200, 60) {
		n := 1 + i%4
		result := s.put(newBatch(stream(fmt.Sprint(i*7%10)), evsourcing.AnyVersion, n))
		if first := result.Position - uint64(n) + 1; first <= last {
			s.fatalf("append %d got positions %d to %d after position %d was given out", i+1, first, result.Position, last)
		}
		last = result.Position
	}
	s.verify()
}

func checkConsecutive(s *suite) {
	s.put(newBatch(stream("z"), 0, 1))
	// The names are in another order than the batches.
	for round := range uint64(3) {
		s.put(
			newBatch(stream("m"), 3*round, 3),
			newBatch(stream("z"), evsourcing.AnyVersion, 2),
			newBatch(stream("a"), 4*round, 4),
			newBatch(stream("b"), round, 1),
		)
		s.verify()
	}
}

// checkRefused makes appends that fail between appends that succeed.
func checkRefused(s *suite) {
	a, b := stream("a"), stream("b")
	last := s.put(newBatch(a, 0, 1), newBatch(b, 0, 1)).Position
	for i := range uint64(30) {
		if _, err := s.append(s.ctx, newBatch(b, evsourcing.AnyVersion, 2), newBatch(a, i, 2)); err == nil {
			s.fatalf("an append that expects version %d of a stream at %d was accepted", i, i+1)
		}
		if _, err := s.append(s.ctx, evsourcing.Batch{Stream: a, Expected: i + 1}); err == nil {
			s.fatalf("an empty batch was accepted")
		}
		result := s.put(newBatch(a, i+1, 1))
		if result.Position <= last {
			s.fatalf("an append got position %d after position %d was given out", result.Position, last)
		}
		last = result.Position
	}
	s.verify()
}

// fill appends about n events in all to several streams, as they come in life:
// short appends, in turn, some to two streams.
func (s *suite) fill(n int) []evsourcing.StreamID {
	var ids []evsourcing.StreamID
	for i := range 5 {
		ids = append(ids, evsourcing.StreamID{Type: fmt.Sprint("type-", i%2), ID: fmt.Sprint(i)})
	}
	for i := 0; n > 0; i++ {
		size := min(n, 1+i*i%13)
		n -= size
		batches := []evsourcing.Batch{newBatch(ids[i%5], evsourcing.AnyVersion, size)}
		if i%3 == 0 && n > 0 {
			n--
			batches = append(batches, newBatch(ids[(i+2)%5], evsourcing.AnyVersion, 1))
		}
		for j := range batches {
			for k := range batches[j].Events {
				e := &batches[j].Events[k]
				e.Topic = fmt.Sprint("storetest.topic-", k%3)
				e.Tags = []string{"tag", fmt.Sprint(i)}
				e.Metadata = evsourcing.Metadata{"append": fmt.Sprint(i), "event": fmt.Sprint(k)}
			}
		}
		s.put(batches...)
	}
	return ids
}

func checkLogAgrees(s *suite) {
	s.fill(s.size(700, 300))
	s.verify()
}

func checkRacersAgree(s *suite) {
	ids := []evsourcing.StreamID{stream("a"), stream("b")}
	for round := range s.size(30, 10) {
		s.race(racers, func(i int) []evsourcing.Batch {
			first, second := ids[i%2], ids[(i+1)%2]
			if i%4 < 2 {
				return []evsourcing.Batch{newBatch(first, evsourcing.AnyVersion, 1)}
			}
			return []evsourcing.Batch{newBatch(first, evsourcing.AnyVersion, 2), newBatch(second, evsourcing.AnyVersion, 1)}
		})
		s.compareOrders(fmt.Sprintf("round %d", round), ids)
		s.stopIfFailed()
	}
}

// compareOrders compares each stream in Load with the same stream in Events.
func (s *suite) compareOrders(what string, ids []evsourcing.StreamID) {
	s.t.Helper()
	log := map[evsourcing.StreamID][]evsourcing.StoredEvent{}
	last := uint64(0)
	for _, e := range s.events(evsourcing.Range{}, evsourcing.Filter{}) {
		if e.Position <= last {
			s.errorf("%s: Events yields position %d after %d", what, e.Position, last)
		}
		last = e.Position
		log[e.Stream] = append(log[e.Stream], e)
	}
	for _, id := range ids {
		s.compare(fmt.Sprintf("%s: events of %v in Events, compared with Load", what, id), log[id], s.load(id, evsourcing.Range{}))
	}
}
