package faults

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// badNames are names that no store accepts.
var badNames = []string{
	"", "\x00", "a\x00b", "name\x00", "a\xffb", "name\xe2\x82", strings.Repeat("n", evsourcing.MaxNameSize+1), strings.Repeat("é", evsourcing.MaxNameSize/2+1),
}

// A mistake spoils an append that is valid. b is its last batch, and e the
// batch's last event.
type mistake struct {
	name string
	want error // nil: any
	make func(t *rapid.T, list *[]evsourcing.Batch, b *evsourcing.Batch, e *evsourcing.StoredEvent)
}

type batches = []evsourcing.Batch

// onEvent makes a mistake in an event.
func onEvent(f func(t *rapid.T, e *evsourcing.StoredEvent)) func(*rapid.T, *batches, *evsourcing.Batch, *evsourcing.StoredEvent) {
	return func(t *rapid.T, _ *batches, _ *evsourcing.Batch, e *evsourcing.StoredEvent) { f(t, e) }
}

// onBatch makes a mistake in a batch.
func onBatch(f func(t *rapid.T, b *evsourcing.Batch)) func(*rapid.T, *batches, *evsourcing.Batch, *evsourcing.StoredEvent) {
	return func(t *rapid.T, _ *batches, b *evsourcing.Batch, _ *evsourcing.StoredEvent) { f(t, b) }
}

var mistakes = []mistake{
	{"no batches", nil, func(_ *rapid.T, list *batches, _ *evsourcing.Batch, _ *evsourcing.StoredEvent) { *list = nil }},
	{"an empty batch", nil, onBatch(func(_ *rapid.T, b *evsourcing.Batch) { b.Events = nil })},
	{"two batches for one stream", nil, func(_ *rapid.T, list *batches, b *evsourcing.Batch, e *evsourcing.StoredEvent) {
		other := clone(*e)
		other.ID[1] ^= 0xff
		*list = append(*list, batchOf(b.Stream, evsourcing.AnyVersion, other))
	}},
	{"a stream type", evsourcing.ErrInvalidStream, onBatch(func(t *rapid.T, b *evsourcing.Batch) { b.Stream.Type = pick(t, "name", badNames) })},
	{"a stream ID", evsourcing.ErrInvalidStream, onBatch(func(t *rapid.T, b *evsourcing.Batch) { b.Stream.ID = pick(t, "name", badNames) })},
	{"a topic", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) { e.Topic = pick(t, "name", badNames) })},
	{"a content type", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) { e.ContentType = pick(t, "name", badNames[1:]) })},
	{"a tag", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) { e.Tags = []string{"good", pick(t, "name", badNames)} })},
	{"a metadata key", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) {
		e.Metadata = evsourcing.Metadata{pick(t, "name", badNames): "value"}
	})},
	{"a metadata value", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) {
		e.Metadata = evsourcing.Metadata{"key": pick(t, "name", badNames[1:6])}
	})},
	{"a nil event ID", nil, onEvent(func(_ *rapid.T, e *evsourcing.StoredEvent) { e.ID = uuid.Nil })},
	{"an event ID twice", evsourcing.ErrDuplicateEvent, onBatch(func(_ *rapid.T, b *evsourcing.Batch) {
		b.Events = append(b.Events, clone(b.Events[0]))
		*b = batchOf(b.Stream, b.Expected, b.Events...)
	})},
	{"an event of another stream", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) {
		e.Stream = evsourcing.StreamID{Type: "another", ID: pick(t, "ID", []string{"", "1"})}
	})},
	{"a version", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) {
		right := e.Version
		e.Version = pick(t, "version", slices.DeleteFunc([]uint64{0, 1, right + 1, right - 1, math.MaxUint64}, func(v uint64) bool { return v == right }))
	})},
	{"a version beyond the greatest", nil, onBatch(func(t *rapid.T, b *evsourcing.Batch) {
		*b = batchOf(b.Stream, pick(t, "expected", []uint64{math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1}), b.Events...)
	})},
	{"a time", nil, onEvent(func(t *rapid.T, e *evsourcing.StoredEvent) {
		e.Time = time.Date(pick(t, "year", []int{-1, 10_000, 200_000}), 1, 2, 3, 4, 5, 6, time.UTC)
	})},
	{"the size of the data", nil, onEvent(func(_ *rapid.T, e *evsourcing.StoredEvent) { e.Data = tooLarge })},
	{"the size of the metadata", nil, onEvent(func(_ *rapid.T, e *evsourcing.StoredEvent) {
		e.Metadata = evsourcing.Metadata{"key": tooLong}
	})},
}

var (
	tooLarge = make([]byte, evsourcing.MaxDataSize+1)
	tooLong  = strings.Repeat("x", evsourcing.MaxMetadataSize)
)

// appendInvalid makes a mistake in an append that could be stored.
func (m *machine) appendInvalid(t *rapid.T) {
	s, list := m.store(t), m.drawBatches(t)
	for _, b := range list {
		m.touched[b.Stream] = struct{}{}
	}
	i := rapid.IntRange(0, len(mistakes)-1).Draw(t, "mistake")
	last := &list[len(list)-1]
	mistakes[i].make(t, &list, last, &last.Events[len(last.Events)-1])
	m.within(t, fmt.Sprintf("%s, with a mistake in %s", describe(list), mistakes[i].name), func() error {
		result, err := s.Append(m.ctx, list...)
		switch {
		case err == nil:
			return fmt.Errorf("it returned %+v", result)
		case mistakes[i].want != nil && !errors.Is(err, mistakes[i].want):
			return fmt.Errorf("it returned the error %w, want %w", err, mistakes[i].want)
		case errors.Is(err, evsourcing.ErrConflict) || errors.Is(err, evsourcing.ErrUncertain):
			return fmt.Errorf("it returned the error %w, which does not name the mistake", err)
		}
		return nil
	})
}
