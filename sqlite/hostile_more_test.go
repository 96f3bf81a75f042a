package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

// A lease of a very long time is none at all.
func TestHostileLongLease(t *testing.T) {
	s := openTest(t, "", nil)
	if _, err := s.Claim(t.Context(), "board", "a", math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim(t.Context(), "board", "b", time.Minute); !errors.Is(err, evsourcing.ErrFenced) {
		t.Errorf("b claims what belongs to a for 292 years: %v", err)
	}
}

// An append that an index of the application's can't take fails the others of
// its group.
func TestHostileOneOfAGroupFails(t *testing.T) {
	s := openTest(t, "", nil)
	mustAppend(t, s, batch("first", 0, 1))
	execute(t, raw(t, s.path), `CREATE INDEX by_n ON events (json_extract(CAST(data AS TEXT), '$.n'))`)
	bad := batch("bad", 0, 1)
	bad.Events[0].Data = []byte("no JSON")
	var wg sync.WaitGroup
	var errBad, errGood error
	err := s.InTx(t.Context(), func(context.Context, *zsqlite.Conn) error {
		wg.Go(func() { _, errGood = s.Append(t.Context(), batch("good", 0, 1)) })
		eventually(t, "the first", func() bool { return s.committer.Waiting() == 1 })
		wg.Go(func() { _, errBad = s.Append(t.Context(), bad) })
		eventually(t, "the second", func() bool { return s.committer.Waiting() == 2 })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Logf("bad: %v", errBad)
	if errGood != nil {
		t.Errorf("good: %v", errGood)
	}
}

// BusyTimeout is counted from when the committer began to wait, not the caller.
func TestHostileBusyTimeoutOfALateCaller(t *testing.T) {
	s := openTest(t, "", &Options{Logger: quiet, BusyTimeout: time.Second})
	mustAppend(t, s, batch("first", 0, 1))
	other := raw(t, s.path)
	execute(t, other, "BEGIN IMMEDIATE")
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = s.Append(context.Background(), batch("early", 0, 1)) })
	time.Sleep(800 * time.Millisecond)
	began := time.Now()
	_, err := s.Append(t.Context(), batch("late", 0, 1))
	if d := time.Since(began); errors.Is(err, ErrBusy) && d < 700*time.Millisecond {
		t.Errorf("BusyTimeout is 1 s, and Append failed after %v: %v", d, err)
	}
	execute(t, other, "ROLLBACK")
	wg.Wait()
}

// Open with NoMigrate refuses a file, and has changed it.
func TestHostileNoMigrateChangesTheFile(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.db")
	if _, err := Open(missing, &Options{Logger: quiet, NoMigrate: true}); err == nil {
		t.Fatal("opened")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a file was made")
	}
	foreign := filepath.Join(dir, "foreign.db")
	c, err := zsqlite.OpenConn(foreign, zsqlite.OpenReadWrite|zsqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, c, "CREATE TABLE theirs (x)")
	_ = c.Close()
	if _, err := Open(foreign, &Options{Logger: quiet, NoMigrate: true}); err == nil {
		t.Fatal("opened")
	}
	c, err = zsqlite.OpenConn(foreign, zsqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if mode := query(t, c, "PRAGMA journal_mode"); mode[0] != "delete" {
		t.Errorf("the journal mode of a file that was refused is %s now", mode[0])
	}
}

// Four readers that read the store within Read wait for one another.
func TestHostileReadWithinRead(t *testing.T) {
	s := openTest(t, "", &Options{Logger: quiet, Readers: 4})
	mustAppend(t, s, batch("x", 0, 3))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var wg, in sync.WaitGroup
	in.Add(4)
	for range 4 {
		wg.Go(func() {
			err := s.Read(ctx, func(*zsqlite.Conn) error {
				in.Done()
				in.Wait()
				_, err := s.Head(ctx)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// What a handler's function sets on its connection stays for those after it.
func TestHostileHandlerLeavesSettings(t *testing.T) {
	s := openTest(t, "", nil)
	_ = s.InTx(t.Context(), func(_ context.Context, tx *zsqlite.Conn) error {
		return errors.Join(sqlitex.ExecuteTransient(tx, "PRAGMA query_only = 1", nil),
			sqlitex.ExecuteTransient(tx, "CREATE TEMP TABLE work (x)", nil))
	})
	if err := s.SaveCheckpoint(t.Context(), "board", evsourcing.Checkpoint{Position: 1}); err != nil {
		t.Errorf("SaveCheckpoint: %v", err)
	}
	_ = s.Read(t.Context(), func(conn *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(conn, "PRAGMA query_only = 0", nil)
	})
}

// A function of InTx whose own SELECT is open while it appends and reads.
func TestHostileHandlerReadsWhileItIterates(t *testing.T) {
	s := openTest(t, "", nil)
	fill(t, s, 300)
	err := s.InTx(t.Context(), func(ctx context.Context, tx *zsqlite.Conn) error {
		n := 0
		err := sqlitex.Execute(tx, "SELECT position FROM events ORDER BY position", &sqlitex.ExecOptions{ResultFunc: func(stmt *zsqlite.Stmt) error {
			n++
			if n > 300 {
				return nil
			}
			_, err := s.Append(ctx, batch(fmt.Sprint("new-", n), 0, 1))
			return err
		}})
		t.Log(n)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// Close within a handler.
func TestHostileCloseWithinAHandler(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "test.db"), &Options{Logger: quiet, HandlerTime: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // or for ever
	defer cancel()
	began := time.Now()
	_ = s.InTx(t.Context(), func(context.Context, *zsqlite.Conn) error { return s.Close(ctx) })
	if time.Since(began) > time.Second {
		t.Error("Close waits for the handler that has called it")
	}
	closeStore(t, s)
}
