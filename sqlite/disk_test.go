package sqlite

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

func logSize(t *testing.T, s *Store) int64 {
	t.Helper()
	info, err := os.Stat(s.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

const mostWAL = 64 << 20

func TestAReaderAtRestDoesNotGrowTheLog(t *testing.T) {
	s := openTest(t, "", &Options{Durability: Normal, Logger: quiet}) // or it would take long
	fill(t, s, 2000)
	next, stop := iter.Pull2(s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}))
	defer stop()
	next()
	load, stopLoad := iter.Pull2(s.Load(t.Context(), stream("fill-0"), evsourcing.Range{}))
	defer stopLoad()
	load()
	written := 0
	for i := 0; written < mostWAL+mostWAL/4; i++ {
		b := batch(fmt.Sprint("large-", i), 0, 1)
		b.Events[0].Data = make([]byte, 1<<20)
		mustAppend(t, s, b)
		written += 1 << 20
		if n := logSize(t, s); n > mostWAL {
			t.Fatalf("the log has %d bytes after %d were written", n, written)
		}
	}
	t.Logf("%d MiB written, the log has %d MiB", written>>20, logSize(t, s)>>20)
}

// Readers that never rest all at once keep a log from being started anew, unless
// somebody sees to it.
func TestReadersAtWorkDoNotGrowTheLog(t *testing.T) {
	s := openTest(t, "", &Options{Durability: Normal, Logger: quiet})
	fill(t, s, 20_000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, err := range s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{Topics: []string{"none", "thing.done"}}) {
					if err != nil {
						break
					}
				}
			}
		})
	}
	most := int64(0)
	for i := range faulttest.Scale(25, 50, 250) {
		b := batch(fmt.Sprint("large-", i), 0, 1)
		b.Events[0].Data = make([]byte, 4<<20)
		mustAppend(t, s, b)
		most = max(most, logSize(t, s))
	}
	cancel()
	wg.Wait()
	t.Logf("the log had up to %d MiB", most>>20)
	if most > mostWAL {
		t.Errorf("the log had %d bytes", most)
	}
}

func TestAFullDisk(t *testing.T) {
	dir := tmpfs(t, 4<<20)
	s := openTest(t, filepath.Join(dir, "test.db"), nil)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[uuid.UUID]bool{}
	var mu sync.Mutex
	fillUp := func() (failed []evsourcing.Batch) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					b := batch(fmt.Sprint("w", w), evsourcing.AnyVersion, 2)
					b.Events[0].Data = make([]byte, 3000)
					_, err := s.Append(context.Background(), b)
					mu.Lock()
					if err != nil {
						failed = append(failed, b)
						if errors.Is(err, evsourcing.ErrUncertain) {
							t.Errorf("it is uncertain: %v", err)
						}
						wantText(t, "Append", err, "full", s.path)
						mu.Unlock()
						return
					}
					acknowledged[b.Events[0].ID], acknowledged[b.Events[1].ID] = true, true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return failed
	}
	verify := func() {
		t.Helper()
		list := all(t, s)
		if len(list) != len(acknowledged) {
			t.Errorf("%d events, %d were acknowledged", len(list), len(acknowledged))
		}
		for _, e := range list {
			if !acknowledged[e.ID] {
				t.Errorf("the event %v is there, and was not acknowledged", e.ID)
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
	failed := fillUp()
	verify()
	wantText(t, "SaveSnapshot", s.SaveSnapshot(t.Context(), evsourcing.Snapshot{Stream: stream("w"), Data: make([]byte, 1<<20)}), "full")
	err := s.Handler(func(ctx context.Context, _ *zsqlite.Conn, _ []evsourcing.Message) error {
		b := batch("handled", 0, 1)
		b.Events[0].Data = make([]byte, 1<<20)
		_, err := s.Append(ctx, b)
		return err
	}).Handle(t.Context(), nil)
	wantText(t, "a handler", err, "full")
	verify()
	wantText(t, "Backup", s.Backup(t.Context(), filepath.Join(dir, "copy")), "full")
	if left, _ := filepath.Glob(filepath.Join(dir, "copy*")); len(left) > 0 {
		t.Errorf("a backup left %v", left)
	}
	// When there is room again, it goes on.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, b := range failed {
		mustAppend(t, s, b)
		acknowledged[b.Events[0].ID], acknowledged[b.Events[1].ID] = true, true
	}
	verify()
	path := s.path
	closeStore(t, s)
	s = openTest(t, path, nil)
	verify()
	t.Logf("%d events on a disk that was full", len(acknowledged))
}

func TestAnAppendTooLargeForTheDiskFailsAlone(t *testing.T) {
	s := openTest(t, filepath.Join(tmpfs(t, 2<<20), "test.db"), nil)
	mustAppend(t, s, batch("a", 0, 1))
	other := raw(t, s.path)
	execute(t, other, "BEGIN IMMEDIATE")
	large := batch("large", 0, 1)
	large.Events[0].Data = make([]byte, 4<<20)
	appends := []evsourcing.Batch{batch("b", 0, 1), large, batch("c", 0, 1)}
	errs := make([]error, len(appends))
	var wg sync.WaitGroup
	for i, b := range appends {
		wg.Go(func() { _, errs[i] = s.Append(t.Context(), b) })
		eventually(t, "an append that waits", func() bool { return s.committer.Waiting() == i+1 })
	}
	execute(t, other, "ROLLBACK")
	wg.Wait()
	want(t, "a small one", errs[0], nil)
	wantText(t, "the large one", errs[1], "full")
	want(t, "another small one", errs[2], nil)
	if n := len(all(t, s)); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}
