package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

func init() {
	children["append"] = appendChild
}

// appendChild appends events with many writers, and prints how many there are
// every now and then.
func appendChild(args []string) error {
	path, name := args[0], args[1]
	writers, _ := strconv.Atoi(args[2])
	count, _ := strconv.Atoi(args[3])
	s, err := Open(path, &Options{Logger: quiet})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // the other one is ready too
	return errors.Join(appendMany(s, name, writers, count, func(n int64) {
		if n%100 == 0 {
			fmt.Println(n)
		}
	}), s.Close(context.Background()))
}

// appendMany appends count events, and tells how many there are.
func appendMany(s *Store, name string, writers, count int, tell func(n int64)) error {
	var left, done atomic.Int64
	left.Store(int64(count))
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for version := uint64(0); left.Add(-1) >= 0; version++ {
				if _, err := s.Append(context.Background(), batch(fmt.Sprint(name, "-", w), version, 1)); err != nil {
					errs[w] = err
					return
				}
				tell(done.Add(1))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func TestTwoProcessesShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	const writers = 16
	count := faulttest.Scale(1_000, 5_000, 50_000) // each
	type progress struct {
		n    int
		when time.Time
	}
	var progresses [2][]progress
	var start sync.WaitGroup
	var wg sync.WaitGroup
	start.Add(2)
	began := time.Now()
	for i := range 2 {
		cmd := child(t, "append", path, strconv.Itoa(i), strconv.Itoa(writers), strconv.Itoa(count))
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out := lines(t, cmd)
		wg.Go(func() {
			out.Scan()
			start.Done()
			start.Wait()
			_, _ = stdin.Write([]byte("x"))
			for out.Scan() {
				n, err := strconv.Atoi(out.Text())
				if err != nil {
					t.Errorf("a child printed %q", out.Text())
				}
				progresses[i] = append(progresses[i], progress{n, time.Now()})
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	// When one has come half way, the other has made progress too.
	for i := range 2 {
		half := progresses[i][len(progresses[i])/2].when
		other, longest := 0, time.Duration(0)
		for j, p := range progresses[1-i] {
			if p.when.Before(half) {
				other = p.n
			}
			if j > 0 {
				longest = max(longest, p.when.Sub(progresses[1-i][j-1].when))
			}
		}
		t.Logf("when process %d had appended half of %d events, the other one had appended %d; its longest pause was %v", i, count, other, longest)
		if !testing.Short() && other < count/20 { // a short run is over before that can be told
			t.Errorf("one process starves")
		}
	}
	s := openTest(t, path, nil)
	if n := len(all(t, s)); n != 2*count {
		t.Errorf("%d events, want %d", n, 2*count)
	}
	t.Logf("%.0f events/s in all", float64(2*count)/elapsed.Seconds())
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBackupWhileOthersWrite(t *testing.T) {
	s := openTest(t, "", nil)
	fill(t, s, faulttest.Scale(2_000, 20_000, 200_000))
	var acknowledged atomic.Uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for version := uint64(0); ; version += 2 {
				select {
				case <-stop:
					return
				default:
				}
				r, err := s.Append(context.Background(), batch(fmt.Sprint("w", w), version, 1), batch(fmt.Sprint("x", w), version, 2))
				if err != nil {
					r, err = s.Append(context.Background(), batch(fmt.Sprint("w", w), evsourcing.AnyVersion, 1))
				}
				if err != nil {
					t.Error(err)
					return
				}
				for {
					old := acknowledged.Load()
					if old >= r.Position || acknowledged.CompareAndSwap(old, r.Position) {
						break
					}
				}
			}
		})
	}
	for i := range 3 {
		before := acknowledged.Load()
		path := filepath.Join(t.TempDir(), fmt.Sprint("copy-", i))
		if err := s.Backup(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		after := acknowledged.Load()
		copied := openTest(t, path, nil)
		if err := copied.Check(t.Context()); err != nil {
			t.Error(err)
		}
		head, err := copied.Head(t.Context())
		if err != nil || head.Position < before {
			t.Errorf("the copy has %d events, %v; %d were acknowledged before", head.Position, err, before)
		}
		t.Logf("the copy has %d events; acknowledged were %d before it, and %d after", head.Position, before, after)
		mustAppend(t, copied, batch("of the copy", 0, 1))
		want(t, "a backup to a file that exists", s.Backup(t.Context(), path), os.ErrExist)
		if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	close(stop)
	wg.Wait()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, "a backup under a cancelled context", s.Backup(ctx, filepath.Join(dir, "x")), context.Canceled)
	wantText(t, "a backup into nowhere", s.Backup(t.Context(), filepath.Join(dir, "none", "x")), "backup", "directory")
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// fill appends n events.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		b := batch(fmt.Sprint("fill-", i), 0, 100)
		mustAppend(t, s, b)
	}
}
