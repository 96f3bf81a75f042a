package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

func init() {
	children["append"] = appendChild
	children["crash"] = crashChild
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
	count := size(1_000, 5_000, 50_000) // each
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
	fill(t, s, size(2_000, 20_000, 200_000))
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

// crashChild appends, and runs an exactly-once projection beside it, until it is
// killed. It prints the IDs of what was acknowledged.
func crashChild(args []string) error {
	path, seed := args[0], args[1]
	s, err := Open(path, &Options{Logger: quiet})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				a := batch(fmt.Sprint(seed, "-", w), evsourcing.AnyVersion, 1+i%3)
				b := batch("shared", evsourcing.AnyVersion, 1)
				if _, err := s.Append(context.Background(), a, b); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				for _, e := range append(a.Events, b.Events...) {
					fmt.Fprint(out, e.ID, " ")
				}
				fmt.Fprintln(out)
				_ = out.Flush()
				mu.Unlock()
			}
		}()
	}
	if err := project(context.Background(), s, false); err != nil {
		return err
	}
	return errors.New("the projection has ended")
}

// project runs a projection that counts events by their streams.
func project(ctx context.Context, s *Store, once bool) error {
	h := s.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			err := sqlitex.Execute(tx, "INSERT INTO counts VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET n = n + 1, last = excluded.last",
				&sqlitex.ExecOptions{Args: []any{m.Stream.ID, int64(m.Position)}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for {
		from, _, err := s.Checkpoint(ctx, "counts")
		if err != nil {
			return err
		}
		var msgs []evsourcing.Message
		for e, err := range s.Events(ctx, evsourcing.Range{After: from.Position, Limit: 50}, evsourcing.Filter{}) {
			if err != nil {
				return err
			}
			msgs = append(msgs, evsourcing.Message{StoredEvent: e})
		}
		if len(msgs) == 0 {
			if once {
				return nil
			}
			if err := s.Wait(ctx, from.Position); err != nil {
				return err
			}
			continue
		}
		last := msgs[len(msgs)-1]
		to := evsourcing.Checkpoint{Position: last.Position, EventID: last.ID}
		if err := h.HandleTx(ctx, "counts", from, to, msgs); err != nil {
			return err
		}
	}
}

func TestNothingAcknowledgedIsLostWhenAProcessIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	s := openTest(t, path, nil)
	execute(t, raw(t, path), "CREATE TABLE counts (stream TEXT PRIMARY KEY, n INTEGER, last INTEGER)")
	closeStore(t, s)
	acknowledged := map[uuid.UUID]bool{}
	var batches [][]uuid.UUID
	random := rand.New(rand.NewPCG(3, 4))
	rounds := size(3, 10, 200)
	for round := range rounds {
		cmd := child(t, "crash", path, strconv.Itoa(round))
		out := lines(t, cmd)
		deadline := time.After(time.Duration(5+random.IntN(150)) * time.Millisecond)
		first := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := 0; out.Scan(); n++ {
				if n == 0 {
					close(first)
				}
				var b []uuid.UUID
				for text := range strings.FieldsSeq(out.Text()) {
					id, err := uuid.Parse(text)
					if err != nil {
						return // cut short by the kill
					}
					b = append(b, id)
				}
				batches = append(batches, b)
				for _, id := range b {
					acknowledged[id] = true
				}
			}
		})
		<-first
		<-deadline
		_ = cmd.Process.Kill()
		wg.Wait()
		_ = cmd.Wait()

		s := openTest(t, path, nil)
		stored := map[uuid.UUID]uint64{}
		counts := map[string]int{}
		for _, e := range all(t, s) {
			stored[e.ID] = e.Position
			counts[e.Stream.ID]++
		}
		for id := range acknowledged {
			if stored[id] == 0 {
				t.Fatalf("round %d: the event %v was acknowledged, and is lost", round, id)
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Each append stores one event of its own stream at least, and exactly one
		// of the shared one behind it: none is half there.
		shared := 0
		for _, e := range all(t, s) {
			if e.Stream.ID == "shared" {
				shared++
			}
		}
		if n := len(batches); shared < n {
			t.Errorf("round %d: %d appends, and %d are there", round, n, shared)
		}
		if err := project(t.Context(), s, true); err != nil {
			t.Fatal(err)
		}
		for _, row := range query(t, raw(t, path), "SELECT stream || ' ' || n FROM counts") {
			id, n, _ := strings.Cut(row, " ")
			if n != strconv.Itoa(counts[id]) {
				t.Errorf("round %d: the projection has %s events of %s, and the log %d", round, n, id, counts[id])
			}
			delete(counts, id)
		}
		if len(counts) > 0 {
			t.Errorf("round %d: the projection lacks %v", round, counts)
		}
		closeStore(t, s)
	}
	t.Logf("%d rounds, %d events acknowledged", rounds, len(acknowledged))
}
