package faults

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evsourcing/evsourcing"
)

// stored returns the time that a store should return for t.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// clone returns a copy of e that shares no memory with it.
func clone(e evsourcing.StoredEvent) evsourcing.StoredEvent {
	e.Data = bytes.Clone(e.Data)
	e.Tags = slices.Clone(e.Tags)
	e.Metadata = maps.Clone(e.Metadata)
	return e
}

// cloneBatches returns a copy of batches that shares no memory with them.
func cloneBatches(batches []evsourcing.Batch) []evsourcing.Batch {
	batches = slices.Clone(batches)
	for i := range batches {
		batches[i].Events = slices.Clone(batches[i].Events)
		for j := range batches[i].Events {
			batches[i].Events[j] = clone(batches[i].Events[j])
		}
	}
	return batches
}

// same reports whether two appends are the same in every field.
func same(a, b []evsourcing.Batch) bool {
	return slices.EqualFunc(a, b, func(a, b evsourcing.Batch) bool {
		return a.Stream == b.Stream && a.Expected == b.Expected && slices.EqualFunc(a.Events, b.Events, func(a, b evsourcing.StoredEvent) bool {
			equal := a.ID == b.ID && a.Stream == b.Stream && a.Version == b.Version && a.Position == b.Position && a.Topic == b.Topic
			return equal && a.ContentType == b.ContentType && bytes.Equal(a.Data, b.Data) && slices.Equal(a.Tags, b.Tags) &&
				maps.Equal(a.Metadata, b.Metadata) && a.Time == b.Time
		})
	})
}

// spoil overwrites what belongs to the caller, so that a store that shares it
// is found out.
func spoil(e *evsourcing.StoredEvent) {
	clear(e.Data)
	for i := range e.Tags {
		e.Tags[i] = "spoilt"
	}
	for k := range e.Metadata {
		e.Metadata[k] = "spoilt"
	}
}

// compare returns the first difference between two lists of events, or nil.
func compare(got, want []evsourcing.StoredEvent) error {
	for i := range min(len(got), len(want)) {
		if d := difference(got[i], want[i]); d != "" {
			return fmt.Errorf("event %d of %d: %s", i+1, len(want), d)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("got %d events, want %d", len(got), len(want))
	}
	return nil
}

// difference describes the first difference between two events, or returns "".
func difference(got, want evsourcing.StoredEvent) string {
	switch {
	case got.ID != want.ID:
		return fmt.Sprintf("ID is %v (version %d, position %d), want %v (version %d, position %d)",
			got.ID, got.Version, got.Position, want.ID, want.Version, want.Position)
	case got.Stream != want.Stream:
		return fmt.Sprintf("Stream is %q, want %q", got.Stream, want.Stream)
	case got.Version != want.Version:
		return fmt.Sprintf("Version is %d, want %d", got.Version, want.Version)
	case got.Position != want.Position:
		return fmt.Sprintf("Position is %d, want %d", got.Position, want.Position)
	case got.Topic != want.Topic:
		return fmt.Sprintf("Topic is %q, want %q", got.Topic, want.Topic)
	case got.ContentType != want.ContentType:
		return fmt.Sprintf("ContentType is %q, want %q", got.ContentType, want.ContentType)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("Data (%d bytes, want %d) is %.80q, want %.80q", len(got.Data), len(want.Data), got.Data, want.Data)
	case !slices.Equal(got.Tags, want.Tags):
		return fmt.Sprintf("Tags is %q, want %q", got.Tags, want.Tags)
	case !maps.Equal(got.Metadata, want.Metadata):
		return fmt.Sprintf("Metadata is %q, want %q", got.Metadata, want.Metadata)
	case !got.Time.Equal(want.Time) || got.Time.Location() != time.UTC:
		return fmt.Sprintf("Time is %v, want %v", got.Time, want.Time)
	}
	return ""
}

// compareSnapshot returns what differs between two snapshots, or nil.
func compareSnapshot(got, want evsourcing.Snapshot) error {
	switch {
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Errorf("Data is %.80q, want %.80q", got.Data, want.Data)
	case !got.Time.Equal(want.Time) || got.Time.Location() != time.UTC:
		return fmt.Errorf("Time is %v, want %v", got.Time, want.Time)
	}
	got.Data, want.Data, got.Time, want.Time = nil, nil, time.Time{}, time.Time{}
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		return fmt.Errorf("it is %s, want %s", g, w)
	}
	return nil
}
