package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

var errUndo = errors.New("undo")

// undone runs an append in a savepoint of a handler's transaction, which goes
// back to it, and commits the transaction.
func undone(t *testing.T, s *Store, b evsourcing.Batch) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context, tx *zsqlite.Conn) error {
		try := func() (err error) {
			defer sqlitex.Save(tx)(&err)
			if _, err := s.Append(ctx, b); err != nil {
				return err
			}
			return errUndo
		}
		if err := try(); !errors.Is(err, errUndo) {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func inTx(t *testing.T, s *Store, batches ...evsourcing.Batch) error {
	t.Helper()
	return s.InTx(t.Context(), func(ctx context.Context, _ *zsqlite.Conn) error {
		for _, b := range batches {
			if _, err := s.Append(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// A stream's number that a savepoint took back goes to another stream, and the
// cache still has it for the first one.
func TestASavepointTakesTheNumberOfAStreamBack(t *testing.T) {
	s := openTest(t, "", nil)
	undone(t, s, batch("x", 0, 1))
	if err := inTx(t, s, batch("y", 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := inTx(t, s, batch("x", evsourcing.AnyVersion, 1)); err != nil {
		t.Errorf("x: %v", err)
	}
	for _, id := range []string{"x", "y"} {
		n := 0
		for _, err := range s.Load(t.Context(), stream(id), evsourcing.Range{}) {
			if err != nil {
				t.Errorf("loading %s: %v", id, err)
				break
			}
			n++
		}
		if n != 1 {
			t.Errorf("%s has %d events", id, n)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// The same with Expected 0: a conflict that there is not.
func TestASavepointLeavesNoConflict(t *testing.T) {
	s := openTest(t, "", nil)
	undone(t, s, batch("x", 0, 1))
	if err := inTx(t, s, batch("y", 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := inTx(t, s, batch("x", 0, 1)); err != nil {
		t.Errorf("x is a new stream: %v", err)
	}
}

// A kind's number likewise: the events that get it can't be read any more.
func TestASavepointTakesTheNumberOfAKindBack(t *testing.T) {
	s := openTest(t, "", nil)
	a := batch("x", 0, 1)
	a.Events[0].Topic = "thing.a"
	undone(t, s, a)
	b := batch("y", 0, 1)
	b.Events[0].Topic = "thing.b"
	if err := inTx(t, s, b); err != nil {
		t.Fatal(err)
	}
	a = batch("z", 0, 1)
	a.Events[0].Topic = "thing.a"
	if err := inTx(t, s, a); err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			t.Error(err)
			break
		}
		if want := map[string]string{"y": "thing.b", "z": "thing.a"}[e.Stream.ID]; e.Topic != want {
			t.Errorf("%s has topic %s, want %s", e.Stream.ID, e.Topic, want)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// Wait believes in a head that was never committed.
func TestASavepointTakesTheHeadBack(t *testing.T) {
	s := openTest(t, "", nil)
	mustAppend(t, s, batch("first", 0, 1))
	undone(t, s, batch("x", 0, 5))
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx, head.Position); err == nil {
		t.Errorf("Wait(%d) returned, and the head is %d", head.Position, head.Position)
	}
}

// An append that was refused in a group which the disk had no room for, and
// stored when it was tried again alone, is reported as refused.
func TestAFullDiskReportsNoConflictOfWhatItStored(t *testing.T) {
	dir := tmpfs(t, 4<<20)
	s := openTest(t, filepath.Join(dir, "test.db"), nil)
	mustAppend(t, s, batch("first", 0, 1))
	large := batch("x", 0, 1)
	large.Events[0].Data = make([]byte, 6<<20) // more than there is
	small := batch("x", 0, 1)
	var wg sync.WaitGroup
	var errLarge, errSmall error
	err := s.InTx(t.Context(), func(context.Context, *zsqlite.Conn) error { // so that both go into one group
		wg.Go(func() { _, errLarge = s.Append(t.Context(), large) })
		eventually(t, "the first", func() bool { return s.committer.Waiting() == 1 })
		wg.Go(func() { _, errSmall = s.Append(t.Context(), small) })
		eventually(t, "the second", func() bool { return s.committer.Waiting() == 2 })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Logf("large: %v", errLarge)
	t.Logf("small: %v", errSmall)
	stored := loaded(t.Context(), t, s, "x")
	if errSmall != nil && len(stored) > 0 && stored[0].ID == small.Events[0].ID {
		t.Errorf("it is stored, and its caller got: %v", errSmall)
	}
}

// damagedKinds opens a store whose table of kinds can't be read.
func damagedKinds(t *testing.T) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	s := openTest(t, path, nil)
	fill(t, s, 100)
	closeStore(t, s)
	c := raw(t, path)
	page := 0
	err := sqlitex.ExecuteTransient(c, "SELECT rootpage FROM sqlite_schema WHERE name = 'kinds'", &sqlitex.ExecOptions{
		ResultFunc: func(stmt *zsqlite.Stmt) error { page = stmt.ColumnInt(0); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, int64(page-1)*pageSize); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	return openTest(t, path, nil)
}

// An error while the kind of an event is read ends the log as if nothing came
// after it.
func TestEventsEndsWithTheErrorOfAKind(t *testing.T) {
	s := damagedKinds(t)
	n := 0
	var err error
	for _, err = range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			break
		}
		n++
	}
	if err == nil && n < 100 {
		t.Errorf("the log has 100 events, Events yielded %d and no error", n)
	}
	for _, err = range s.Load(t.Context(), stream("fill-0"), evsourcing.Range{}) {
		t.Logf("Load: %v", err)
		break
	}
}

type noted struct{}

func (noted) Topic() string { return "thing.done" }

// And a subscription goes over all of them.
func TestASubscriptionSkipsNoDamage(t *testing.T) {
	s := damagedKinds(t)
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	handled := 0
	sub := evsourcing.NewSubscription("board", s, s, evsourcing.NewRegistry(noted{}),
		evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error { handled += len(msgs); return nil }),
		&evsourcing.SubscriptionOptions{Logger: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	wctx, wcancel := context.WithTimeout(ctx, 2*time.Second)
	werr := sub.WaitFor(wctx, head.Position)
	wcancel()
	cancel()
	rerr := <-done
	cp, saved, err := s.Checkpoint(t.Context(), "board")
	t.Logf("WaitFor: %v, Run: %v, handled %d, checkpoint %v %v %v", werr, rerr, handled, cp, saved, err)
	if saved && cp.Position == head.Position && handled == 0 {
		t.Errorf("the checkpoint is at %d, and no event was handled", cp.Position)
	}
}

// Read does not end a transaction that f has left open: the connection shows the
// past from then on.
func TestReadLeavesNoTransaction(t *testing.T) {
	s := openTest(t, "", &Options{Logger: quiet, Readers: 1})
	mustAppend(t, s, batch("x", 0, 1))
	_ = s.Read(t.Context(), func(conn *zsqlite.Conn) error {
		if err := sqlitex.Execute(conn, "BEGIN", nil); err != nil {
			return err
		}
		if err := sqlitex.Execute(conn, "SELECT count(*) FROM events", nil); err != nil {
			return err
		}
		return errUndo // and no END
	})
	mustAppend(t, s, batch("x", 1, 1))
	if n := len(loaded(t.Context(), t, s, "x")); n != 2 {
		t.Errorf("Load yields %d events, 2 were acknowledged", n)
	}
	head, _ := s.Head(t.Context())
	if head.Position != 2 {
		t.Errorf("the head is %d", head.Position)
	}
}

// The same by a statement that was prepared with PrepareTransient and not
// finalized.
func TestReadLeavesNoStatement(t *testing.T) {
	s := openTest(t, "", &Options{Logger: quiet, Readers: 1})
	mustAppend(t, s, batch("x", 0, 3))
	var stmt *zsqlite.Stmt
	_ = s.Read(t.Context(), func(conn *zsqlite.Conn) (err error) {
		stmt, _, err = conn.PrepareTransient("SELECT position FROM events")
		if err == nil {
			_, err = stmt.Step()
		}
		return err
	})
	mustAppend(t, s, batch("x", 3, 1))
	if n := len(loaded(t.Context(), t, s, "x")); n != 4 {
		t.Errorf("Load yields %d events, 4 were acknowledged", n)
	}
	_ = stmt.Finalize()
}

// A statement that a handler leaves open holds a snapshot of the writing
// connection, which can't begin a transaction any more once others have written.
func TestAHandlerLeavesNoStatement(t *testing.T) {
	s := openTest(t, "", nil)
	mustAppend(t, s, batch("x", 0, 3))
	var stmt *zsqlite.Stmt
	err := s.InTx(t.Context(), func(_ context.Context, tx *zsqlite.Conn) (err error) {
		stmt, _, err = tx.PrepareTransient("SELECT position FROM events")
		if err == nil {
			_, err = stmt.Step()
		}
		return err
	})
	t.Logf("InTx: %v", err)
	mustAppend(t, s, batch("x", 3, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := s.SaveCheckpoint(ctx, "board", evsourcing.Checkpoint{Position: 1}); err != nil {
		t.Errorf("SaveCheckpoint: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := s.Append(ctx, batch("x", 4, 1)); err != nil {
		t.Errorf("Append: %v", err)
	}
	_ = stmt.Finalize()
}

// While somebody is in Read, a long write-ahead log stops all writers, for as
// long as Read lasts.
func TestReadStopsNoWriters(t *testing.T) {
	s := openTest(t, "", &Options{Durability: Normal, Logger: quiet, Readers: 4})
	mustAppend(t, s, batch("x", 0, 3))
	release, in, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Read(context.Background(), func(conn *zsqlite.Conn) error {
			return sqlitex.Execute(conn, "SELECT position FROM events LIMIT 1", &sqlitex.ExecOptions{
				ResultFunc: func(*zsqlite.Stmt) error { close(in); <-release; return nil }, // a slow client of the service
			})
		})
	}()
	<-in
	for i := range 60 {
		b := batch(fmt.Sprint("large-", i), 0, 1)
		b.Events[0].Data = make([]byte, 1<<20)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		_, err := s.Append(ctx, b)
		cancel()
		if err != nil {
			t.Errorf("append %d, the log has %d MiB: %v", i, logSize(t, s)>>20, err)
			rctx, rcancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := s.Head(rctx); err != nil {
				t.Errorf("Head: %v", err)
			}
			rcancel()
			break
		}
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Deadlock: Read's function appends, and the writer waits for Read.
func TestAnAppendWithinRead(t *testing.T) {
	s := openTest(t, "", &Options{Durability: Normal, Logger: quiet, Readers: 4})
	mustAppend(t, s, batch("x", 0, 3))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := s.Read(ctx, func(conn *zsqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT position FROM events LIMIT 1", &sqlitex.ExecOptions{
			ResultFunc: func(*zsqlite.Stmt) error {
				for i := range 60 {
					b := batch(fmt.Sprint("large-", i), 0, 1)
					b.Events[0].Data = make([]byte, 1<<20)
					if _, err := s.Append(ctx, b); err != nil {
						return fmt.Errorf("append %d: %w", i, err)
					}
				}
				return nil
			},
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// A repeated append in a transaction has a position that is not committed.
func TestARepetitionWithinItsTransactionIsPending(t *testing.T) {
	s := openTest(t, "", nil)
	b := batch("x", 0, 1)
	_ = s.InTx(t.Context(), func(ctx context.Context, _ *zsqlite.Conn) error {
		if _, err := s.Append(ctx, b); err != nil {
			t.Error(err)
		}
		r, err := s.Append(ctx, b)
		t.Logf("%+v %v", r, err)
		if !r.Pending && r.Position != 0 {
			t.Errorf("the result is %+v, of an event that is not stored", r)
		}
		return errUndo
	})
}

// The guard of the write-ahead log does not find it if the path is a symbolic
// link.
func TestTheLogOfASymlinkIsGuarded(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "real.db"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(filepath.Join(other, "real.db"), link); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, link, nil)
	mustAppend(t, s, batch("x", 0, 1))
	if _, err := os.Stat(s.path + "-wal"); err != nil {
		t.Errorf("the guard looks for the log where it is not: %v", err)
	}
}

// The path is relative, and the process changes its directory before the first
// read.
func TestARelativePathSurvivesAChangeOfDirectory(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	t.Chdir(a)
	s := openTest(t, "test.db", nil)
	mustAppend(t, s, batch("x", 0, 1))
	t.Chdir(b)
	if _, err := s.Head(t.Context()); err != nil {
		t.Errorf("Head: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b, "test.db")); err == nil {
		t.Error("reading has made a new file in the other directory")
	}
}

// A backup is made beside the log of a file that was there before, and is not
// what Backup said it is.
func TestBackupRefusesAnOldLog(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, filepath.Join(dir, "test.db"), nil)
	fill(t, s, 200)
	// Another store at the place of the copy was killed and its file removed; its
	// log is left.
	old := openTest(t, filepath.Join(dir, "old.db"), nil)
	mustAppend(t, old, batch("old", 0, 1))
	wal, err := os.ReadFile(old.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(dst+"-wal", wal, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), dst); err != nil {
		t.Logf("refused: %v", err)
		return
	}
	c, err := Open(dst, &Options{Logger: quiet})
	if err != nil {
		t.Fatalf("opening the copy: %v", err)
	}
	defer c.Close(context.Background())
	n := 0
	for e, err := range c.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			t.Error(err)
			break
		}
		n++
		if e.Stream.ID == "old" {
			t.Errorf("the copy has an event of another store")
		}
	}
	if n != 200 {
		t.Errorf("the copy has %d events, want 200", n)
	}
	if err := c.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// A name that was replaced is retired for good, and a subscription without a
// lease goes on under it.
func TestAReplacedNameHandlesNothing(t *testing.T) {
	s := openTest(t, "", nil)
	fill(t, s, 100)
	save := func(name string, p uint64) {
		t.Helper()
		for e, err := range s.Events(t.Context(), evsourcing.Range{After: p - 1, Until: p}, evsourcing.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SaveCheckpoint(t.Context(), name, evsourcing.Checkpoint{Position: p, EventID: e.ID}); err != nil {
				t.Fatal(err)
			}
		}
	}
	save("v1", 50)
	save("v2", 60)
	if err := s.Replace(t.Context(), "v1", "v2", nil); err != nil {
		t.Fatal(err)
	}
	for _, tx := range []bool{true, false} {
		handled := 0
		var h evsourcing.Handler = s.Handler(func(_ context.Context, _ *zsqlite.Conn, msgs []evsourcing.Message) error {
			handled += len(msgs)
			return nil
		})
		if !tx {
			h = evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error { handled += len(msgs); return nil })
		}
		sub := evsourcing.NewSubscription("v1", s, s, evsourcing.NewRegistry(noted{}), h, &evsourcing.SubscriptionOptions{Logger: quiet})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := sub.Run(ctx)
		cancel()
		cp, _, _ := s.Checkpoint(t.Context(), "v1")
		t.Logf("tx %v: Run: %v, handled %d, %+v", tx, err, handled, cp)
		if handled > 0 || !errors.Is(err, evsourcing.ErrFenced) {
			t.Errorf("tx %v: the retired subscription handled %d events, and is at position %d", tx, handled, cp.Position)
		}
		if cp.Position != 50 {
			execute(t, raw(t, s.path), "UPDATE checkpoints SET position = 50, event_id = (SELECT id FROM events WHERE position = 50) WHERE name = 'v1'")
		}
	}
}

// A subscription whose store was closed never ends.
func TestASubscriptionOfAClosedStoreEnds(t *testing.T) {
	for _, tx := range []bool{true, false} {
		s := openTest(t, "", nil)
		fill(t, s, 100)
		var h evsourcing.Handler = s.Handler(func(context.Context, *zsqlite.Conn, []evsourcing.Message) error { return nil })
		if !tx {
			h = evsourcing.HandlerFunc(func(context.Context, []evsourcing.Message) error { return nil })
		}
		sub := evsourcing.NewSubscription("v1", s, s, evsourcing.NewRegistry(noted{}), h, &evsourcing.SubscriptionOptions{Logger: quiet})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		done := make(chan error, 1)
		go func() { done <- sub.Run(ctx) }()
		if err := sub.WaitFor(ctx, 100); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		select {
		case err := <-done:
			t.Logf("tx %v: Run: %v", tx, err)
		case <-time.After(3 * time.Second):
			t.Errorf("tx %v: Run goes on 3 s after the store was closed", tx)
		}
		cancel()
	}
}

// A handler that calls the store with another context than its own waits for
// itself. HandlerTime does not end that.
func TestAHandlerThatWaitsForItselfFails(t *testing.T) {
	s := openTest(t, "", &Options{Logger: quiet, HandlerTime: 100 * time.Millisecond})
	other, cancel := context.WithTimeout(context.Background(), 3*time.Second) // or for ever
	defer cancel()
	began := time.Now()
	err := s.InTx(t.Context(), func(context.Context, *zsqlite.Conn) error {
		_, err := s.Append(other, batch("x", 0, 1))
		return err
	})
	if d := time.Since(began); d > time.Second {
		t.Errorf("HandlerTime is 100 ms, and InTx returned after %v: %v", d, err)
	}
}

// Replace of a name that nobody knows, a typing error, reports success.
func TestReplaceOfAnUnknownName(t *testing.T) {
	s := openTest(t, "", nil)
	fill(t, s, 100)
	if err := s.SaveCheckpoint(t.Context(), "board-v1", evsourcing.Checkpoint{Position: 50}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveCheckpoint(t.Context(), "board-v2", evsourcing.Checkpoint{Position: 10}); err != nil {
		t.Fatal(err)
	}
	ran := false
	err := s.Replace(t.Context(), "bord-v1", "board-v2", func(context.Context, *zsqlite.Conn) error { ran = true; return nil })
	if err == nil {
		t.Errorf("there is no bord-v1; f ran: %v; board-v2 is far behind board-v1", ran)
	}
}

// A handler that goes on after a failed append commits half of it.
func TestATransactionKeepsNoHalfOfAnAppend(t *testing.T) {
	s := openTest(t, "", nil)
	mustAppend(t, s, batch("x", 0, 1))
	// A trigger of the application that fails for one event.
	execute(t, raw(t, s.path), `CREATE TRIGGER t BEFORE INSERT ON events WHEN NEW.version = 3 BEGIN SELECT json_extract('{', '$.a'); END`)
	b := batch("y", 0, 3)
	err := s.InTx(t.Context(), func(ctx context.Context, _ *zsqlite.Conn) error {
		_, err := s.Append(ctx, b)
		t.Logf("Append: %v", err)
		return nil
	})
	t.Logf("InTx: %v", err)
	if n := len(loaded(t.Context(), t, s, "y")); n != 0 && n != 3 {
		t.Errorf("%d of 3 events of one batch are stored", n)
	}
}
