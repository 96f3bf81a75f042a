package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// checkIsolation refuses another default isolation level: an append takes the position
// lock in the statement that stores the events, and under a level whose snapshot is of
// before the lock, it would not see what was stored while it waited. (To set the level
// at the start of a session is not possible through some proxies.)
func checkIsolation(ctx context.Context, pool *pgxpool.Pool) error {
	var level string
	if err := pool.QueryRow(ctx, "SHOW default_transaction_isolation").Scan(&level); err != nil {
		return fmt.Errorf("evsourcing: postgres: open: %w", remedy(contextError(ctx, err)))
	}
	if level != "read committed" && level != "read uncommitted" { // which are the same
		return fmt.Errorf("evsourcing: postgres: open: default_transaction_isolation is %q, and the store needs read committed: "+
			"add default_transaction_isolation=read%%20committed to the connection string, or change it for the role or database (ALTER ROLE ... SET)", level)
	}
	return nil
}

// advanceSequence advances a sequence of positions that is behind the log. A move by
// logical replication leaves it so, which does not copy sequences, or a restore by hand;
// and events that get positions below the head are never seen by those who have passed.
func advanceSequence(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	behind, _, err := sequenceBehind(ctx, pool, schema)
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: open: %w", remedy(contextError(ctx, err)))
	}
	if !behind {
		return nil
	}
	var head int64
	set := inSchema(schema, `SELECT setval('{schema}.positions', $1)`)
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, inSchema(schema, positionLockSQL)); err != nil {
			return err
		}
		if behind, head, err = sequenceBehind(ctx, tx, schema); err != nil || !behind {
			return err
		}
		_, err := tx.Exec(ctx, set, head)
		return err
	})
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: open: the sequence of positions is behind the log, whose head is %d, and could not be advanced; "+
			"let the schema's owner open the store, or run SELECT setval('%s', %d) while nobody appends: %w",
			head, inSchema(schema, "{schema}.positions"), head, contextError(ctx, err))
	}
	return nil
}

const positionLockSQL = `SELECT pg_advisory_xact_lock(1163088725, '{schema}'::regnamespace::oid::int)`

// sequenceBehind reports whether the sequence of positions is behind the log. Those who
// may not draw from it are not told, and need not know.
func sequenceBehind(ctx context.Context, q querier, schema string) (behind bool, head int64, err error) {
	var last int64
	// The head is that of the statement's snapshot, and the sequence is read later.
	err = q.QueryRow(ctx, inSchema(schema, `
SELECT h.head, CASE WHEN has_sequence_privilege('{schema}.positions', 'USAGE')
	THEN coalesce(pg_sequence_last_value('{schema}.positions'), 0) ELSE h.head END
FROM (SELECT coalesce((SELECT position FROM {schema}.events ORDER BY position DESC LIMIT 1), 0) AS head) AS h`)).Scan(&head, &last)
	return last < head, head, err
}
