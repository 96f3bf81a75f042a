package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// Checkpoint implements [evsourcing.CheckpointStore]. A name that was replaced is an
// [evsourcing.ErrFenced], which ends a subscription without a lease too. Within a
// transaction it reads there.
func (s *Store) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return evsourcing.Checkpoint{}, false, err
	}
	var saved, retired bool
	var owner string
	var c evsourcing.Checkpoint
	err := s.read(ctx, func(q querier) (err error) {
		c, err = scanCheckpoint(q.QueryRow(ctx, s.text(`
SELECT position, event_id, token, saved, owner, until = 'infinity' FROM {schema}.checkpoints WHERE name = $1`), name), &saved, &owner, &retired)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return evsourcing.Checkpoint{}, false, nil
	}
	if err != nil {
		return evsourcing.Checkpoint{}, false, checkpointError(ctx, "read", name, err)
	}
	if retired {
		return evsourcing.Checkpoint{}, false, retiredError(name, owner)
	}
	return c, saved, nil
}

// retiredError is the error for those who use a name that was replaced, which its owner
// says.
func retiredError(name, owner string) error {
	return fmt.Errorf("%w: %q was %s", evsourcing.ErrFenced, name, owner)
}

// scanCheckpoint reads position, event ID and token, and what else there is.
func scanCheckpoint(row pgx.Row, more ...any) (evsourcing.Checkpoint, error) {
	var position, token int64
	var id pgtype.UUID
	err := row.Scan(append([]any{&position, &id, &token}, more...)...)
	return evsourcing.Checkpoint{Position: uint64(position), EventID: id.Bytes, Token: uint64(token)}, err
}

// SaveCheckpoint implements [evsourcing.CheckpointStore]. Within a transaction it writes
// there.
func (s *Store) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if err := checkCheckpoint(ctx, name, c); err != nil {
		return err
	}
	var tag pgconn.CommandTag
	err := s.with(ctx, func(q querier) (err error) {
		tag, err = q.Exec(ctx, s.text(`
INSERT INTO {schema}.checkpoints AS c (name, position, event_id, token, saved, owner, until)
VALUES ($1, $2, $3, $4, true, '', '-infinity')
ON CONFLICT ON CONSTRAINT checkpoints_name DO UPDATE
SET position = excluded.position, event_id = excluded.event_id, token = excluded.token, saved = true
WHERE c.token <= excluded.token AND c.until <> 'infinity'`), name, int64(c.Position), pgtype.UUID{Bytes: c.EventID, Valid: true}, int64(c.Token))
		return err
	})
	if err != nil {
		return checkpointError(ctx, "save", name, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: checkpoint %q has a higher token than %d, or was replaced", evsourcing.ErrFenced, name, c.Token)
	}
	return nil
}

// checkCheckpoint refuses what can't be saved.
func checkCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return err
	}
	if c.Position > math.MaxInt64 || c.Token > math.MaxInt64 {
		return fmt.Errorf("evsourcing: checkpoint %q: position %d or token %d is out of range", name, c.Position, c.Token)
	}
	return nil
}

// Claim implements [evsourcing.Claimer], by the clock of the database. It can't be part of
// a transaction.
func (s *Store) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	if err := engine.CheckName(ctx, "claim of checkpoint", name); err != nil {
		return evsourcing.Checkpoint{}, err
	}
	if err := engine.CheckName(ctx, "claim of "+name+" for owner", owner); err != nil {
		return evsourcing.Checkpoint{}, err
	}
	if err := s.outside(ctx, "claim", name); err != nil {
		return evsourcing.Checkpoint{}, err
	}
	claim := s.claim
	if ttl <= 0 {
		claim = s.release
	}
	for {
		c, err := claim(ctx, name, owner, ttl)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return c, checkpointError(ctx, "claim", name, err)
		}
		// Nothing was changed. Why is a question of its own, with an answer that may be
		// of later.
		var other string
		var lasts bool
		var left float64
		row := s.pool.QueryRow(ctx, s.text(`
SELECT position, event_id, token, owner, until > clock_timestamp() OR until = 'infinity',
	CASE WHEN isfinite(until) THEN extract(epoch FROM until - clock_timestamp()) ELSE 'infinity' END::float8
FROM {schema}.checkpoints WHERE name = $1`), name)
		c, err = scanCheckpoint(row, &other, &lasts, &left)
		switch {
		case errors.Is(err, pgx.ErrNoRows) && ttl <= 0:
			return evsourcing.Checkpoint{}, nil
		case errors.Is(err, pgx.ErrNoRows): // forgotten just now
		case err != nil:
			return evsourcing.Checkpoint{}, checkpointError(ctx, "claim", name, err)
		case lasts && math.IsInf(left, 1):
			return evsourcing.Checkpoint{}, retiredError(name, other)
		case lasts && other != owner:
			return evsourcing.Checkpoint{}, fmt.Errorf("%w: %q belongs to %q for another %v", evsourcing.ErrFenced, name, other,
				time.Duration(left*float64(time.Second)))
		case ttl <= 0 && !lasts:
			return c, nil
		}
	}
}

// claim begins or renews a lease, or returns pgx.ErrNoRows. A lease that never ends
// is that of a name that was replaced.
func (s *Store) claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	return scanCheckpoint(s.pool.QueryRow(ctx, s.text(`
INSERT INTO {schema}.checkpoints AS c (name, position, event_id, token, saved, owner, until)
VALUES ($1, 0, '00000000-0000-0000-0000-000000000000', 1, false, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
ON CONFLICT ON CONSTRAINT checkpoints_name DO UPDATE
SET token = c.token + CASE WHEN c.until > clock_timestamp() THEN 0 ELSE 1 END,
	owner = excluded.owner, until = clock_timestamp() + $3::bigint * interval '1 microsecond'
WHERE c.until <> 'infinity' AND (c.owner = excluded.owner OR c.until <= clock_timestamp())
RETURNING position, event_id, token`), name, owner, leaseMicros(ttl)))
}

// release ends the owner's lease, or returns pgx.ErrNoRows if it has none.
func (s *Store) release(ctx context.Context, name, owner string, _ time.Duration) (evsourcing.Checkpoint, error) {
	return scanCheckpoint(s.pool.QueryRow(ctx, s.text(`
UPDATE {schema}.checkpoints SET until = clock_timestamp()
WHERE name = $1 AND owner = $2 AND until > clock_timestamp() AND until <> 'infinity'
RETURNING position, event_id, token`), name, owner))
}

// leaseMicros rounds up, and bounds to a thousand years, which a timestamp can add.
func leaseMicros(ttl time.Duration) int64 {
	const long = 292 * 365 * 24 * time.Hour
	return int64((min(ttl, long) + time.Microsecond - 1) / time.Microsecond)
}

// Forget removes what is kept under the name of a subscription: checkpoint, token and
// lease. One that runs under the name later starts anew. While an owner's lease lasts it
// is refused with [evsourcing.ErrFenced]; but a subscription without a lease, or one that
// was paused beyond it, is not noticed, so make sure that none is running. That goes for a
// name that was replaced above all: a subscription that still stands by under it would
// begin anew, in the old tables. The row takes no room, so it may as well stay. A name
// that is not known is no error. It can't be part of a transaction.
func (s *Store) Forget(ctx context.Context, name string) error {
	if err := engine.CheckName(ctx, "checkpoint", name); err != nil {
		return err
	}
	if err := s.outside(ctx, "forget", name); err != nil {
		return err
	}
	var owner string
	err := s.pool.QueryRow(ctx, s.text(`
WITH gone AS (DELETE FROM {schema}.checkpoints WHERE name = $1 AND (until <= clock_timestamp() OR until = 'infinity') RETURNING name)
SELECT owner FROM {schema}.checkpoints WHERE name = $1 AND NOT EXISTS (SELECT FROM gone)`), name).Scan(&owner)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return checkpointError(ctx, "forget", name, err)
	}
	return fmt.Errorf("%w: %q belongs to %q, whose lease lasts", evsourcing.ErrFenced, name, owner)
}

// outside refuses the context of a transaction to what would take a second connection.
func (s *Store) outside(ctx context.Context, what, name string) error {
	if s.transaction(ctx) == nil {
		return nil
	}
	return fmt.Errorf("evsourcing: postgres: %s checkpoint %q: the context is that of a transaction, which this can't be part of", what, name)
}

func checkpointError(ctx context.Context, what, name string, err error) error {
	return fmt.Errorf("evsourcing: postgres: %s checkpoint %q: %w", what, name, remedy(contextError(ctx, err)))
}

// text returns a statement for the store's schema.
func (s *Store) text(sql string) string { return inSchema(s.opts.Schema, sql) }
