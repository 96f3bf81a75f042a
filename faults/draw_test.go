package faults

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// The universe is small, so that calls meet, and its names are such as a store
// may confuse, fold, cut, expand or execute.
var (
	streams = []evsourcing.StreamID{
		{Type: "order", ID: "1"}, {Type: "order", ID: "1 "}, {Type: "Order", ID: "1"}, {Type: "order", ID: "01"},
		{Type: "a", ID: "bc"}, {Type: "ab", ID: "c"}, {Type: "é", ID: `'; --`}, {Type: "e\u0301", ID: strings.Repeat("n", evsourcing.MaxNameSize)},
	}
	topics       = []string{"made", "Made", "made ", "m%", `"`, "\n", "日本語"}
	contentTypes = []string{"application/json", "", "application/cbor", "text/plain; charset=utf-8"}
	texts        = []string{"a", "A", `"`, `\`, "\n", "\x01", "<&>", "é", "\u2028", "\U0001f600", "null", `{"a":1}`, "%s", "$1", "\x7f", "a,b", "{}", "\ufffd"}
	names        = []string{"board", "Board", "board ", "a/b"}
	owners       = []string{"one", "One", "two"}
	fingerprints = []string{"v1", "v2", "V1"}
)

func pick[T any](t *rapid.T, label string, from []T) T { return rapid.SampledFrom(from).Draw(t, label) }

// pickAny draws one of things that are too large to show, or not always the same.
func pickAny[T any](t *rapid.T, label string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, label)]
}

// chance is true once in n draws or so.
func chance(t *rapid.T, label string, n int) bool {
	return rapid.IntRange(0, n-1).Draw(t, label) == n-1
}

// upTo draws a number from 1 to n.
func upTo(t *rapid.T, label string, n int) int { return rapid.IntRange(1, n).Draw(t, label) }

// newID returns an event ID that was never used on the machine's site.
func (m *machine) newID() uuid.UUID {
	m.made++
	var id uuid.UUID
	id[0] = 0xe5
	binary.BigEndian.PutUint64(id[8:], m.made)
	return id
}

// drawTime draws a time that a store must cut to the microsecond, in UTC.
func drawTime(t *rapid.T) time.Time {
	first, last := time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC).Unix()
	at := time.Unix(rapid.Int64Range(first, last).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
	return at.In(time.FixedZone("", pick(t, "zone", []int{0, 3600, -34200})))
}

func drawData(t *rapid.T) []byte {
	switch rapid.IntRange(0, 9).Draw(t, "data") {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return []byte{0, 0xff, '\'', '\\', 0}
	case 3:
		return slices.Repeat([]byte{0x80, 1, 2}, rapid.IntRange(1, 30_000).Draw(t, "size"))
	default:
		return []byte(`{"text": "` + pick(t, "text", texts[:3]) + `"}`)
	}
}

// drawEvent draws an event for a stream. Its version is left to the batch.
func (m *machine) drawEvent(t *rapid.T, id evsourcing.StreamID) evsourcing.StoredEvent {
	e := evsourcing.StoredEvent{ID: m.newID(), Topic: pick(t, "topic", topics), Data: drawData(t)}
	if chance(t, "plain", 2) {
		return e
	}
	e.ContentType = pick(t, "content type", contentTypes)
	e.Time = drawTime(t)
	e.Tags = rapid.SliceOfN(rapid.SampledFrom(texts), 0, 3).Draw(t, "tags")
	e.Metadata = rapid.MapOfN(rapid.SampledFrom(texts), rapid.SampledFrom(texts), 0, 3).Draw(t, "metadata")
	if chance(t, "stream given", 2) {
		e.Stream = id
	}
	e.Position = pick(t, "position given", []uint64{0, 1, math.MaxUint64}) // to be ignored
	return e
}

// batchOf returns a batch of the events, with the versions that the expected
// one asks for.
func batchOf(id evsourcing.StreamID, expected uint64, events ...evsourcing.StoredEvent) evsourcing.Batch {
	b := evsourcing.Batch{Stream: id, Expected: expected, Events: events}
	for i := range b.Events {
		b.Events[i].Version = 0
		if expected != evsourcing.AnyVersion {
			b.Events[i].Version = expected + uint64(i) + 1
		}
	}
	return b
}

// drawBatch draws a batch of n new events for the stream. It can be stored now,
// whatever else is.
func (m *machine) drawBatch(t *rapid.T, id evsourcing.StreamID, n int) evsourcing.Batch {
	expected := m.model.version(id)
	if chance(t, "any version", 3) {
		expected = evsourcing.AnyVersion
	}
	var list []evsourcing.StoredEvent
	for range n {
		list = append(list, m.drawEvent(t, id))
	}
	return batchOf(id, expected, list...)
}

// drawBatches draws an append that can be stored now.
func (m *machine) drawBatches(t *rapid.T) []evsourcing.Batch {
	n := 1
	if chance(t, "several batches", 3) {
		n = rapid.IntRange(2, 3).Draw(t, "batches")
	}
	var batches []evsourcing.Batch
	for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(streams), n, n, rapid.ID).Draw(t, "streams") {
		batches = append(batches, m.drawBatch(t, id, upTo(t, "events", 4)))
	}
	return batches
}

// drawNumber draws a version or position, out of those of the events or near.
func drawNumber(t *rapid.T, label string, events []evsourcing.StoredEvent, number func(evsourcing.StoredEvent) uint64) uint64 {
	if len(events) == 0 || chance(t, label+" is far", 4) {
		return pick(t, label, []uint64{0, 1, 2, 1000, 1 << 32, 1<<32 + 2, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64})
	}
	n := number(events[rapid.IntRange(0, len(events)-1).Draw(t, label)])
	return n + uint64(rapid.IntRange(0, 2).Draw(t, label+" from")) - 1
}

// drawRange draws a range of any shape.
func drawRange(t *rapid.T, events []evsourcing.StoredEvent, number func(evsourcing.StoredEvent) uint64) evsourcing.Range {
	var r evsourcing.Range
	if rapid.Bool().Draw(t, "bounded below") {
		r.After = drawNumber(t, "after", events, number)
	}
	if rapid.Bool().Draw(t, "bounded above") {
		r.Until = drawNumber(t, "until", events, number)
	}
	if rapid.Bool().Draw(t, "limited") {
		r.Limit = pick(t, "limit", []int{1, 2, 3, 10, 64, 100, math.MaxInt, -1})
	}
	r.Backward = rapid.Bool().Draw(t, "backward")
	return r
}

// drawFilter draws a filter; most select everything.
func drawFilter(t *rapid.T) evsourcing.Filter {
	var f evsourcing.Filter
	if rapid.Bool().Draw(t, "by topic") {
		f.Topics = rapid.SliceOfN(rapid.SampledFrom(append([]string{"unknown", ""}, topics...)), 0, 3).Draw(t, "topics")
	}
	if chance(t, "by type", 3) {
		f.Types = rapid.SliceOfN(rapid.SampledFrom([]string{"order", "Order", "a", "ab", "é", "unknown"}), 0, 3).Draw(t, "types")
	}
	return f
}
