package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// sample returns a closed store's file, and its events.
func sample(t *testing.T) (file []byte, list []evsourcing.StoredEvent) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.db")
	s := openTest(t, path, nil)
	for i := range 40 {
		b := batch(fmt.Sprint("stream-", i%5), evsourcing.AnyVersion, 3)
		b.Events[0].Tags = []string{"a tag"}
		b.Events[1].Metadata = evsourcing.Metadata{"user": fmt.Sprint("somebody ", i)}
		b.Events[2].Data = []byte(strings.Repeat(fmt.Sprint("data ", i), 100+i*10))
		mustAppend(t, s, b)
	}
	list = all(t, s)
	closeStore(t, s)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file, list
}

// written opens a store whose file has the bytes.
func written(t *testing.T, file []byte) (*Store, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "written.db")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, &Options{Logger: quiet, Readers: 1})
	if err == nil {
		t.Cleanup(func() { _ = s.Close(context.Background()) })
	}
	return s, err
}

func TestAFlippedByteIsFoundAndNamed(t *testing.T) {
	file, list := sample(t)
	for _, what := range []struct {
		name string
		text []byte
		of   evsourcing.StoredEvent
	}{
		{"data", []byte("data 7data 7"), list[7*3+2]},
		{"metadata", []byte("somebody 12"), list[12*3+1]},
		{"the ID", list[30].ID[:], list[30]},
	} {
		found := 0
		for at := 0; found < faulttest.Scale(2, 8, 1000); at++ {
			i := bytes.Index(file[at:], what.text)
			if i < 0 {
				break
			}
			at += i
			found++
			s, err := written(t, flip(file, at+3))
			if err != nil {
				t.Fatal(err)
			}
			err = s.Check(t.Context())
			want(t, what.name, err, ErrCorrupt)
			place := fmt.Sprintf("position %d, version %d of thing/%s", what.of.Position, what.of.Version, what.of.Stream.ID)
			if what.name != "the ID" || found == 1 && strings.Contains(err.Error(), place) {
				wantText(t, what.name, err, place)
			}
			if what.name == "the ID" {
				continue // the other one is in the index
			}
			got := 0
			for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
				if err != nil {
					want(t, "Events", err, ErrCorrupt)
					wantText(t, "Events", err, place)
					break
				}
				got++
				if e.Position == what.of.Position {
					t.Error("Events yields the event that is damaged")
				}
			}
			if got != int(what.of.Position)-1 {
				t.Errorf("Events yields %d events before the damage", got)
			}
			for _, err := range s.Load(t.Context(), what.of.Stream, evsourcing.Range{After: what.of.Version - 1, Limit: 1}) {
				want(t, "Load", err, ErrCorrupt)
				wantText(t, "Load", err, place)
			}
		}
		if found == 0 {
			t.Errorf("%s was not found in the file", what.name)
		}
	}
}

func flip(file []byte, at int) []byte {
	file = bytes.Clone(file)
	file[at] ^= 0x10
	return file
}

// Whatever byte is flipped: the store can't be opened, or Check finds it, or it
// does not matter.
func TestAnyFlippedByteIsFoundOrHarmless(t *testing.T) {
	file, list := sample(t)
	random := rand.New(rand.NewPCG(1, 2))
	harmless := 0
	rounds := faulttest.Scale(50, 300, 5000)
	for range rounds {
		at := random.IntN(len(file))
		s, err := written(t, flip(file, at))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !strings.Contains(err.Error(), "evsourcing: sqlite: ") {
				t.Errorf("byte %d: Open: %v", at, err)
			}
			continue
		}
		if err := s.Check(t.Context()); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d: Check: %v", at, err)
			}
		} else {
			harmless++
			got, err := read(t.Context(), s)
			if err != nil || len(got) != len(list) {
				t.Errorf("byte %d: Check finds nothing, but %d of %d events are read, %v", at, len(got), len(list), err)
			}
			for i := range got {
				if got[i].ID != list[i].ID || !bytes.Equal(got[i].Data, list[i].Data) || got[i].Stream != list[i].Stream {
					t.Errorf("byte %d: Check finds nothing, but event %d has changed", at, i)
				}
			}
		}
		_ = s.Close(t.Context())
	}
	t.Logf("of %d flipped bytes %d are harmless", rounds, harmless)
	if harmless > rounds/2 {
		t.Errorf("of %d flipped bytes %d are not found", rounds, harmless)
	}
}

func read(ctx context.Context, s *Store) (list []evsourcing.StoredEvent, err error) {
	for e, err := range s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}

func TestCheckFindsWhatIsMissingOrOutOfOrder(t *testing.T) {
	for name, change := range map[string]string{
		"a gap":                "DELETE FROM events WHERE version = 2",
		"two versions swapped": "UPDATE events SET version = -version; UPDATE events SET version = CASE version WHEN -2 THEN 3 WHEN -3 THEN 2 ELSE -version END",
		"another stream":       "UPDATE events SET stream = 'b' WHERE version = 2",
		"another kind":         "INSERT INTO kinds VALUES (77, 'thing', 'x', ''); UPDATE events SET kind = 77 WHERE version = 2",
		"no kind":              "UPDATE events SET kind = 77 WHERE version = 2",
		"a stream renamed":     "UPDATE streams SET stream = 'other'",
		"a position moved":     "UPDATE events SET position = 100 WHERE version = 2",
		"a time":               "UPDATE events SET time = time + 1 WHERE version = 2",
		"a tag":                `UPDATE events SET header = '["x"]' || char(10) WHERE version = 2`,
		"an ID":                "UPDATE events SET id = zeroblob(16) WHERE version = 2",
	} {
		s := openTest(t, "", nil)
		mustAppend(t, s, batch("a", 0, 4))
		c := raw(t, s.path)
		for q := range strings.SplitSeq(change, "; ") {
			execute(t, c, q)
		}
		err := s.Check(t.Context())
		want(t, name, err, ErrCorrupt)
		wantText(t, name, err, "version", "position")
	}
}

func TestADamagedSnapshotCountsAsLost(t *testing.T) {
	s := openTest(t, "", nil)
	snap := evsourcing.Snapshot{Stream: stream("a"), Version: 3, EventID: uuid.New(), Data: []byte("state")}
	if err := s.SaveSnapshot(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	execute(t, raw(t, s.path), "UPDATE snapshots SET data = CAST('State' AS BLOB)")
	if _, ok, err := s.LoadSnapshot(t.Context(), snap.Stream); ok || err != nil {
		t.Errorf("LoadSnapshot: %t, %v", ok, err)
	}
}
