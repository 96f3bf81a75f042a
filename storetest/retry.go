package storetest

import (
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func retryCases() []testCase {
	return []testCase{
		{"a repeated append returns the original", ruleRepeated, nil, checkRepeat},
		{"a repetition is recognised after later appends", ruleRepeated, nil, checkLateRepeat},
		{"a repetition is recognised by its event IDs alone", ruleRepeated, nil, checkRepeatChanged},
		{"a run of stored events is a repetition too", ruleRepeated, nil, checkRepeatPart},
		{"racing repetitions are stored once", ruleRepeated, nil, checkRepeatRace},
	}
}

// wantRepeated repeats an append and checks that the result is the original's.
func (s *suite) wantRepeated(what string, original evsourcing.AppendResult, batches ...evsourcing.Batch) {
	s.t.Helper()
	got, err := s.append(s.ctx, batches...)
	if err != nil {
		s.errorf("%s: repeating the append failed: %v", what, err)
		return
	}
	if !got.Repeated {
		s.errorf("%s: the result does not say Repeated", what)
	}
	if got.Position != original.Position {
		s.errorf("%s: the repetition returned position %d, the original %d", what, got.Position, original.Position)
	}
	if fmt.Sprint(got.Versions) != fmt.Sprint(original.Versions) {
		s.errorf("%s: the repetition returned versions %v, the original %v", what, got.Versions, original.Versions)
	}
}

// An acknowledged append is what a caller would repeat after a lost answer.
type acknowledged struct {
	what    string
	batches []evsourcing.Batch
	result  evsourcing.AppendResult
}

// variety makes one append of each kind.
func (s *suite) variety() []acknowledged {
	const anyVersion = evsourcing.AnyVersion
	a, b, c := stream("a"), stream("b"), stream("c")
	var list []acknowledged
	for _, test := range []struct {
		what    string
		batches []evsourcing.Batch
	}{
		{"one event that creates a stream", []evsourcing.Batch{newBatch(a, 0, 1)}},
		{"several events at a version", []evsourcing.Batch{newBatch(a, 1, 4)}},
		{"one event at any version", []evsourcing.Batch{newBatch(a, anyVersion, 1)}},
		{"several events at any version", []evsourcing.Batch{newBatch(a, anyVersion, 3)}},
		{"a new stream at any version", []evsourcing.Batch{newBatch(b, anyVersion, 2)}},
		{"two streams", []evsourcing.Batch{newBatch(b, 2, 2), newBatch(a, 9, 1)}},
		{"three streams at mixed versions", []evsourcing.Batch{newBatch(c, 0, 1), newBatch(b, anyVersion, 2), newBatch(a, 10, 2)}},
		{"two streams at any version", []evsourcing.Batch{newBatch(c, anyVersion, 2), newBatch(a, anyVersion, 1)}},
	} {
		list = append(list, acknowledged{test.what, test.batches, s.put(test.batches...)})
	}
	return list
}

func checkRepeat(s *suite) {
	id := stream("immediate")
	for i, expected := range []uint64{0, 2, evsourcing.AnyVersion, evsourcing.AnyVersion} {
		batch := newBatch(id, expected, 2)
		result := s.put(batch)
		for range 2 {
			s.wantRepeated(fmt.Sprintf("append %d", i+1), result, batch)
			s.verify()
		}
	}
}

func checkLateRepeat(s *suite) {
	list := s.variety()
	for _, ack := range list {
		s.wantRepeated(ack.what, ack.result, ack.batches...)
		s.verify()
	}
	s.stopIfFailed()
	for _, id := range s.model.ids() {
		s.put(newBatch(id, evsourcing.AnyVersion, 300))
	}
	for _, ack := range list {
		s.wantRepeated(ack.what+", 300 events later", ack.result, ack.batches...)
	}
	s.verify()
}

// checkRepeatChanged repeats appends with everything changed but the event IDs,
// as a caller does that computes them anew.
func checkRepeatChanged(s *suite) {
	for _, ack := range s.variety() {
		for i := range ack.batches {
			for j := range ack.batches[i].Events {
				e := newEvent()
				e.ID = ack.batches[i].Events[j].ID
				e.Version = ack.batches[i].Events[j].Version
				e.Topic, e.Tags = "storetest.other", []string{"other"}
				ack.batches[i].Events[j] = e
			}
		}
		s.wantRepeated(ack.what+", with other data", ack.result, ack.batches...)
		s.verify()
	}
}

func checkRepeatPart(s *suite) {
	const anyVersion = evsourcing.AnyVersion
	a, b := stream("a"), stream("b")
	batch := newBatch(a, 0, 5)
	first := s.put(batch)
	other := newBatch(b, 0, 2)
	second := s.put(other)
	events := batch.Events
	start := first.Position - 5 // the position before the first event
	at := func(version uint64) evsourcing.AppendResult {
		return evsourcing.AppendResult{Position: start + version, Versions: []uint64{version}}
	}
	for _, test := range []struct {
		what string
		want evsourcing.AppendResult
		b    evsourcing.Batch
	}{
		{"the first two of five events", at(2), batchOf(a, 0, events[:2]...)},
		{"the last two of five events", at(5), batchOf(a, 3, events[3:]...)},
		{"the third of five events", at(3), batchOf(a, 2, events[2])},
		{"the first two of five events, at any version", at(2), batchOf(a, anyVersion, events[:2]...)},
		{"the middle of five events, at any version", at(4), batchOf(a, anyVersion, events[1:4]...)},
		{"the last of five events, at any version", at(5), batchOf(a, anyVersion, events[4])},
		{"all of five events, at any version", at(5), batchOf(a, anyVersion, events...)},
	} {
		s.wantRepeated(test.what, test.want, test.b)
		s.verify()
	}
	s.put(newBatch(a, 5, 1))
	// Each of the batches stands where it should, if not by one append.
	both := evsourcing.AppendResult{Position: second.Position, Versions: []uint64{5, 2}}
	s.wantRepeated("two appends as one", both, batch, other)
	s.verify()
}

// checkRepeatRace makes the same append many times at once.
func checkRepeatRace(s *suite) {
	version := uint64(0)
	for round := range s.size(40, 15) {
		list := []evsourcing.Batch{newBatch(stream("a"), version, 2)}
		switch round % 3 {
		case 1:
			list = []evsourcing.Batch{newBatch(stream("a"), evsourcing.AnyVersion, 2)}
		case 2:
			list = append(list, newBatch(stream("b"), evsourcing.AnyVersion, 1))
		}
		version += 2
		attempts := s.race(racers, func(int) []evsourcing.Batch { return list })
		originals := 0
		for _, a := range attempts {
			if a.err != nil {
				s.errorf("round %d: one of %d equal appends failed: %v", round, racers, a.err)
			} else if !a.result.Repeated {
				originals++
			}
		}
		if originals != 1 {
			s.errorf("round %d: %d of %d equal appends say that they are not Repeated, want 1", round, originals, racers)
		}
		s.stopIfFailed()
		first := attempts[0].result
		s.record(first, list...)
		for _, a := range attempts {
			if a.result.Position != first.Position || fmt.Sprint(a.result.Versions) != fmt.Sprint(first.Versions) {
				s.errorf("round %d: equal appends returned %+v and %+v", round, first, a.result)
			}
		}
		s.verifyStream(stream("a"))
	}
	s.verify()
}
