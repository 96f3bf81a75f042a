package faults

import (
	"bytes"
	"fmt"
	"math"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// compareSnapshot compares a stream's snapshot.
func (m *machine) compareSnapshot(t *rapid.T, s store, id evsourcing.StreamID) {
	m.within(t, fmt.Sprintf("LoadSnapshot of %.40q", id), func() error {
		got, ok, err := s.LoadSnapshot(m.ctx, id)
		want, saved := m.model.snapshots[id]
		switch {
		case err != nil:
			return err
		case ok != saved:
			return fmt.Errorf("it found one: %t, want %t", ok, saved)
		case !ok:
			return nil
		}
		defer func() { clear(got.Data) }() // as its owner may
		return compareSnapshot(got, want)
	})
}

// saveSnapshots saves snapshots of a stream.
func (m *machine) saveSnapshots(t *rapid.T) {
	id := pick(t, "stream", streams)
	for range upTo(t, "snapshots", 4) {
		m.saveSnapshot(t, m.store(t), id)
	}
}

// saveSnapshot saves a snapshot, which replaces a newer one only if that is of
// another fingerprint.
func (m *machine) saveSnapshot(t *rapid.T, s store, id evsourcing.StreamID) {
	snapshot := evsourcing.Snapshot{
		Stream: id, Version: rapid.Uint64Range(1, 6).Draw(t, "version"), Position: pick(t, "position", []uint64{1, 1 << 40, math.MaxInt64}),
		EventID: m.newID(), Fingerprint: pick(t, "fingerprint", fingerprints), ContentType: pick(t, "content type", contentTypes),
		Data: drawData(t), Time: drawTime(t),
	}
	want := snapshot
	want.Time = stored(want.Time)
	want.Data = bytes.Clone(want.Data)
	old, ok := m.model.snapshots[id]
	if !ok || old.Fingerprint != want.Fingerprint || old.Version <= want.Version {
		m.model.snapshots[id] = want
	}
	m.within(t, fmt.Sprintf("SaveSnapshot of %.40q, version %d, fingerprint %q, where %d, %q is", id, want.Version, want.Fingerprint, old.Version, old.Fingerprint), func() error {
		err := s.SaveSnapshot(m.ctx, snapshot)
		clear(snapshot.Data) // as its owner may
		return err
	})
	m.compareSnapshot(t, m.store(t), id)
}
