package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// Replace puts a subscription in the place of an older one, when a read model has been
// rebuilt beside the old. In one transaction, during which neither gets on, it checks
// that the new checkpoint is not below the old one, runs f, which swaps tables or a view and
// drops the old ones, and retires the old name: a subscription of it that runs, or is
// started, gets [evsourcing.ErrFenced] or stands by, for good. f may be nil. When no
// program uses the old name any more, [Store.Forget] removes it.
//
// The error is [evsourcing.ErrBehind] if the new subscription has not caught up: then try
// again later. An old checkpoint that the log does not hold any more (ErrDiverged) holds
// nobody up. An old name that is not known is an error. f is called again if the
// transaction got into a deadlock, and the rules of [Store.InTx] hold for it.
func (s *Store) Replace(ctx context.Context, old, successor string, f func(ctx context.Context, tx pgx.Tx) error) error {
	if err := engine.CheckName(ctx, "checkpoint", old); err != nil {
		return err
	}
	if err := engine.CheckName(ctx, "checkpoint", successor); err != nil {
		return err
	}
	if old == successor {
		return fmt.Errorf("evsourcing: postgres: replace: %q can't replace itself", old)
	}
	const attempts = 3
	for i := 1; ; i++ {
		err := s.run(ctx, beginSQL, nil, func(ctx context.Context, t *transaction) error {
			if err := s.retire(ctx, t.tx, old, successor); err != nil {
				return err
			}
			if f == nil {
				return nil
			}
			return f(ctx, guardedTx{t, t.tx, false})
		})
		if err == nil || i == attempts || outcomeOf(err) != again {
			return err
		}
	}
}

// retire locks both rows and retires the old one.
func (s *Store) retire(ctx context.Context, tx pgx.Tx, old, successor string) error {
	rows := map[string]evsourcing.Checkpoint{}
	for _, name := range []string{min(old, successor), max(old, successor)} { // all lock in the same order
		var owner string
		var retired bool
		c, err := scanCheckpoint(tx.QueryRow(ctx, s.text(`
SELECT position, event_id, token, owner, until = 'infinity' FROM {schema}.checkpoints WHERE name = $1 FOR UPDATE`), name), &owner, &retired)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			continue
		case err != nil:
			return checkpointError(ctx, "lock", name, err)
		case retired && name == successor:
			return fmt.Errorf("%w: it can't replace %q", retiredError(name, owner), old)
		}
		rows[name] = c
	}
	from, known := rows[old]
	if !known {
		return fmt.Errorf("evsourcing: postgres: there is no subscription %q that %q could replace", old, successor)
	}
	if to := rows[successor].Position; to < from.Position {
		held, err := s.holds(ctx, tx, from)
		if err != nil {
			return checkpointError(ctx, "look for the event of", old, err)
		}
		if held {
			return fmt.Errorf("%w: %q is at position %d, and %q at position %d; wait until it has caught up",
				evsourcing.ErrBehind, successor, to, old, from.Position)
		}
	}
	_, err := tx.Exec(ctx, s.text("UPDATE {schema}.checkpoints SET token = token + 1, owner = $2, until = 'infinity' WHERE name = $1"),
		old, "replaced by "+successor)
	if err != nil {
		return checkpointError(ctx, "retire", old, err)
	}
	return nil
}

// holds reports whether the log has the event that the checkpoint names, or none is
// named. If not, the subscription has come so far in a log of which this one has lost the
// end.
func (s *Store) holds(ctx context.Context, tx pgx.Tx, c evsourcing.Checkpoint) (held bool, err error) {
	if c.EventID == uuid.Nil {
		return true, nil
	}
	err = tx.QueryRow(ctx, s.text("SELECT EXISTS (SELECT FROM {schema}.events WHERE id = $1 AND position = $2)"),
		pgtype.UUID{Bytes: c.EventID, Valid: true}, int64(c.Position)).Scan(&held)
	return held, err
}
