package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// ErrBehind says that a subscription can't replace another one, because it has not come
// as far.
var ErrBehind = errors.New("evsourcing: postgres: not caught up")

// Replace puts a subscription in the place of an older one, when a read model has been
// rebuilt beside the old. In one transaction, during which neither gets on, it checks
// that the new checkpoint is not below the old one, runs f, which swaps tables or a view and
// drops the old ones, and retires the old name: a subscription of it that runs, or is
// started, gets [evsourcing.ErrFenced] or stands by, for good. f may be nil. When no
// program uses the old name any more, [Store.Forget] removes it.
//
// The error is [ErrBehind] if the new subscription has not caught up: then try again
// later. f is called again if the transaction got into a deadlock, and the rules of
// [Store.InTx] hold for it. The old name needs no checkpoint.
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
	// All lock rows in the same order.
	positions := map[string]uint64{}
	for _, name := range []string{min(old, successor), max(old, successor)} {
		var owner string
		var retired bool
		c, err := scanCheckpoint(tx.QueryRow(ctx, s.text(`
SELECT position, event_id, token, owner, until = 'infinity' FROM {schema}.checkpoints WHERE name = $1 FOR UPDATE`), name), &owner, &retired)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return checkpointError(ctx, "lock", name, err)
		}
		if retired && name == successor {
			return fmt.Errorf("%w: it can't replace %q: %q was %s", evsourcing.ErrFenced, old, successor, owner)
		}
		positions[name] = c.Position
	}
	if positions[successor] < positions[old] {
		return fmt.Errorf("%w: %q is at position %d, and %q at %d", ErrBehind, successor, positions[successor], old, positions[old])
	}
	_, err := tx.Exec(ctx, s.text(`
INSERT INTO {schema}.checkpoints AS c (name, position, event_id, token, saved, owner, until)
VALUES ($1, 0, '00000000-0000-0000-0000-000000000000', 1, false, $2, 'infinity')
ON CONFLICT ON CONSTRAINT checkpoints_name DO UPDATE
SET token = c.token + 1, owner = excluded.owner, until = 'infinity'`), old, "replaced by "+successor)
	if err != nil {
		return checkpointError(ctx, "retire", old, err)
	}
	return nil
}
