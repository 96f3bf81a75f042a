package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// SQLite's own way to wait for another process is unfair: who waits looks less
// and less often, and who writes goes on writing. So writers look several times
// in a millisecond, and find the moment between two transactions of the other.
const (
	busyPause = 100 * time.Microsecond // and up to as much again
	busyLong  = 1000                   // pauses, after which they are five times as long
	busyTell  = 10 * time.Second
)

// errGaveUp is what begin returns when goOn says so.
var errGaveUp = errors.New("gave up")

// begin begins a transaction that may write, and waits for other processes as
// long as goOn returns nil. The caller has the lock, or is alone.
func (s *Store) begin(c *conn, goOn func() error) error {
	var since, told time.Time
	for n := 0; ; n++ {
		err := c.exec(beginImmediate)
		if err == nil {
			return nil
		}
		if primary, _ := code(err); primary != zsqlite.ResultBusy {
			return s.explain("beginning a transaction", err)
		}
		now := time.Now()
		if since.IsZero() {
			since, told = now, now
		}
		if limit := s.opts.BusyTimeout; limit > 0 && now.Sub(since) > limit {
			return fmt.Errorf("%w: %s: nothing was stored within %v; if it goes on, look for a process that is stopped within a transaction", ErrBusy, s.path, limit)
		}
		if err := goOn(); err != nil {
			return err
		}
		if now.Sub(told) > busyTell {
			told = now
			s.opts.Logger.Warn("evsourcing: sqlite: waiting for another process that writes", "path", s.path, "for", now.Sub(since).Round(time.Second))
		}
		d := busyPause + rand.N(busyPause)
		if n > busyLong {
			d *= 5
		}
		pause(d)
	}
}

// whileLasts lets begin wait as long as ctx lasts.
func whileLasts(ctx context.Context) func() error { return ctx.Err }

// openPatience lets begin wait as long as Open does.
func (s *Store) openPatience() func() error {
	limit, since := s.openLimit(), time.Now()
	return func() error {
		if time.Since(since) > limit {
			return fmt.Errorf("%w: opening %s: gave up after %v", ErrBusy, s.path, limit)
		}
		return nil
	}
}

// openLimit is how long Open waits for other processes.
func (s *Store) openLimit() time.Duration {
	if s.opts.BusyTimeout > 0 {
		return s.opts.BusyTimeout
	}
	return openWait
}

// someBytes is what a transaction other than of appends counts for.
const someBytes = 64 << 10

// commit ends a transaction that wrote about so many bytes. An error other than
// ErrUncertain means that nothing was stored.
func (s *Store) commit(c *conn, bytes int) error {
	err := c.exec(commitWork)
	if err == nil {
		c.streams.keep()
		c.kinds.keep()
		s.guardWAL(c, bytes)
		return nil
	}
	primary, extended := code(err)
	ended := c.AutocommitEnabled()
	c.rollback()
	// A commit is there when its last page has been written and synced. If
	// writing fails it is not there; if syncing does, nobody knows.
	if extended == zsqlite.ResultIOErrWrite || primary == zsqlite.ResultFull || primary == zsqlite.ResultBusy || primary == zsqlite.ResultReadOnly {
		return s.explain("committing", err)
	}
	if ended || primary == zsqlite.ResultIOErr || primary == zsqlite.ResultCorrupt {
		return fmt.Errorf("%w: %w", evsourcing.ErrUncertain, s.explain("committing", err))
	}
	return s.explain("committing", err)
}

// rollback ends a transaction that is still open.
func (c *conn) rollback() {
	c.streams.forget()
	if c.kinds.forget() {
		clear(c.known)
	}
	if !c.AutocommitEnabled() {
		_ = c.exec(rollbackWork) // it fails only where there is none
	}
}

// update runs f in a transaction of its own, or in that of ctx.
func (s *Store) update(ctx context.Context, doing string, f func(c *conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t, err := s.joined(ctx); t != nil || err != nil {
		if err != nil {
			return err
		}
		return t.use(s, doing, f)
	}
	return s.begun(ctx, func(c *conn) error {
		defer c.rollback()
		if err := f(c); err != nil {
			if zsqlite.ErrCode(err) == zsqlite.ResultError {
				return err // not SQLite's
			}
			return s.explain(doing, err)
		}
		return s.commit(c, someBytes)
	})
}

// begun runs f in the turn of the caller, with the second connection and a
// transaction that has begun, which f ends.
func (s *Store) begun(ctx context.Context, f func(c *conn) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	c, err := s.second()
	if err != nil {
		return err
	}
	if err := s.begin(c, whileLasts(ctx)); err != nil {
		return err
	}
	return f(c)
}

// second returns the connection for writes other than appends. The caller has
// the lock.
func (s *Store) second() (*conn, error) {
	if s.aux == nil {
		c, err := s.connect(writing)
		if err != nil {
			return nil, err
		}
		s.aux = c
	}
	return s.aux, nil
}

// dropSecond closes that connection because it can't be trusted any more.
func (s *Store) dropSecond() {
	if err := s.aux.Close(); err != nil {
		s.opts.Logger.Warn("evsourcing: sqlite: closing a connection", "path", s.path, "err", err)
	}
	s.aux = nil
}
