package storetest

import (
	"fmt"
	"math"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func readCases() []testCase {
	return []testCase{
		{"a stream never written yields nothing", ruleEmpty, nil, checkNeverWritten},
		{"reading past the end yields nothing", ruleEmpty, nil, checkPastEnd},
		{"ranging again reads again", ruleAgain, nil, checkAgain},
		{"a long stream is read whole", ruleRange, nil, checkLongStream},
	}
}

// emptyRanges are ranges of all kinds.
func emptyRanges() []evsourcing.Range {
	return []evsourcing.Range{
		{}, {Backward: true}, {Limit: 1}, {Limit: 1, Backward: true}, {After: 1}, {After: 1, Backward: true}, {Until: 1}, {Until: 5, Backward: true},
	}
}

func checkNeverWritten(s *suite) {
	nothing := func() {
		for _, r := range emptyRanges() {
			for _, id := range []evsourcing.StreamID{stream("never"), {Type: "never", ID: "a"}, {Type: "a", ID: "storetest"}} {
				if list := s.load(id, r); len(list) > 0 {
					s.errorf("Load of %v, never written, in %+v yields %d events", id, r, len(list))
				}
			}
		}
	}
	nothing()
	if _, ok := s.log(); ok {
		for _, r := range emptyRanges() {
			if list := s.events(r, evsourcing.Filter{}); len(list) > 0 {
				s.errorf("Events of an empty store in %+v yields %d events", r, len(list))
			}
		}
	}
	s.put(newBatch(stream("a"), 0, 2))
	nothing()
	s.verify()
}

func checkPastEnd(s *suite) {
	id := stream("a")
	s.put(newBatch(stream("b"), 0, 5))
	head := s.put(newBatch(id, 0, 3)).Position
	for _, beyond := range []uint64{0, 1, 1000, math.MaxInt32, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1, math.MaxUint64} {
		for _, r := range emptyRanges() {
			r.Until = 0
			if r.After = max(3, beyond); len(s.load(id, r)) > 0 {
				s.errorf("Load of a stream at version 3 in %+v yields events", r)
			}
			if _, ok := s.log(); !ok {
				continue
			}
			if r.After = max(head, beyond); len(s.events(r, evsourcing.Filter{})) > 0 {
				s.errorf("Events of a store at position %d in %+v yields events", head, r)
			}
		}
	}
}

func checkAgain(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, 400))
	for _, r := range s.readings(id) {
		seq := r.seq(s.ctx)
		first, err := s.collect(seq)
		if err != nil {
			s.fatalf("%s failed: %v", r.name, err)
		}
		for _, err := range seq {
			if err != nil {
				s.fatalf("%s failed when ranged over again: %v", r.name, err)
			}
			break
		}
		second, err := s.collect(seq)
		if err != nil {
			s.fatalf("%s failed when ranged over again: %v", r.name, err)
		}
		s.compare(r.name+", ranged over again", second, first)
		s.stopIfFailed()

		s.put(newBatch(id, evsourcing.AnyVersion, 3))
		third, err := s.collect(seq)
		if err != nil {
			s.fatalf("%s failed when ranged over again: %v", r.name, err)
		}
		if len(third) != len(first)+3 {
			s.errorf("%s, ranged over again after an append of 3 events, yields %d events, before %d", r.name, len(third), len(first))
		}
	}
	limited := s.loadSeq(s.ctx, id, evsourcing.Range{After: 2, Limit: 300})
	want := s.model.stream(id)[2:302]
	for range 3 {
		list, err := s.collect(limited)
		if err != nil {
			s.fatalf("Load with a limit failed: %v", err)
		}
		s.compare("Load with a limit, ranged over again", list, want)
	}
}

// checkLongStream stores a stream of the length that an aggregate of years has,
// and doesn't use the model, to keep memory for the store.
func checkLongStream(s *suite) {
	const part = 1000
	id := stream("long")
	n := s.size(100_000, 5_000)
	want := make([]uuid.UUID, 0, n)
	for len(want) < n {
		batch := newBatch(id, uint64(len(want)), part)
		for i := range batch.Events {
			want = append(want, batch.Events[i].ID)
		}
		if _, err := s.append(s.ctx, batch); err != nil {
			s.fatalf("Append of %d events at version %d failed: %v", part, batch.Expected, err)
		}
	}
	// The index of the first event that a range selects, and how many.
	for _, test := range []struct {
		r        evsourcing.Range
		first, n int
	}{
		{evsourcing.Range{}, 0, n},
		{evsourcing.Range{Backward: true}, n - 1, n},
		{evsourcing.Range{After: uint64(n - 10)}, n - 10, 10},
		{evsourcing.Range{After: uint64(n / 2), Limit: 700}, n / 2, 700},
		{evsourcing.Range{Until: uint64(n / 2), Limit: 700, Backward: true}, n/2 - 1, 700},
		{evsourcing.Range{After: uint64(n / 3), Until: uint64(n/3) + 1}, n / 3, 1},
	} {
		step := 1
		if test.r.Backward {
			step = -1
		}
		count, position := 0, uint64(0)
		for e, err := range s.loadSeq(s.ctx, id, test.r) {
			if err != nil {
				s.fatalf("Load of %d events in %+v failed: %v", n, test.r, err)
			}
			i := test.first + step*count
			if count == test.n || e.ID != want[i] || e.Version != uint64(i)+1 {
				s.fatalf("Load of %d events in %+v: event %d of %d has version %d, want %d", n, test.r, count+1, test.n, e.Version, i+1)
			}
			if position != 0 && (e.Position > position) == test.r.Backward {
				s.fatalf("Load of %d events in %+v: version %d has position %d, after position %d", n, test.r, e.Version, e.Position, position)
			}
			position = e.Position
			count++
		}
		if count != test.n {
			s.errorf("Load of %d events in %+v yields %d, want %d", n, test.r, count, test.n)
		}
	}
	if _, ok := s.log(); !ok {
		return
	}
	count := 0
	for e, err := range s.eventsSeq(s.ctx, evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			s.fatalf("Events failed after %d of %d: %v", count, n, err)
		}
		if count == n || e.ID != want[count] {
			s.fatalf("Events: event %d of %d is version %d of %v", count+1, n, e.Version, e.Stream)
		}
		count++
	}
	if count != n {
		s.errorf("Events yields %d events, want %d", count, n)
	}
	batch := newBatch(id, uint64(n), 1)
	if _, err := s.append(s.ctx, batch); err != nil {
		s.errorf("Append of an event at version %d failed: %v", n, err)
	}
	bad := newBatch(id, uint64(n), 1)
	_, err := s.append(s.ctx, bad)
	s.wantConflict(fmt.Sprintf("an event that expects version %d", n), err, bad, uint64(n)+1)
}
