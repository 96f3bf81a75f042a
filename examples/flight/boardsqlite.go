package main

import (
	"context"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
	"github.com/evsourcing/evsourcing/sqlite"
)

// A sqliteBoard is a board in the file that has the events. Its rows and the
// checkpoint of its subscription are saved in one transaction, so each take-off
// counts once, wherever the program dies.
type sqliteBoard struct{ store *sqlite.Store }

func newSQLiteBoard(ctx context.Context, store *sqlite.Store) (*sqliteBoard, error) {
	err := store.InTx(ctx, func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(tx, `CREATE TABLE IF NOT EXISTS delay_board (
			airport    TEXT PRIMARY KEY,
			departures INTEGER NOT NULL,
			minutes    INTEGER NOT NULL,
			late       INTEGER NOT NULL) STRICT`, nil)
	})
	return &sqliteBoard{store}, err
}

func (b *sqliteBoard) handler() evsourcing.Handler { return b.store.Handler(b.takenOff) }

func (b *sqliteBoard) takenOff(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
	for airport, d := range tableOf(msgs) {
		err := sqlitex.Execute(tx, `INSERT INTO delay_board VALUES (?, ?, ?, ?) ON CONFLICT (airport) DO UPDATE SET
			departures = departures + excluded.departures, minutes = minutes + excluded.minutes, late = late + excluded.late`,
			&sqlitex.ExecOptions{Args: []any{airport, d.departures, d.minutes, d.late}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *sqliteBoard) read(ctx context.Context) (delayTable, error) {
	table := delayTable{}
	err := b.store.Read(ctx, func(conn *zsqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT airport, departures, minutes, late FROM delay_board", &sqlitex.ExecOptions{
			ResultFunc: func(row *zsqlite.Stmt) error {
				table[row.ColumnText(0)] = delays{row.ColumnInt(1), row.ColumnInt(2), row.ColumnInt(3)}
				return nil
			},
		})
	})
	return table, err
}

func (b *sqliteBoard) lasts() bool { return true }

// tableOf returns the delays of the aircraft that have taken off.
func tableOf(msgs []evsourcing.Message) delayTable {
	table := delayTable{}
	for _, m := range msgs {
		if e, ok := m.Event.(aircraft.TakenOff); ok {
			table.add(e.Airport, e.Delay)
		}
	}
	return table
}
