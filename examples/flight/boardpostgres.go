package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// A postgresBoard is a board in the database that has the events: see
// [sqliteBoard].
type postgresBoard struct {
	store *postgres.Store
	pool  *pgxpool.Pool
}

func newPostgresBoard(ctx context.Context, store *postgres.Store, pool *pgxpool.Pool) (*postgresBoard, error) {
	_, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS delay_board (
		airport    text PRIMARY KEY,
		departures bigint NOT NULL,
		minutes    bigint NOT NULL,
		late       bigint NOT NULL)`)
	return &postgresBoard{store, pool}, err
}

func (b *postgresBoard) handler() evsourcing.Handler { return b.store.Handler(b.takenOff) }

func (b *postgresBoard) takenOff(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
	var batch pgx.Batch
	for airport, d := range tableOf(msgs) {
		batch.Queue(`INSERT INTO delay_board AS b VALUES ($1, $2, $3, $4) ON CONFLICT (airport) DO UPDATE SET
			departures = b.departures + excluded.departures, minutes = b.minutes + excluded.minutes, late = b.late + excluded.late`,
			airport, d.departures, d.minutes, d.late)
	}
	return tx.SendBatch(ctx, &batch).Close()
}

func (b *postgresBoard) read(ctx context.Context) (delayTable, error) {
	rows, err := b.pool.Query(ctx, "SELECT airport, departures, minutes, late FROM delay_board")
	if err != nil {
		return nil, err
	}
	table := delayTable{}
	var airport string
	var d delays
	_, err = pgx.ForEachRow(rows, []any{&airport, &d.departures, &d.minutes, &d.late}, func() error {
		table[airport] = d
		return nil
	})
	return table, err
}

func (b *postgresBoard) lasts() bool { return true }
