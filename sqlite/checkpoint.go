package sqlite

import (
	"context"
	"fmt"
	"math"
	"time"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// A checkpoint is a row of the table of checkpoints.
type checkpoint struct {
	evsourcing.Checkpoint
	saved bool
	owner string
	lease int64 // when it ends, in milliseconds since 1970
	now   int64 // when the row was read, by SQLite's clock
}

// forever is the end of a lease that does not end.
const forever = math.MaxInt64

// live reports whether the owner's lease lasts.
func (c *checkpoint) live() bool { return c.now < c.lease }

// fenced is the error for somebody else.
func (c *checkpoint) fenced(name string) error {
	if c.lease == forever {
		return fmt.Errorf("%w: %q is %s", evsourcing.ErrFenced, name, c.owner)
	}
	left := time.Duration(c.lease-c.now) * time.Millisecond
	return fmt.Errorf("%w: %q belongs to %q for another %v", evsourcing.ErrFenced, name, c.owner, left)
}

// checkpoint returns the row of a name, a zero one if there is none.
func (c *conn) checkpoint(name string) (r checkpoint, err error) {
	_, err = c.row(readCheckpoint, func(stmt *zsqlite.Stmt) { stmt.BindText(1, name) }, func(stmt *zsqlite.Stmt) {
		r.Position = uint64(stmt.ColumnInt64(0))
		stmt.ColumnBytes(1, r.EventID[:])
		r.Token = uint64(stmt.ColumnInt64(2))
		r.saved = stmt.ColumnInt64(3) != 0
		r.owner = stmt.ColumnText(4)
		r.lease, r.now = stmt.ColumnInt64(5), stmt.ColumnInt64(6)
	})
	return r, err
}

func (c *conn) putCheckpoint(name string, r *checkpoint) error {
	return c.run(writeCheckpoint, func(stmt *zsqlite.Stmt) {
		stmt.BindText(1, name)
		stmt.BindInt64(2, int64(r.Position))
		stmt.BindBytes(3, r.EventID[:])
		stmt.BindInt64(4, int64(r.Token))
		stmt.BindBool(5, r.saved)
		stmt.BindText(6, r.owner)
		stmt.BindInt64(7, r.lease)
	})
}

// checkNumbers refuses what SQLite can't hold.
func checkNumbers(what string, numbers ...uint64) error {
	for _, n := range numbers {
		if n > math.MaxInt64 {
			return fmt.Errorf("evsourcing: sqlite: %s: %d is out of range", what, n)
		}
	}
	return nil
}

// Checkpoint implements [evsourcing.CheckpointStore]. A name that was replaced is
// an [evsourcing.ErrFenced], which ends a subscription without a lease too.
func (s *Store) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return evsourcing.Checkpoint{}, false, err
	}
	var r checkpoint
	err := s.read(ctx, "reading a checkpoint", func(c *conn) (err error) {
		r, err = c.checkpoint(name)
		return err
	})
	if err != nil {
		return evsourcing.Checkpoint{}, false, err
	}
	if r.lease == forever {
		return evsourcing.Checkpoint{}, false, r.fenced(name)
	}
	return r.Checkpoint, r.saved, nil
}

// SaveCheckpoint implements [evsourcing.CheckpointStore].
func (s *Store) SaveCheckpoint(ctx context.Context, name string, to evsourcing.Checkpoint) error {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return err
	}
	if err := checkNumbers(fmt.Sprintf("checkpoint %q", name), to.Position, to.Token); err != nil {
		return err
	}
	return s.update(ctx, "saving a checkpoint", func(c *conn) error {
		r, err := c.checkpoint(name)
		if err != nil {
			return err
		}
		return c.saveCheckpoint(name, &r, to)
	})
}

// saveCheckpoint saves a checkpoint in place of the row r, unless that has a
// higher token.
func (c *conn) saveCheckpoint(name string, r *checkpoint, to evsourcing.Checkpoint) error {
	if r.lease == forever {
		return r.fenced(name)
	}
	if to.Token < r.Token {
		return fmt.Errorf("%w: checkpoint %q has token %d, not %d", evsourcing.ErrFenced, name, r.Token, to.Token)
	}
	r.Checkpoint, r.saved = to, true
	return c.putCheckpoint(name, r)
}

// Claim implements [evsourcing.Claimer], by the clock of this machine, in
// milliseconds.
func (s *Store) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return evsourcing.Checkpoint{}, err
	}
	if err := engine.CheckName(ctx, "owner", owner); err != nil {
		return evsourcing.Checkpoint{}, fmt.Errorf("evsourcing: claim of %q: %w", name, err)
	}
	var claimed evsourcing.Checkpoint
	err := s.update(ctx, "claiming a checkpoint", func(c *conn) error {
		r, err := c.checkpoint(name)
		if err != nil {
			return err
		}
		live := r.live()
		if live && (r.owner != owner || r.lease == forever) {
			return r.fenced(name)
		}
		if !live {
			if ttl <= 0 {
				claimed = r.Checkpoint
				return nil
			}
			if r.Token == math.MaxInt64 {
				return fmt.Errorf("evsourcing: sqlite: claim of %q: there is no token beyond %d", name, r.Token)
			}
			r.Token++
		}
		r.owner, r.lease = owner, r.now
		if ttl > 0 {
			ms := int64((ttl-1)/time.Millisecond) + 1 // rounded up, without overflow
			r.lease += min(ms, forever-1-r.now)
		}
		claimed = r.Checkpoint
		return c.putCheckpoint(name, &r)
	})
	if err != nil {
		return evsourcing.Checkpoint{}, err
	}
	return claimed, nil
}
