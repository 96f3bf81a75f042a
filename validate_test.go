package evsourcing_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// validBatch returns a batch for a stream at version 3.
func validBatch(id string, n int) evsourcing.Batch {
	b := evsourcing.Batch{Stream: aircraftStream(id), Expected: 3}
	for i := range n {
		b.Events = append(b.Events, evsourcing.StoredEvent{ID: uuid.New(), Version: uint64(i) + 4, Topic: "topic"})
	}
	return b
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", evsourcing.MaxNameSize+1)
	event := func(change func(e *evsourcing.StoredEvent)) func(*[]evsourcing.Batch) {
		return func(b *[]evsourcing.Batch) { change(&(*b)[0].Events[1]) }
	}
	for _, test := range []struct {
		name   string
		change func(b *[]evsourcing.Batch)
		is     error
		says   string
	}{
		{"no batches", func(b *[]evsourcing.Batch) { *b = nil }, nil, "no batches"},
		{"an empty batch", func(b *[]evsourcing.Batch) { (*b)[1].Events = nil }, nil, "append to aircraft/DM2: an empty batch"},
		{"no stream", func(b *[]evsourcing.Batch) { (*b)[0].Stream = evsourcing.StreamID{} }, evsourcing.ErrInvalidStream, "the type is empty"},
		{"a bad stream", func(b *[]evsourcing.Batch) { (*b)[0].Stream.ID = "\x00" }, evsourcing.ErrInvalidStream, "the ID has a NUL byte"},
		{"two batches for one stream", func(b *[]evsourcing.Batch) { (*b)[1].Stream = (*b)[0].Stream }, nil, "two batches for stream aircraft/DM1"},
		{"an event of another stream", event(func(e *evsourcing.StoredEvent) { e.Stream = aircraftStream("DM2") }), nil, "event 1 is of another stream, aircraft/DM2"},
		{"an event of half a stream", event(func(e *evsourcing.StoredEvent) { e.Stream.Type = "aircraft" }), nil, "event 1 is of another stream"},
		{"a version too high", event(func(e *evsourcing.StoredEvent) { e.Version++ }), nil, "event 1 has version 6, want 5"},
		{"a version missing", event(func(e *evsourcing.StoredEvent) { e.Version = 0 }), nil, "event 1 has version 0, want 5"},
		{"a version with AnyVersion", func(b *[]evsourcing.Batch) { (*b)[0].Expected = evsourcing.AnyVersion }, nil, "event 0 has version 4, want 0"},
		{"an expected version out of range", func(b *[]evsourcing.Batch) { (*b)[0].Expected = math.MaxInt64 - 1 }, nil, "expected version 9223372036854775806 is out of range"},
		{"an expected version far out of range", func(b *[]evsourcing.Batch) { (*b)[0].Expected = math.MaxUint64 - 1 }, nil, "is out of range"},
		{"no ID", event(func(e *evsourcing.StoredEvent) { e.ID = uuid.Nil }), nil, `event 1 (topic "topic"): the event ID is nil`},
		{"no topic", event(func(e *evsourcing.StoredEvent) { e.Topic = "" }), nil, `event 1 (topic ""): the topic is empty`},
		{"a long topic", event(func(e *evsourcing.StoredEvent) { e.Topic = long }), nil, "the topic has 513 bytes, over the limit of 512"},
		{"a NUL byte in the topic", event(func(e *evsourcing.StoredEvent) { e.Topic = "a\x00" }), nil, "the topic has a NUL byte"},
		{"a topic that is not UTF-8", event(func(e *evsourcing.StoredEvent) { e.Topic = "\xc3" }), nil, "the topic is not valid UTF-8"},
		{"a bad content type", event(func(e *evsourcing.StoredEvent) { e.ContentType = "\x00" }), nil, `the content type "\x00" has a NUL byte`},
		{"an empty tag", event(func(e *evsourcing.StoredEvent) { e.Tags = []string{"a", ""} }), nil, `the tag "" is empty`},
		{"a long tag", event(func(e *evsourcing.StoredEvent) { e.Tags = []string{long} }), nil, "has 513 bytes"},
		{"a bad metadata key", event(func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"\xff": ""} }), nil, `the metadata key "\xff" is not valid UTF-8`},
		{"a bad metadata value", event(func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"k": "\xff"} }), nil, `the metadata value of "k" is not valid UTF-8`},
		{"much in all", func(b *[]evsourcing.Batch) {
			for range 5 {
				(*b)[0].Events = append((*b)[0].Events, validBatch("", 1).Events[0])
			}
			for i := range (*b)[0].Events {
				(*b)[0].Events[i].Version = uint64(i) + 4
				(*b)[0].Events[i].Data = make([]byte, evsourcing.MaxDataSize)
			}
		}, nil, "append to aircraft/DM1: the append has "},
		{"much metadata", event(func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{"k": strings.Repeat("x", evsourcing.MaxMetadataSize)}
		}), nil, "tags and metadata have 1048577 bytes, over the limit of 1048576"},
		{"much data", event(func(e *evsourcing.StoredEvent) { e.Data = make([]byte, evsourcing.MaxDataSize+1) }), nil, "the data has 16777217 bytes"},
		{"an ID twice", event(func(e *evsourcing.StoredEvent) { e.ID = uuid.UUID{9} }), evsourcing.ErrDuplicateEvent, "append to aircraft/DM2"},
	} {
		for _, size := range []int{2, 12} { // IDs are compared one by one, and in a set
			t.Run(fmt.Sprint(test.name, " ", size), func(t *testing.T) {
				t.Parallel()
				batches := []evsourcing.Batch{validBatch("DM1", size), validBatch("DM2", size), validBatch("DM3", size)}
				batches[1].Events[size-1].ID = uuid.UUID{9}
				require.NoError(t, evsourcing.Validate(batches...))
				test.change(&batches)
				err := evsourcing.Validate(batches...)
				require.Error(t, err)
				require.ErrorContains(t, err, test.says)
				require.ErrorContains(t, err, "evsourcing: ")
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				assert.Less(t, len(err.Error()), 300, "what is hostile does not fill the message")
			})
		}
	}
}

func TestValidateAcceptsWhatIsOddButFine(t *testing.T) {
	t.Parallel()
	for _, name := range goodNames() {
		b := validBatch(name, 2)
		b.Stream.Type = name
		b.Events[0].Stream = b.Stream // each event's is the batch's, or zero
		b.Events[0].Topic, b.Events[0].ContentType, b.Events[0].Tags = name, name, []string{name, name}
		b.Events[1].Metadata = evsourcing.Metadata{name: name, "empty": ""}
		require.NoError(t, evsourcing.Validate(b), "%q", name)
	}
	largest := validBatch("DM2018", 1)
	largest.Events[0].Data = make([]byte, evsourcing.MaxDataSize)
	largest.Events[0].Metadata = evsourcing.Metadata{"k": strings.Repeat("x", evsourcing.MaxMetadataSize-1)}
	require.NoError(t, evsourcing.Validate(largest))
	last := validBatch("DM2018", 1)
	last.Expected = math.MaxInt64 - 1
	last.Events[0].Version = math.MaxInt64
	require.NoError(t, evsourcing.Validate(last))
	anyVersion := validBatch("DM2018", 1)
	anyVersion.Expected = evsourcing.AnyVersion
	anyVersion.Events[0].Version = 0
	anyVersion.Events[0].Position = 7 // ignored
	require.NoError(t, evsourcing.Validate(anyVersion))
}
