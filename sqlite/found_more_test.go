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
func TestALongLeaseIsALease(t *testing.T) {
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
func TestAnAppendThatAnIndexRefusesFailsAlone(t *testing.T) {
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

// Open with NoMigrate refuses a file, and has changed it.
func TestNoMigrateLeavesAFileThatItRefusesAsItIs(t *testing.T) {
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

// A function of InTx whose own SELECT is open while it appends and reads.
func TestAHandlerReadsWhileItIterates(t *testing.T) {
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
