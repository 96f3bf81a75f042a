package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

func init() { children["faults"] = faultsChild }

// faultsChild appends, alone and in handlers, and prints what came of each: ok,
// uncertain, or no. It ends by killing itself.
func faultsChild(args []string) error {
	path := args[0]
	s, err := Open(path, &Options{Logger: quiet})
	if err != nil {
		fmt.Println("open", err)
		return nil
	}
	var mu sync.Mutex
	say := func(what string, id uuid.UUID, err error) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, id, strings.ReplaceAll(fmt.Sprint(err), "\n", " "))
	}
	outcome := func(b evsourcing.Batch, err error) {
		what := "no"
		switch {
		case err == nil:
			what = "ok"
		case errors.Is(err, evsourcing.ErrUncertain):
			what = "uncertain"
		}
		for _, e := range b.Events {
			say(what, e.ID, err)
		}
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 60 {
				b := batch(fmt.Sprintf("w%d-%d", w, rand.N(20)), evsourcing.AnyVersion, 1+rand.N(3))
				b.Events[0].Data = make([]byte, rand.N(20000))
				b.Events[0].Topic = fmt.Sprint("topic.", rand.N(200))
				var err error
				if i%3 == 0 {
					err = s.InTx(context.Background(), func(ctx context.Context, _ *zsqlite.Conn) error {
						_, err := s.Append(ctx, b)
						return err
					})
				} else {
					_, err = s.Append(context.Background(), b)
				}
				outcome(b, err)
				for errors.Is(err, evsourcing.ErrUncertain) && rand.N(2) == 0 {
					if _, err = s.Append(context.Background(), b); err == nil {
						outcome(b, nil)
					}
				}
			}
		})
	}
	wg.Wait()
	if rand.N(2) == 0 {
		_ = s.Close(context.Background())
	}
	os.Exit(0)
	return nil
}

func TestInjectedFaultsAreReportedTruly(t *testing.T) {
	if os.Getenv("EVSOURCING_FULL") == "" {
		t.Skip("takes a minute: EVSOURCING_FULL=1 runs it")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		faulttest.Missing(t, "no strace, which injects the faults: %v", err)
	}
	total := map[string]int{}
	for round, began := 0, time.Now(); time.Since(began) < 60*time.Second; round++ {
		call := []string{"fsync", "fdatasync", "fsync,fdatasync", "pwrite64", "pwrite64", "ftruncate", "mmap", "pread64"}[round%8]
		errno := []string{"EIO", "ENOSPC"}[rand.N(2)]
		if call == "mmap" {
			errno = "ENOMEM"
		}
		inject := fmt.Sprintf("inject=%s:error=%s:when=%d+%d", call, errno, 20+rand.N(60), 3+rand.N(40))
		path := filepath.Join(t.TempDir(), "test.db")
		s := openTest(t, path, nil)
		mustAppend(t, s, batch("first", 0, 1))
		closeStore(t, s)
		inner := child(t, "faults", path)
		cmd := exec.CommandContext(t.Context(), strace, append([]string{"-f", "-qq", "-o", "/dev/null", "-P", path, "-P", path + "-wal", "-P", path + "-shm", "-e", "trace=" + call, "-e", inject, inner.Path}, inner.Args[1:]...)...)
		cmd.Env = inner.Env
		out, err := cmd.Output()
		said := map[uuid.UUID]string{}
		texts := map[string]int{}
		sc := bufio.NewScanner(strings.NewReader(string(out)))
		for sc.Scan() {
			what, rest, _ := strings.Cut(sc.Text(), " ")
			if what == "open" {
				texts[sc.Text()]++
				continue
			}
			id, text, _ := strings.Cut(rest, " ")
			u, perr := uuid.Parse(id)
			if perr != nil {
				t.Errorf("%s: %q", inject, sc.Text())
				continue
			}
			said[u] = what
			if what != "ok" {
				if i := strings.Index(text, path); i >= 0 {
					text = text[:i] + text[i+len(path):]
				}
				texts[what+" "+text]++
			}
		}
		for _, what := range said {
			total[what]++
		}
		t.Logf("%d: %s: %d said, %v %v", round, inject, len(said), err, texts)
		s, err = Open(path, &Options{Logger: quiet})
		if err != nil {
			t.Errorf("%s: open: %v", inject, err)
			continue
		}
		stored := map[uuid.UUID]bool{}
		for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
			if err != nil {
				t.Errorf("%s: %v", inject, err)
				break
			}
			stored[e.ID] = true
		}
		for id, what := range said {
			if what == "ok" && !stored[id] {
				t.Errorf("%s: %v was acknowledged, and is gone", inject, id)
			}
			if what == "no" && stored[id] {
				t.Errorf("%s: %v was refused, and is there", inject, id)
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", inject, err)
		}
		_ = s.Close(context.Background())
		if t.Failed() && round > 16 {
			break
		}
	}
	t.Log(total)
}
