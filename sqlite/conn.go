package sqlite

import (
	"fmt"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// A conn is a connection with the statements that were prepared on it. It is
// used by one goroutine at a time.
type conn struct {
	*zsqlite.Conn
	prepared [statements]*zsqlite.Stmt
	streams  numbers[streamName]
	kinds    numbers[kindName]
	known    map[int64]kindName // kinds by their numbers
	bound    bound              // to insertEvent
	scratch  []byte
	lost     bool // it can't be used any more
}

// A role is what a connection is for.
type role int

const (
	reading role = iota
	writing
)

// connect opens a connection.
func (s *Store) connect(r role) (*conn, error) {
	z, err := zsqlite.OpenConn(s.path, zsqlite.OpenReadWrite|zsqlite.OpenCreate)
	if err != nil {
		return nil, s.explain("opening", err)
	}
	c := &conn{Conn: z}
	if err := s.configure(c, r); err != nil {
		return nil, closing(c, s.explain("opening", err))
	}
	return c, nil
}

// configure sets what is of the connection and not of the file.
func (s *Store) configure(c *conn, r role) error {
	// Another process that opens the file first, or recovers it, takes a moment.
	c.SetBusyTimeout(s.openLimit())
	synchronous := 2
	if s.opts.Durability == Normal {
		synchronous = 1
	}
	pragmas := []string{
		fmt.Sprintf("PRAGMA synchronous = %d", synchronous),
		"PRAGMA fullfsync = 1", // where a sync is less than it says: macOS
		"PRAGMA checkpoint_fullfsync = 1",
		fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", walPages),
		fmt.Sprintf("PRAGMA journal_size_limit = %d", walSize),
		"PRAGMA cache_size = -16384",
	}
	if r == reading {
		pragmas = append(pragmas, "PRAGMA query_only = 1")
	}
	for _, p := range pragmas {
		if err := sqlitex.ExecuteTransient(c.Conn, p, nil); err != nil {
			return err
		}
	}
	got, err := c.pragma("PRAGMA synchronous")
	if err == nil && got != int64(synchronous) {
		err = fmt.Errorf("synchronous is %d and not %d", got, synchronous)
	}
	if r == writing {
		c.SetBusyTimeout(0) // begin waits, and more evenly
	}
	return err
}

// closing closes c because of err.
func closing(c *conn, err error) error {
	_ = c.Close() // err says more
	return err
}

// pragma returns what a statement that is seldom used yields.
func (c *conn) pragma(query string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(c.Conn, query, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *zsqlite.Stmt) error { n = stmt.ColumnInt64(0); return nil },
	})
	return n, err
}

// stmt returns a statement. Who steps it resets it too.
func (c *conn) stmt(n statement) (*zsqlite.Stmt, error) {
	if s := c.prepared[n]; s != nil {
		return s, nil
	}
	s, err := c.Prepare(queries[n])
	if err == nil {
		c.prepared[n] = s
	}
	return s, err
}

// exec runs a statement without parameters and results.
func (c *conn) exec(n statement) error {
	s, err := c.stmt(n)
	if err != nil {
		return err
	}
	_, err = s.Step()
	if rerr := s.Reset(); err == nil {
		err = rerr
	}
	return err
}

// row runs a statement that yields at most one row, which get reads.
func (c *conn) row(n statement, bind, get func(*zsqlite.Stmt)) (found bool, err error) {
	s, err := c.stmt(n)
	if err != nil {
		return false, err
	}
	if bind != nil {
		bind(s)
	}
	found, err = s.Step()
	if found {
		get(s)
	}
	if rerr := s.Reset(); err == nil {
		err = rerr
	}
	return found, err
}

// run runs a statement that yields nothing.
func (c *conn) run(n statement, bind func(*zsqlite.Stmt)) error {
	_, err := c.row(n, bind, func(*zsqlite.Stmt) {})
	return err
}
