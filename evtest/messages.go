package evtest

import (
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
)

// Messages returns the events as the messages in which a log with nothing else
// in it would yield the stream: encoded and decoded by the codec, with topic,
// content type, data and tags, versions from 1, the positions of the same
// numbers, IDs, and times from 2026-01-01 00:00 UTC on, a second apart.
//
// The same call returns the same messages, so a test may deliver them twice.
// They have no metadata, as events have that are nobody's consequence; a test
// may set it, and anything else, in what is returned. If the codec is nil, the
// events come as they are, without Data.
//
// An event that the codec refuses, or that comes back from it as another one,
// fails the test at once. A subscription handler is tested by
//
//	err := handler.Handle(t.Context(), evtest.Messages(t, codec, stream, events...))
//
// and a reactor by [React].
func Messages(t testing.TB, codec evsourcing.Codec, stream evsourcing.StreamID, events ...evsourcing.Event) []evsourcing.Message {
	t.Helper()
	if err := stream.Validate(); err != nil {
		t.Fatalf("evtest: %v", err)
	}
	bare := codec == nil
	if bare {
		codec = &valueCodec{}
	}
	msgs := make([]evsourcing.Message, len(events))
	for i, e := range events {
		m := &msgs[i]
		m.StoredEvent = envelope(stream, i)
		m.Position = m.Version
		var err error
		if m.Event, err = roundTrip(t.Context(), codec, &m.StoredEvent, e); err != nil {
			t.Fatalf("evtest: event %d, %s: %v", i+1, showEvent(e), err)
		}
		if diff := survives(e, m.Event, false); diff != "" {
			t.Fatalf("evtest: event %d, %s, does not come back from the codec as it was (- before, + after):%s", i+1, showEvent(e), diff)
		}
		if bare {
			m.Data = nil
		}
	}
	return msgs
}

// envelope returns the event of index i in the stream without its payload.
func envelope(stream evsourcing.StreamID, i int) evsourcing.StoredEvent {
	e := evsourcing.StoredEvent{
		Stream:  stream,
		Version: uint64(i) + 1,
		Time:    time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC),
	}
	e.ID = eventID(stream, e.Version)
	return e
}

// eventID derives an ID from the event's place.
func eventID(stream evsourcing.StreamID, version uint64) uuid.UUID {
	name := make([]byte, 0, 64)
	name = append(name, stream.Type...)
	name = append(name, 0)
	name = append(name, stream.ID...)
	for shift := 56; shift >= 0; shift -= 8 {
		name = append(name, byte(version>>shift))
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, name)
}
