package storetest

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func invalidCases() []testCase {
	return []testCase{
		{"appends with bad input are refused and store nothing", ruleInvalid, nil, checkInvalid},
		{"loading a stream with a bad name is refused", ruleInvalid, nil, checkInvalidLoad},
	}
}

// A badInput is an append that is good but for one thing.
type badInput struct {
	what    string
	want    error // nil: any
	batches []evsourcing.Batch
}

// badName is a name that no store accepts.
type badName struct{ what, name string }

func badNames() []badName {
	return []badName{
		{"empty", ""},
		{"with a NUL byte", "a\x00b"},
		{"that is a NUL byte", "\x00"},
		{"that ends with a NUL byte", "name\x00"},
		{"with invalid UTF-8", "a\xffb"},
		{"with half a rune at its end", "name\xe2\x82"},
		{"with an encoded surrogate", "\xed\xa0\x80"},
		{"that is too long", strings.Repeat("n", evsourcing.MaxNameSize+1)},
		{"that is too long in bytes", strings.Repeat("é", evsourcing.MaxNameSize/2) + "x"},
	}
}

// badInputs returns bad input of every kind, for a store where the stream old
// is at version 1 and no other stream exists.
func badInputs(old evsourcing.StreamID) []badInput {
	const anyVersion = evsourcing.AnyVersion
	var list []badInput
	fresh := stream("fresh-0") // another one for each input
	add := func(what string, want error, batches ...evsourcing.Batch) {
		list = append(list, badInput{what, want, batches})
		fresh = stream(fmt.Sprint("fresh-", len(list)))
	}
	// spoilt returns a good batch, of whose second event f spoils something.
	spoilt := func(f func(e *evsourcing.StoredEvent)) evsourcing.Batch {
		b := newBatch(fresh, 0, 3)
		f(&b.Events[1])
		return b
	}

	add("no batches", nil)
	add("a batch of no events", nil, evsourcing.Batch{Stream: fresh})
	add("a batch of no events that expects the right version", nil, evsourcing.Batch{Stream: old, Expected: 1, Events: []evsourcing.StoredEvent{}})
	add("a batch of no events after a good one", nil, newBatch(fresh, 0, 1), evsourcing.Batch{Stream: old, Expected: anyVersion})
	add("two batches for one stream", nil, newBatch(old, 1, 1), newBatch(old, 2, 1))
	add("two batches for one stream at any version", nil, newBatch(old, anyVersion, 1), newBatch(fresh, 0, 1), newBatch(old, anyVersion, 1))

	for _, bad := range badNames() {
		add("a stream type "+bad.what, evsourcing.ErrInvalidStream, newBatch(evsourcing.StreamID{Type: bad.name, ID: "a"}, 0, 1))
		add("a stream ID "+bad.what, evsourcing.ErrInvalidStream, newBatch(evsourcing.StreamID{Type: "a", ID: bad.name}, anyVersion, 1))
		add("a topic "+bad.what, nil, spoilt(func(e *evsourcing.StoredEvent) { e.Topic = bad.name }))
		add("a tag "+bad.what, nil, spoilt(func(e *evsourcing.StoredEvent) { e.Tags = []string{"good", bad.name} }))
		add("a metadata key "+bad.what, nil, spoilt(func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{bad.name: "value"} }))
		if bad.name != "" { // which a content type may be
			add("a content type "+bad.what, nil, spoilt(func(e *evsourcing.StoredEvent) { e.ContentType = bad.name }))
		}
		if bad.name != "" && len(bad.name) <= evsourcing.MaxNameSize { // likewise
			add("a metadata value "+bad.what, nil, spoilt(func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"key": bad.name} }))
		}
	}
	add("a bad stream after a good one", evsourcing.ErrInvalidStream, newBatch(old, 1, 2), newBatch(evsourcing.StreamID{}, 0, 1))

	twice := newBatch(fresh, 0, 12)
	twice.Events[11].ID = twice.Events[2].ID
	same := newEvent()
	add("a nil event ID", nil, spoilt(func(e *evsourcing.StoredEvent) { e.ID = uuid.Nil }))
	add("an event ID twice in a batch", evsourcing.ErrDuplicateEvent, twice)
	add("an event ID twice in a row", evsourcing.ErrDuplicateEvent, batchOf(fresh, anyVersion, same, same))
	add("an event ID in two batches", evsourcing.ErrDuplicateEvent, batchOf(fresh, 0, same), batchOf(old, 1, newEvent(), same))
	add("an event of another stream", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Stream = old }))
	add("an event of half a stream", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Stream.ID = "" }))

	add("a missing version", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Version = 0 }))
	add("a version twice", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Version = 1 }))
	add("a version left out", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Version = 3 }))
	wrong := newBatch(old, 1, 2)
	wrong.Expected = 0
	add("versions that do not follow the expected one", nil, wrong)
	given := newBatch(old, 1, 2)
	given.Expected = anyVersion
	add("versions with any version expected", nil, given)
	for _, expected := range []uint64{math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1} {
		add("a version beyond the greatest", nil, newBatch(old, expected, 1))
	}

	large := make([]byte, evsourcing.MaxDataSize+1)
	add("data that is too large", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Data = large }))
	many := newBatch(fresh, 0, 5)
	for i := range many.Events {
		many.Events[i].Data = large[1:]
	}
	add("events that are too large together", nil, many)
	text := strings.Repeat("x", evsourcing.MaxMetadataSize)
	add("metadata that is too large", nil, spoilt(func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"k": text} }))
	add("tags and metadata that are too large", nil, spoilt(func(e *evsourcing.StoredEvent) {
		e.Tags, e.Metadata = []string{"12345"}, evsourcing.Metadata{"k": text[:len(text)-5]}
	}))
	return list
}

func checkInvalid(s *suite) {
	old := stream("old")
	s.put(newBatch(old, 0, 1))
	for _, bad := range badInputs(old) {
		before := s.count(old, bad.batches)
		_, err := s.append(s.ctx, bad.batches...)
		switch {
		case err == nil:
			s.errorf("an append with %s was accepted", bad.what)
		case errors.Is(err, evsourcing.ErrConflict) || errors.Is(err, evsourcing.ErrUncertain):
			s.errorf("an append with %s returned %v, want an error that names it", bad.what, err)
		case bad.want != nil && !errors.Is(err, bad.want):
			s.errorf("an append with %s returned %v, want an error that is %v", bad.what, err, bad.want)
		}
		if after := s.count(old, bad.batches); after != before {
			s.errorf("an append with %s stored something: there were %d events, and %d afterwards", bad.what, before, after)
		}
	}
	s.stopIfFailed()
	s.put(newBatch(old, 1, 1), newBatch(stream("fresh-0"), 0, 1))
	s.verify()
}

// count returns the number of events in the store: in the log if it is one,
// else in the streams that an append could have written to.
func (s *suite) count(old evsourcing.StreamID, batches []evsourcing.Batch) int {
	if _, ok := s.log(); ok {
		return len(s.events(evsourcing.Range{}, evsourcing.Filter{}))
	}
	n := len(s.load(old, evsourcing.Range{}))
	for _, b := range batches {
		if b.Stream != old && b.Stream.Validate() == nil {
			n += len(s.load(b.Stream, evsourcing.Range{}))
		}
	}
	return n
}

func checkInvalidLoad(s *suite) {
	s.put(newBatch(stream("a"), 0, 1))
	for _, bad := range badNames() {
		for _, id := range []evsourcing.StreamID{{Type: bad.name, ID: "a"}, {Type: "storetest", ID: bad.name}} {
			list, err := s.collect(s.loadSeq(s.ctx, id, evsourcing.Range{}))
			if !errors.Is(err, evsourcing.ErrInvalidStream) || len(list) > 0 {
				s.errorf("Load of a stream with a name %s yields %d events and the error %v, want only ErrInvalidStream", bad.what, len(list), err)
			}
		}
	}
}
