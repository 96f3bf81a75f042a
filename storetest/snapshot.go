package storetest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func snapshotCases() []testCase {
	needs := []capability{hasSnapshots}
	return []testCase{
		{"a snapshot comes back as it was", ruleSnapshot, needs, checkSnapshot},
		{"snapshots of similar streams are kept apart", ruleSnapshot, needs, checkSnapshotNames},
		{"a snapshot is neither kept nor shared", ruleSnapshot, needs, checkSnapshotOwned},
		{"a snapshot gives way to a later one only", ruleNewest, needs, checkNewest},
		{"of racing snapshots the newest stays", ruleNewest, needs, checkNewestRace},
	}
}

// newSnapshot returns a snapshot at the version, with something in every field.
func newSnapshot(id evsourcing.StreamID, version uint64) evsourcing.Snapshot {
	return evsourcing.Snapshot{
		Stream:      id,
		Version:     version,
		Position:    version + 1000,
		EventID:     uuid.New(),
		Fingerprint: "fingerprint",
		ContentType: "application/json",
		Data:        fmt.Appendf(nil, `{"version": %d, "stream": %q}`, version, id),
		Time:        time.Date(2024, 2, 29, 12, 30, 59, 123456000, time.UTC),
	}
}

func (s *suite) saveSnapshot(snapshot evsourcing.Snapshot) {
	s.t.Helper()
	store, _ := evsourcing.Capability[evsourcing.SnapshotStore](s.store)
	c := s.begin(s.ctx, "SaveSnapshot of", snapshot.Stream)
	defer s.end(c)
	if err := store.SaveSnapshot(s.ctx, snapshot); err != nil {
		s.fatalf("SaveSnapshot of %v at version %d failed: %v", snapshot.Stream, snapshot.Version, err)
	}
}

func (s *suite) loadSnapshot(id evsourcing.StreamID) (evsourcing.Snapshot, bool) {
	s.t.Helper()
	store, _ := evsourcing.Capability[evsourcing.SnapshotStore](s.store)
	c := s.begin(s.ctx, "LoadSnapshot of", id)
	defer s.end(c)
	snapshot, ok, err := store.LoadSnapshot(s.ctx, id)
	if err != nil {
		s.fatalf("LoadSnapshot of %v failed: %v", id, err)
	}
	return snapshot, ok
}

// wantSnapshot checks that a stream's snapshot is want.
func (s *suite) wantSnapshot(what string, want evsourcing.Snapshot) {
	s.t.Helper()
	got, ok := s.loadSnapshot(want.Stream)
	if !ok {
		s.errorf("%s: LoadSnapshot of %v finds none", what, want.Stream)
		return
	}
	want.Time = want.Time.UTC().Truncate(time.Microsecond)
	if !bytes.Equal(got.Data, want.Data) {
		s.errorf("%s: the snapshot's data is %.100q, want %.100q", what, got.Data, want.Data)
	}
	if !got.Time.Equal(want.Time) || got.Time.Location() != time.UTC {
		s.errorf("%s: the snapshot's time is %v, want %v", what, got.Time, want.Time)
	}
	got.Data, want.Data, got.Time, want.Time = nil, nil, time.Time{}, time.Time{}
	if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
		s.errorf("%s: the snapshot is %+v, want %+v", what, got, want)
	}
}

func checkSnapshot(s *suite) {
	id := stream("a")
	if _, ok := s.loadSnapshot(id); ok {
		s.errorf("LoadSnapshot finds a snapshot that was never saved")
	}
	s.put(newBatch(id, 0, 3))
	if _, ok := s.loadSnapshot(id); ok {
		s.errorf("LoadSnapshot finds a snapshot of a stream for which none was saved")
	}
	for i, data := range [][]byte{
		{}, []byte(" {} "), []byte(`{"b":1, "a":2.0}`), {0, 0xff, 0, '\'', '\\'}, bytes.Repeat([]byte{0x80, 1, 2}, 1<<20/3), []byte("small again"),
	} {
		snapshot := newSnapshot(id, uint64(i+1))
		snapshot.Data = data
		snapshot.Fingerprint = hostileNames()[i*7]
		snapshot.ContentType = hostileNames()[i*11]
		snapshot.Time = time.Date(2024, 3, 4, 5, 6, 7, 123456789, time.FixedZone("east", 3600*(i+1)))
		s.saveSnapshot(snapshot)
		s.wantSnapshot(fmt.Sprint("snapshot ", i+1), snapshot)
	}
	s.verify()
}

func checkSnapshotNames(s *suite) {
	var list []evsourcing.Snapshot
	for i, name := range hostileNames() {
		snapshot := newSnapshot(evsourcing.StreamID{Type: name, ID: "a"}, uint64(i+1))
		other := newSnapshot(evsourcing.StreamID{Type: "a", ID: name}, uint64(i+1))
		if name == "a" {
			other.Stream.Type = "b"
		}
		s.saveSnapshot(snapshot)
		s.saveSnapshot(other)
		list = append(list, snapshot, other)
	}
	for _, snapshot := range list {
		s.wantSnapshot("among many streams", snapshot)
	}
}

func checkSnapshotOwned(s *suite) {
	snapshot := newSnapshot(stream("a"), 1)
	want := snapshot
	want.Data = bytes.Clone(snapshot.Data)
	s.saveSnapshot(snapshot)
	if !bytes.Equal(snapshot.Data, want.Data) {
		s.errorf("SaveSnapshot changed the data")
	}
	clear(snapshot.Data)
	s.wantSnapshot("after the saved data was changed", want)
	got, _ := s.loadSnapshot(stream("a"))
	clear(got.Data)
	s.wantSnapshot("after the loaded data was changed", want)
}

func checkNewest(s *suite) {
	id := stream("a")
	save := func(version uint64, fingerprint string) evsourcing.Snapshot {
		snapshot := newSnapshot(id, version)
		snapshot.Fingerprint = fingerprint
		s.saveSnapshot(snapshot)
		return snapshot
	}
	other := newSnapshot(stream("b"), 100)
	s.saveSnapshot(other)
	kept := save(5, "one")
	save(4, "one")
	s.wantSnapshot("after a lower version was saved", kept)
	s.wantSnapshot("after an equal version was saved", save(5, "one"))
	kept = save(9, "one")
	s.wantSnapshot("after a higher version was saved", kept)
	save(8, "one")
	s.wantSnapshot("after another lower version was saved", kept)
	kept = save(3, "two")
	s.wantSnapshot("after a lower version with another fingerprint was saved", kept)
	save(2, "two")
	s.wantSnapshot("after a lower version with the new fingerprint was saved", kept)
	s.wantSnapshot("after a higher version with the old fingerprint was saved", save(6, "one"))
	s.wantSnapshot("of another stream", other)
}

func checkNewestRace(s *suite) {
	for round := range s.size(30, 10) {
		id := stream(fmt.Sprint("raced-", round))
		var list []evsourcing.Snapshot
		for i := range racers {
			list = append(list, newSnapshot(id, uint64(1+(i*7+round)%racers)))
		}
		s.together(racers, func(i int) { s.saveSnapshot(list[i]) })
		for _, snapshot := range list {
			if snapshot.Version == racers {
				s.wantSnapshot(fmt.Sprintf("round %d", round), snapshot)
			}
		}
	}
}
