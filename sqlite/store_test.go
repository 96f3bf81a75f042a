package sqlite

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/storetest"
)

func TestStoreKeepsEveryPromise(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evsourcing.EventStore { return openTest(t, "", nil) })
}

func TestStoreKeepsEventsWhenItIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	s := openTest(t, path, nil)
	b := batch("a", 0, 3)
	b.Events[1].Tags = []string{"x", "y"}
	b.Events[2].Metadata = evsourcing.Metadata{"k": "v"}
	mustAppend(t, s, b)
	closeStore(t, s)
	s = openTest(t, path, nil)
	got := loaded(t.Context(), t, s, "a")
	if len(got) != 3 || got[2].Metadata["k"] != "v" || len(got[1].Tags) != 2 || got[0].ID != b.Events[0].ID {
		t.Errorf("came back as %+v", got)
	}
	if r := mustAppend(t, s, batch("a", 3, 1)); r.Position != 4 {
		t.Errorf("the next position is %d", r.Position)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "-*"); len(left) == 0 {
		t.Error("an open store has no log beside it")
	}
}

func TestReadersCannotWrite(t *testing.T) {
	s := openTest(t, "", nil)
	err := s.read(t.Context(), "writing", func(c *conn) error { return c.run(deleteEvents, func(stmt *zsqlite.Stmt) { stmt.BindInt64(1, 0) }) })
	wantText(t, "a write on a reader", err, "read-only")
}

func TestCloseRefusesAndWakes(t *testing.T) {
	s := openTest(t, "", nil)
	waits := make(chan error)
	go func() { waits <- s.Wait(context.Background(), 0) }()
	eventually(t, "a waiter", func() bool {
		s.wakes.mu.Lock()
		defer s.wakes.mu.Unlock()
		return s.wakes.waiting > 0
	})
	closeStore(t, s)
	want(t, "Wait", <-waits, evsourcing.ErrClosed)
	closeStore(t, s) // again
	_, err := s.Append(t.Context(), batch("a", 0, 1))
	want(t, "Append", err, evsourcing.ErrClosed)
	_, err = s.Head(t.Context())
	want(t, "Head", err, evsourcing.ErrClosed)
	want(t, "Wait", s.Wait(t.Context(), 0), evsourcing.ErrClosed)
	want(t, "SaveCheckpoint", s.SaveCheckpoint(t.Context(), "n", evsourcing.Checkpoint{}), evsourcing.ErrClosed)
	want(t, "Check", s.Check(t.Context()), evsourcing.ErrClosed)
	want(t, "Backup", s.Backup(t.Context(), filepath.Join(t.TempDir(), "b")), evsourcing.ErrClosed)
	for _, err := range s.Load(t.Context(), stream("a"), evsourcing.Range{}) {
		want(t, "Load", err, evsourcing.ErrClosed)
	}
}

func TestCloseReturnsWhenItsContextEnds(t *testing.T) {
	s := openTest(t, "", nil)
	other := raw(t, s.path)
	execute(t, other, "BEGIN IMMEDIATE")
	appended := make(chan error)
	go func() {
		_, err := s.Append(context.Background(), batch("a", 0, 1))
		appended <- err
	}()
	eventually(t, "an append that waits", func() bool { return s.committer.Waiting() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, "Close", s.Close(ctx), context.Canceled)
	err := <-appended
	want(t, "the append", err, evsourcing.ErrClosed)
	if errors.Is(err, evsourcing.ErrUncertain) {
		t.Error("it is uncertain, though nothing was written")
	}
	execute(t, other, "ROLLBACK")
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name, path string
		texts      []string
	}{
		{"no path", "", []string{"empty"}},
		{"memory", ":memory:", []string{":memory:", "NewMemoryStore"}},
		{"a missing directory", filepath.Join(dir, "none", "x.db"), []string{"directory", "x.db"}},
		{"a directory", dir, []string{"not a regular file"}},
		{"a file for a directory", filepath.Join(write("file", "x"), "x.db"), []string{"directory"}},
		{"another file", write("text.db", strings.Repeat("this is not a database\n", 100)), []string{"text.db", "not an SQLite database"}},
	} {
		_, err := Open(test.path, nil)
		wantText(t, test.name, err, append(test.texts, "evsourcing: sqlite: ")...)
	}
	_, err := Open(filepath.Join(dir, "text.db"), nil)
	want(t, "another file", err, ErrCorrupt)
}

func init() {
	children["open"] = func(args []string) error {
		s, err := Open(args[0], &Options{Logger: quiet})
		if err != nil {
			return err
		}
		if _, err := s.Append(context.Background(), batch(args[1], 0, 1)); err != nil {
			return err
		}
		return s.Close(context.Background())
	}
}

// As root everything can be written, so another user opens the store.
func TestAFileThatCannotBeWritten(t *testing.T) {
	if os.Getuid() != 0 || asNobody() == nil {
		t.Skip("only root can become another user, and on Linux only here")
	}
	dir, err := os.MkdirTemp("", "evsourcing")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	program, path := filepath.Join(dir, "program"), filepath.Join(dir, "test.db")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, text, 0o755)); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, path, nil)
	mustAppend(t, s, batch("a", 0, 1))
	run := func() string {
		cmd := exec.CommandContext(t.Context(), program, path, "b")
		cmd.Env = append(os.Environ(), childEnv+"=open")
		cmd.SysProcAttr = asNobody()
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Error("the store was opened")
		}
		return string(out)
	}
	if text := run(); !strings.Contains(text, path) || !strings.Contains(text, "writable") {
		t.Errorf("while it is open elsewhere: %s", text)
	}
	closeStore(t, s)
	if text := run(); !strings.Contains(text, path) || !strings.Contains(text, "writable") {
		t.Errorf("while it is closed: %s", text)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if text := run(); !strings.Contains(text, path) || !strings.Contains(text, "read-only") {
		t.Errorf("in a directory that can be written: %s", text)
	}
}

func TestManyProcessesOpenANewFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	var wg sync.WaitGroup
	const processes = 8
	for i := range processes {
		wg.Go(func() {
			if err := child(t, "open", path, string(rune('a'+i))).Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := openTest(t, path, nil)
	if n := len(all(t, s)); n != processes {
		t.Errorf("%d events, want %d", n, processes)
	}
}
