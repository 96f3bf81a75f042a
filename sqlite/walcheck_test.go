package sqlite

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// killedFiles returns a store's files as a killed process leaves them.
func killedFiles(t *testing.T, path string) (db, wal []byte) {
	t.Helper()
	db, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wal, err = os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return db, wal
}

// openKilled opens a store on such files.
func openKilled(t *testing.T, db, wal []byte, opts *Options) (*Store, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "killed.db")
	for name, file := range map[string][]byte{path: db, path + "-wal": wal} {
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(path, opts)
	if err == nil {
		t.Cleanup(func() { closeStore(t, s) })
	}
	return s, path, err
}

// SQLite would drop every commit from the damage on, without a word.
func TestADamagedLogIsRefused(t *testing.T) {
	s := openTest(t, "", nil)
	var ends []int // of the log, after each append
	var wal, db []byte
	for i := range uint64(4) {
		mustAppend(t, s, batch("a", 2*i, 2))
		db, wal = killedFiles(t, s.path)
		ends = append(ends, len(wal))
	}
	opts := &Options{Logger: quiet, Readers: 1}
	step := faulttest.Scale(1501, 499, 101)
	for at := 0; at < ends[2]; at += step {
		if at > 2*walHead && at < walHead+frameHead+pageSize {
			at = walHead + frameHead + pageSize - 1 // one frame's data is enough
		}
		_, path, err := openKilled(t, db, flip(wal, at), opts)
		want(t, fmt.Sprint("byte ", at), err, ErrCorrupt)
		wantText(t, fmt.Sprint("byte ", at), err, path+"-wal", "operations.md")
		if t.Failed() {
			return
		}
	}
	// All of the log's head, and of that of the last frame before the last commit.
	last := ends[2] - frameHead - pageSize
	for at := range walHead + frameHead {
		if at >= walHead {
			at += last - walHead
		}
		if at/4*4 == last+frameCommit {
			continue // it may not look like a commit any more
		}
		_, _, err := openKilled(t, db, flip(wal, at), opts)
		want(t, fmt.Sprint("byte ", at), err, ErrCorrupt)
	}
	// To go on without what is lost is the operator's decision.
	_, path, err := openKilled(t, db, flip(wal, ends[0]+100), opts)
	want(t, "Open", err, ErrCorrupt)
	execute(t, raw(t, path), "PRAGMA wal_checkpoint(TRUNCATE)")
	if list := all(t, openTest(t, path, opts)); len(list) != 2 {
		t.Errorf("%d events are left, want those of the first append", len(list))
	}
}

// A loss of power may leave any part of what was not synced: the last commit. That is
// no damage, however often it happens to one log.
func TestATornCommitIsNoDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := openTest(t, "", nil)
	mustAppend(t, s, batch("a", 0, 1))
	db, wal := killedFiles(t, s.path)
	appends := uint64(1)
	for round := range faulttest.Scale(10, 40, 200) {
		s, path, err := openKilled(t, db, wal, nil)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		list := loaded(t.Context(), t, s, "a")
		if n := uint64(len(list)); n != appends && n != appends+1 {
			t.Fatalf("round %d: %d events, and %d were acknowledged", round, n, appends)
		}
		appends = uint64(len(list))
		for range random.IntN(3) {
			mustAppend(t, s, batch("a", appends, 1))
			appends++
		}
		db, wal = killedFiles(t, path)
		before := wal
		b := batch("a", appends, 1)
		b.Events[0].Data = bytes.Repeat([]byte{byte(round)}, 1+random.IntN(40_000))
		for i := range random.IntN(20) {
			b.Events[0].Tags = append(b.Events[0].Tags, fmt.Sprint("tag ", i))
		}
		mustAppend(t, s, b)
		_, wal = killedFiles(t, path)
		const sector = 512
		for at := 0; at < len(wal); at += sector {
			part := wal[at:min(at+sector, len(wal))]
			if random.IntN(3) > 0 {
				continue
			}
			clear(part) // a sector beyond the old end
			if at < len(before) {
				copy(part, before[at:])
			}
		}
	}
}

// A log that another process writes to is read while it is quiet.
func TestOpeningBesideAWriter(t *testing.T) {
	s := openTest(t, "", nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(faulttest.Scale(50, 200, 1000)) {
			mustAppend(t, s, batch("a", i, 1))
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		other, err := Open(s.path, &Options{Logger: quiet, Readers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Append(t.Context(), evsourcing.Batch{Stream: stream("b"), Expected: evsourcing.AnyVersion, Events: batch("b", evsourcing.AnyVersion, 1).Events}); err != nil {
			t.Fatal(err)
		}
		closeStore(t, other)
	}
}
