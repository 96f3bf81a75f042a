package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

// children are what the test binary does when a test starts it as a process of
// its own, by name.
var children = map[string]func(args []string) error{}

const childEnv = "EVSOURCING_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child returns a command that runs one of the children.
func child(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// lines starts a command and returns a scanner of what it prints.
func lines(t testing.TB, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return bufio.NewScanner(out)
}

var quiet = slog.New(slog.DiscardHandler)

// openTest opens a store that is closed when the test ends; path "" is a new
// file.
func openTest(t testing.TB, path string, opts *Options) *Store {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "test.db")
	}
	if opts == nil {
		opts = &Options{Logger: quiet}
	}
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// raw opens a connection as another program would.
func raw(t testing.TB, path string) *zsqlite.Conn {
	t.Helper()
	c, err := zsqlite.OpenConn(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func execute(t testing.TB, c *zsqlite.Conn, query string, args ...any) {
	t.Helper()
	if err := sqlitex.Execute(c, query, &sqlitex.ExecOptions{Args: args}); err != nil {
		t.Fatal(err)
	}
}

// query returns the first column of all rows.
func query(t testing.TB, c *zsqlite.Conn, text string, args ...any) (list []string) {
	t.Helper()
	err := sqlitex.Execute(c, text, &sqlitex.ExecOptions{Args: args, ResultFunc: func(stmt *zsqlite.Stmt) error {
		list = append(list, stmt.ColumnText(0))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func stream(id string) evsourcing.StreamID { return evsourcing.StreamID{Type: "thing", ID: id} }

// batch returns n events for a stream at the expected version.
func batch(id string, expected uint64, n int) evsourcing.Batch {
	b := evsourcing.Batch{Stream: stream(id), Expected: expected}
	for i := range n {
		e := evsourcing.StoredEvent{
			ID: uuid.Must(uuid.NewV7()), Topic: "thing.done", ContentType: "application/json",
			Data: fmt.Appendf(nil, `{"n":%d}`, i), Time: time.Now(),
		}
		if expected != evsourcing.AnyVersion {
			e.Version = expected + uint64(i) + 1
		}
		b.Events = append(b.Events, e)
	}
	return b
}

func mustAppend(t testing.TB, s *Store, batches ...evsourcing.Batch) evsourcing.AppendResult {
	t.Helper()
	r, err := s.Append(t.Context(), batches...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// all returns the whole log.
func all(t testing.TB, s *Store) (list []evsourcing.StoredEvent) {
	t.Helper()
	for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// loaded returns a stream.
func loaded(ctx context.Context, t testing.TB, s *Store, id string) (list []evsourcing.StoredEvent) {
	t.Helper()
	for e, err := range s.Load(ctx, stream(id), evsourcing.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !f(); <-tick.C {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s did not come", what)
		}
	}
}

// want fails unless err is the sentinel, or nil for none.
func want(t testing.TB, what string, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("%s: %v, want %v", what, err, sentinel)
	}
}

// wantText fails unless the error has all of the texts.
func wantText(t testing.TB, what string, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error is %v, want one that says %q", what, err, text)
		}
	}
}

// oneMessage is for handlers that don't look at it.
var oneMessage = []evsourcing.Message{{}}
