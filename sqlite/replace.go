package sqlite

import (
	"context"
	"fmt"
	"math"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// Replace lets a new version of a projection take over from an old one, in one
// transaction. Both are subscriptions of this store under names of their own,
// and the new one has been built beside the old one. Replace returns [evsourcing.ErrBehind]
// if its checkpoint is below the old one's: then wait and try again. An old
// checkpoint that the log does not hold any more (ErrDiverged) holds nobody up.
//
// In the transaction, f does what makes readers see the new version: it renames
// tables, or makes a view anew. It may be nil. Replace then retires the old name:
// a subscription that runs under it or starts later gets [evsourcing.ErrFenced], or
// with a lease stands by, for good. f may drop the old tables too. What is said
// of a handler's function goes for f.
//
// When no program uses the old name any more, [Store.Forget] removes it.
func (s *Store) Replace(ctx context.Context, old, next string, f func(ctx context.Context, tx *zsqlite.Conn) error) error {
	for _, name := range []string{old, next} {
		if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
			return err
		}
	}
	if old == next {
		return fmt.Errorf("evsourcing: sqlite: %q can't replace itself: a new version needs a new name", old)
	}
	return s.transact(ctx, func(ctx context.Context, c *conn) error {
		from, err := c.checkpoint(old)
		if err != nil {
			return s.explain("reading a checkpoint", err)
		}
		to, err := c.checkpoint(next)
		if err != nil {
			return s.explain("reading a checkpoint", err)
		}
		switch {
		case to.lease == forever:
			return fmt.Errorf("%w: it can't replace %q", to.fenced(next), old)
		case from.owner == "" && !from.saved && from.Token == 0:
			return fmt.Errorf("evsourcing: sqlite: there is no subscription %q that %q could replace", old, next)
		case to.Position < from.Position && c.holds(from.Checkpoint):
			return fmt.Errorf("%w: %q is at position %d, and %q at position %d; wait until it has caught up", evsourcing.ErrBehind, next, to.Position, old, from.Position)
		}
		if f != nil {
			if err := f(ctx, c.Conn); err != nil {
				return err
			}
		}
		return s.update(ctx, "retiring a checkpoint", func(c *conn) error {
			if from.lease != forever {
				from.Token = min(from.Token, math.MaxInt64-1) + 1
			}
			from.owner, from.lease = "replaced by "+next, forever
			return c.putCheckpoint(old, &from)
		})
	})
}

// holds reports whether the log has the event that the checkpoint names, or none
// is named. If not, the subscription has come so far in another log, of which this
// one has lost the end.
func (c *conn) holds(cp evsourcing.Checkpoint) bool {
	if cp.EventID == uuid.Nil {
		return true
	}
	p, ok, err := c.Find(cp.EventID)
	return err != nil || ok && p.Position == cp.Position
}

// Forget removes what is kept under the name of a subscription: checkpoint,
// token and lease. One that runs under the name later starts anew. While an
// owner's lease lasts it is refused with [evsourcing.ErrFenced]; but a
// subscription without a lease, or one that was paused beyond it, is not noticed,
// so make sure that none is running. That goes for a name that was replaced above
// all: a subscription that still stands by under it would begin anew, in the old
// tables. The row takes no room, so it may as well stay. A name that is not known is
// no error.
func (s *Store) Forget(ctx context.Context, name string) error {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return err
	}
	return s.update(ctx, "removing a checkpoint", func(c *conn) error {
		r, err := c.checkpoint(name)
		if err != nil {
			return err
		}
		if r.live() && r.lease != forever {
			return r.fenced(name)
		}
		return c.run(deleteCheckpoint, func(stmt *zsqlite.Stmt) { stmt.BindText(1, name) })
	})
}

var _ interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Waiter
	evsourcing.Finder
	evsourcing.SnapshotStore
	evsourcing.CheckpointStore
	evsourcing.Claimer
} = (*Store)(nil)
