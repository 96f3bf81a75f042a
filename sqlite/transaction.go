package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// A transaction is one in which a function of the caller runs, with a context
// that carries it: calls of the store with that context join it.
type transaction struct {
	mu    sync.Mutex    // guards what follows; held while the store uses the connection
	c     *conn         // nil when the transaction has ended
	tx    *zsqlite.Conn // c's, for the function
	ctx   context.Context
	path  string
	wrote int64 // the last position that was appended; 0 if none was
	base  int64 // the last position before that
	err   error // of an append that may be half there
}

// txKey is the key of the *transaction in a context.
type txKey struct{ s *Store }

// joined returns the transaction that ctx carries, nil if none.
func (s *Store) joined(ctx context.Context) (*transaction, error) {
	t, _ := ctx.Value(txKey{s}).(*transaction)
	if t == nil {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.c == nil {
		return nil, t.over()
	}
	return t, nil
}

func (t *transaction) over() error {
	return fmt.Errorf("evsourcing: sqlite: %s: the transaction of this context has ended", t.path)
}

// use runs f on the connection.
func (t *transaction) use(s *Store, doing string, f func(c *conn) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.c == nil {
		return t.over()
	}
	if err := t.alive(); err != nil {
		return err
	}
	t.c.distrust()
	err := f(t.c)
	if primary, _ := code(err); err != nil && primary == zsqlite.ResultInterrupt && t.ctx.Err() != nil {
		return ended(t.ctx)
	}
	return s.explain(doing, err)
}

// alive returns an error if the transaction was ended by the function.
func (t *transaction) alive() error {
	if t.c.AutocommitEnabled() {
		return fmt.Errorf("%w: %s", errEnded, t.path)
	}
	return nil
}

var errEnded = errors.New("evsourcing: sqlite: the transaction was ended within; a function must not COMMIT or ROLLBACK, and SQLite does so itself after some errors, such as a full disk")

// append stores an append in the transaction.
func (t *transaction) append(s *Store, a *engine.Append) (evsourcing.AppendResult, error) {
	err := t.use(s, "appending", func(c *conn) error {
		last, err := c.last()
		if err != nil {
			return err
		}
		if t.wrote == 0 {
			t.base = last
		}
		now, err := c.append(a, last)
		if err == nil && now > last {
			t.wrote = now
		}
		if err != nil {
			t.err = err
		}
		return err
	})
	if err != nil {
		return evsourcing.AppendResult{}, err
	}
	if r := &a.Result; a.Err == nil && (!r.Repeated || r.Position > uint64(t.base)) {
		r.Pending, r.Position = true, 0 // which another event gets if this is rolled back
	}
	return a.Result, a.Err
}

// errSlow is the cause when a transaction takes too long.
var errSlow = errors.New("evsourcing: sqlite: the transaction took longer than HandlerTime, and was rolled back so that others can write; handle less in one (BatchSize), allow more (HandlerTime), and use the store only with the context of the transaction")

// ended returns why the context of a transaction has ended.
func ended(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errSlow) {
		return errSlow
	}
	return ctx.Err()
}

// InTx runs f in a transaction, which is committed if f returns nil, and rolled
// back otherwise. What is said of the function of [Store.Handler] goes for f, the
// bounds of its time included. It is for the tables of the user's own that stand
// in the file beside the store's; [Store.Read] reads them.
func (s *Store) InTx(ctx context.Context, f func(ctx context.Context, tx *zsqlite.Conn) error) error {
	return s.transact(ctx, func(ctx context.Context, c *conn) error { return f(ctx, c.Conn) })
}

// Read runs f with a connection that can't write, one of [Options].Readers: what f
// reads by one statement is of one moment. f must not keep conn, and should
// finalize or reset every statement, as those of
// [zombiezen.com/go/sqlite/sqlitex] do; as long as one is in the middle of its
// rows, the write-ahead log grows. When ctx ends, statements fail. Within a
// transaction, whose context ctx is or comes from, conn is that of the
// transaction. f should not read by the store itself: if all readers do so at once,
// they wait for one another.
func (s *Store) Read(ctx context.Context, f func(conn *zsqlite.Conn) error) error {
	if t, err := s.joined(ctx); err != nil {
		return err
	} else if t != nil {
		return f(t.tx)
	}
	return s.read(ctx, "reading", func(c *conn) error {
		s.wal.reads.Add(1)
		defer s.wal.reads.Add(-1)
		c.SetInterrupt(ctx.Done())
		defer func() {
			c.SetInterrupt(nil) // which resets the statements that were left open
			c.rollback()
			c.lost = !s.rests(c)
		}()
		return f(c.Conn)
	})
}

// transact runs f in a transaction of its own. Whatever ends f, by an error, a panic or
// runtime.Goexit, rolls it back.
func (s *Store) transact(ctx context.Context, f func(ctx context.Context, c *conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t, err := s.joined(ctx); t != nil || err != nil {
		if err == nil {
			err = fmt.Errorf("evsourcing: sqlite: %s: a transaction within a transaction", s.path)
		}
		return err
	}
	return s.begun(ctx, func(c *conn) error {
		ctx, cancel := context.WithTimeoutCause(ctx, s.opts.HandlerTime, errSlow)
		defer cancel()
		defer s.turn.expect(2*s.opts.HandlerTime, func() {
			s.opts.Logger.Error("evsourcing: sqlite: the function of a transaction has not returned, though its time is over, and nobody can write: "+lateCauses,
				"path", s.path, "for", 2*s.opts.HandlerTime)
		})()
		t := &transaction{c: c, tx: c.Conn, ctx: ctx, path: s.path}
		c.SetInterrupt(ctx.Done())
		defer s.end(t, c)
		if err := f(context.WithValue(ctx, txKey{s}, t), c); err != nil {
			if ctx.Err() != nil && !errors.Is(err, errSlow) && errors.Is(ended(ctx), errSlow) {
				return fmt.Errorf("%w: %v", errSlow, err)
			}
			return err
		}
		if ctx.Err() != nil {
			return ended(ctx)
		}
		return s.finish(t, c)
	})
}

// finish commits.
func (s *Store) finish(t *transaction, c *conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.alive(); err != nil {
		return err
	}
	if t.err != nil {
		return s.explain("committing after an append that failed", t.err)
	}
	c.SetInterrupt(nil) // which resets the statements that were left open
	var last int64
	if t.wrote > 0 { // unless it went back to a savepoint
		var err error
		if last, err = c.last(); err != nil {
			return s.explain("committing", err)
		}
	}
	if err := s.commit(c, someBytes); err != nil {
		return err
	}
	if last > 0 {
		s.committed(uint64(last))
	}
	return nil
}

// end rolls back what was not committed, and makes the connection fit for the
// next one or lets it go.
func (s *Store) end(t *transaction, c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.c = nil
	c.SetInterrupt(nil)
	c.rollback()
	c.distrust()
	if !s.rests(c) {
		s.aux = nil
	} else if !c.AutocommitEnabled() {
		s.dropSecond()
	}
}

// rests reports whether no statement of a function is still in the middle of its
// rows: what the connection reads would be the past for who is next. Such a
// connection is let go, but not closed, for its statements may yet be finalized.
func (s *Store) rests(c *conn) bool {
	// SQLite moves no log, not even none of it, on a connection that reads.
	err := sqlitex.ExecuteTransient(c.Conn, "PRAGMA wal_checkpoint(NOOP)", nil)
	if primary, _ := code(err); err == nil || primary != zsqlite.ResultLocked {
		return true
	}
	s.opts.Logger.Error("evsourcing: sqlite: a function has left a statement open, which keeps the write-ahead log from being moved until the process ends; finalize or reset every statement", "path", s.path)
	return false
}
