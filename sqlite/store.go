package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// A Store keeps events in an SQLite file. It is an [evsourcing.EventStore] with
// every capability: [evsourcing.Log], [evsourcing.Waiter], [evsourcing.Finder],
// [evsourcing.SnapshotStore], [evsourcing.CheckpointStore] and
// [evsourcing.Claimer]. All methods may be called concurrently, by several
// processes as well.
//
// Append, SaveSnapshot, SaveCheckpoint, Claim and the transactions of handlers
// write one after the other: each waits for its turn, in the order of calls, as
// long as its context lasts. Reading never waits for them.
type Store struct {
	path string
	opts Options

	committer *engine.Committer
	readers   chan *conn
	wakes     wakes
	head      atomic.Uint64 // the highest position known to be committed

	turn    *turn
	appends *conn // used by who has the lock, like what follows
	aux     *conn // of all other writes; nil until needed
	wal     walGuard

	mu      sync.Mutex // guards closed, and active against growing after it
	closed  bool
	active  sync.WaitGroup // calls under way, but for those of the committer
	closing chan struct{}  // closed when Close begins
	done    chan struct{}  // closed when all is released
	err     error          // of closing; set before done is closed
}

// openWait is how long Open waits for other processes, unless the options say
// otherwise.
const openWait = 30 * time.Second

// Open opens the store in the file, which it makes if it does not exist; its
// directory must. It brings the schema up to date, and makes sure that the store
// can be written. Several processes may open the same new file at once.
func Open(path string, opts *Options) (*Store, error) { return open(path, opts, schemaVersion) }

// open makes a file of an older version too, for tests.
func open(path string, opts *Options, version int) (*Store, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if abs, err := filepath.Abs(path); err == nil { // connections are opened later too
		path = abs
	}
	if target, err := filepath.EvalSymlinks(path); err == nil { // as SQLite does it, and the log is there
		path = target
	}
	s := &Store{
		path: path, opts: opts.withDefaults(),
		turn: newTurn(), closing: make(chan struct{}), done: make(chan struct{}),
	}
	s.readers = make(chan *conn, s.opts.Readers)
	if _, err := os.Stat(s.path); s.opts.NoMigrate && err != nil {
		return nil, fmt.Errorf("evsourcing: sqlite: %s is not made, because of NoMigrate: %w", path, err)
	}
	c, err := s.connect(writing)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(c, version); err != nil {
		return nil, closing(c, err)
	}
	s.appends = c
	for range s.opts.Readers {
		s.readers <- nil // connected when needed
	}
	s.committer = engine.NewCommitter(engine.CommitterOptions{
		Events: s.opts.GroupEvents, Bytes: s.opts.GroupBytes, Begin: s.beginGroup,
	}, s.writeGroup)
	return s, nil
}

// checkPath refuses what SQLite would understand in its own way.
func checkPath(path string) error {
	switch {
	case path == "" || strings.ContainsRune(path, 0):
		return fmt.Errorf("evsourcing: sqlite: the path %q is empty or has a NUL byte", path)
	case strings.HasPrefix(path, ":"):
		return fmt.Errorf("evsourcing: sqlite: %q: a store needs a file; use evsourcing.NewMemoryStore for one in memory, or ./%s if that is the file's name", path, path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("evsourcing: sqlite: the directory of %s: %w", path, err)
	} else if !info.IsDir() {
		return fmt.Errorf("evsourcing: sqlite: %s is not a directory, so %s can't be made", filepath.Dir(path), path)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("evsourcing: sqlite: %s is not a regular file", path)
	}
	return nil
}

// prepare makes the file what it has to be.
func (s *Store) prepare(c *conn, version int) error {
	c.SetBusyTimeout(s.openLimit())
	defer c.SetBusyTimeout(0)
	if s.opts.NoMigrate { // a file that is refused stays as it is
		if err := s.migrate(c, version); err != nil {
			return err
		}
	}
	if err := s.useWAL(c); err != nil {
		return err
	}
	if err := s.checkWAL(c); err != nil {
		return err
	}
	if err := s.migrate(c, version); err != nil {
		return err
	}
	// SQLite opens a file that can't be written for reading only, without a word.
	if err := s.begin(c, s.openPatience()); err != nil {
		return err
	}
	defer c.rollback()
	var head int64
	_, err := c.row(lastPosition, nil, func(stmt *zsqlite.Stmt) { head = stmt.ColumnInt64(0) })
	if err != nil {
		return s.explain("opening", err)
	}
	s.head.Store(uint64(head))
	return nil
}

// useWAL sets the journal mode, which is of the file.
func (s *Store) useWAL(c *conn) error {
	goOn := s.openPatience()
	for {
		mode := ""
		err := sqlitex.ExecuteTransient(c.Conn, "PRAGMA journal_mode = wal", &sqlitex.ExecOptions{
			ResultFunc: func(stmt *zsqlite.Stmt) error { mode = stmt.ColumnText(0); return nil },
		})
		primary, _ := code(err)
		switch {
		case err == nil && mode != "wal":
			return fmt.Errorf("evsourcing: sqlite: %s can't have a write-ahead log: its journal mode stays %q", s.path, mode)
		case err == nil:
			return nil
		case primary != zsqlite.ResultBusy:
			return s.explain("opening", err)
		}
		if err := goOn(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// enter begins a call, which leave ends.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: the store %s", evsourcing.ErrClosed, s.path)
	}
	s.active.Add(1)
	return nil
}

func (s *Store) leave() { s.active.Done() }

// Close refuses new calls with [evsourcing.ErrClosed], ends calls of Wait, and
// returns when all others have ended and the file is released. When ctx ends
// first, appends that wait fail with ErrClosed, and Close returns the context's
// error; what is written already is finished, and the file released after it.
// Close may be called again.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.closing)
		go s.release()
	}
	if err := s.committer.Close(ctx); err != nil {
		return err
	}
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release closes the connections when nothing uses them any more.
func (s *Store) release() {
	defer close(s.done)
	_ = s.committer.Close(context.Background()) // which never ends
	s.active.Wait()
	s.wakes.wait()
	list := []*conn{s.wakes.conn}
	for range s.opts.Readers {
		list = append(list, <-s.readers)
	}
	// The last to be closed moves the log into the database, so it must be one
	// that can write.
	for _, c := range append(list, s.aux, s.appends) {
		if c != nil {
			s.err = errors.Join(s.err, s.explain("closing", c.Close()))
		}
	}
}
