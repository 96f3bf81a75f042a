package storetest

import (
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func aliasCases() []testCase {
	return []testCase{
		{"an append does not change what it is given", ruleNotKept, nil, checkInputUnchanged},
		{"what was appended may be changed afterwards", ruleNotKept, nil, checkInputNotKept},
		{"what was loaded may be changed", ruleOwn, nil, checkOutputOwned},
		{"events that were loaded share no memory", ruleOwn, nil, checkNothingShared},
		{"the result of an append may be changed", ruleOwn, nil, checkResultOwned},
	}
}

// fullBatch is newBatch with events that have something in every field.
func fullBatch(id evsourcing.StreamID, expected uint64, n int) evsourcing.Batch {
	b := newBatch(id, expected, n)
	for i := range b.Events {
		e := &b.Events[i]
		e.Tags = []string{"first", fmt.Sprint("tag-", i)}
		e.Metadata = evsourcing.Metadata{"key": fmt.Sprint("value-", i), "other": "same"}
	}
	return b
}

// spoil changes everything that e points to, and what lies behind its slices in
// their arrays.
func spoil(e *evsourcing.StoredEvent) {
	for i := range e.Data {
		e.Data[i] ^= 0xff
	}
	_ = append(e.Data, "spoilt, and longer than what may be left of an array"...)
	for i := range e.Tags {
		e.Tags[i] = "spoilt"
	}
	_ = append(e.Tags, "spoilt", "spoilt", "spoilt")
	for key := range e.Metadata {
		e.Metadata[key] = "spoilt"
	}
	if e.Metadata != nil {
		e.Metadata["new"] = "spoilt"
	}
}

func checkInputUnchanged(s *suite) {
	const anyVersion = evsourcing.AnyVersion
	a, b := stream("a"), stream("b")
	s.put(newBatch(a, 0, 1))
	unchanged := func(what string, batches ...evsourcing.Batch) {
		var before []evsourcing.Batch
		for _, batch := range batches {
			c := evsourcing.Batch{Stream: batch.Stream, Expected: batch.Expected}
			for _, e := range batch.Events {
				c.Events = append(c.Events, clone(e))
			}
			before = append(before, c)
		}
		_, _ = s.append(s.ctx, batches...)
		for i := range batches {
			// The location of a Time is compared too, so no difference.
			if got, want := fmt.Sprintf("%#v", batches[i]), fmt.Sprintf("%#v", before[i]); got != want {
				s.errorf("%s: batch %d was changed from %s to %s", what, i, want, got)
			}
		}
	}
	batch := fullBatch(a, 1, 3)
	batch.Events[1].Stream = evsourcing.StreamID{}
	batch.Events[1].Time = batch.Events[1].Time.Add(7)
	batch.Events[2].Position = 99
	unchanged("an append", batch)
	unchanged("a repeated append", batch)
	unchanged("an append at any version", fullBatch(a, anyVersion, 3), fullBatch(b, anyVersion, 2))
	unchanged("a conflict", fullBatch(b, 9, 2))
	unchanged("an append with bad input", fullBatch(b, anyVersion, 2), fullBatch(a, anyVersion, 0))
}

func checkInputNotKept(s *suite) {
	const anyVersion = evsourcing.AnyVersion
	a, b := stream("a"), stream("b")
	var spare []byte
	for i := range 4 {
		batches := []evsourcing.Batch{fullBatch(a, uint64(3*i), 3), fullBatch(b, anyVersion, 2)}
		// A caller may encode all its events into one buffer, which it uses again.
		spare = spare[:0]
		for j := range batches {
			for k := range batches[j].Events {
				e := &batches[j].Events[k]
				start := len(spare)
				spare = append(spare, e.Data...)
				e.Data = spare[start:]
			}
		}
		s.put(batches...)
		for j := range batches {
			for k := range batches[j].Events {
				spoil(&batches[j].Events[k])
			}
			clear(batches[j].Events)
		}
		clear(batches)
		s.verify()
	}
}

// everyReading returns what each way to read yields of the stream, in memory
// that is still as the store returned it.
func (s *suite) everyReading(id evsourcing.StreamID) map[string][]evsourcing.StoredEvent {
	all := map[string][]evsourcing.StoredEvent{}
	for _, r := range s.readings(id) {
		list, err := s.collect(r.seq(s.ctx))
		if err != nil {
			s.fatalf("%s failed: %v", r.name, err)
		}
		all[r.name] = list
	}
	return all
}

func checkOutputOwned(s *suite) {
	id := stream("a")
	s.put(fullBatch(id, 0, 5))
	for name, list := range s.everyReading(id) {
		for i := range list {
			spoil(&list[i])
		}
		s.verify()
		if s.failed() {
			s.fatalf("that was after the events that %s yields had been changed", name)
		}
	}
}

// checkNothingShared changes one event of a list after the other, and compares
// all others with what they were.
func checkNothingShared(s *suite) {
	id := stream("a")
	s.put(fullBatch(id, 0, 8))
	s.put(fullBatch(id, 8, 8))
	for name, list := range s.everyReading(id) {
		copies := make([]evsourcing.StoredEvent, len(list))
		for i := range list {
			copies[i] = clone(list[i])
		}
		for i := range list {
			spoil(&list[i])
			for j := i + 1; j < len(list); j++ {
				if d := difference(list[j], copies[j]); d != "" {
					s.fatalf("changing event %d of what %s yields changed event %d: %s", i+1, name, j+1, d)
				}
			}
			copies[i] = clone(list[i])
			for j := range i {
				if d := difference(list[j], copies[j]); d != "" {
					s.fatalf("changing event %d of what %s yields changed event %d: %s", i+1, name, j+1, d)
				}
			}
		}
	}
}

func checkResultOwned(s *suite) {
	batches := []evsourcing.Batch{newBatch(stream("a"), 0, 2), newBatch(stream("b"), 0, 1)}
	original := s.put(batches...)
	original.Versions = append([]uint64(nil), original.Versions...)
	for range 3 {
		got, err := s.append(s.ctx, batches...)
		if err != nil {
			s.fatalf("repeating an append failed: %v", err)
		}
		if fmt.Sprint(got.Versions) != fmt.Sprint(original.Versions) {
			s.errorf("the append returned versions %v, want %v, after a caller changed its result", got.Versions, original.Versions)
		}
		clear(got.Versions)
	}
	s.put(newBatch(stream("a"), 2, 1))
	s.verify()
}
