package durable

import (
	"context"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/sqlite"
)

type sqliteStore struct{ *sqlite.Store }

func (s sqliteStore) Unwrap() evsourcing.EventStore { return s.Store }

func (s sqliteStore) InTx(ctx context.Context, f func(ctx context.Context, exec Exec) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx *zsqlite.Conn) error { return f(ctx, onSQLite(tx)) })
}

func (s sqliteStore) Handler(f func(ctx context.Context, exec Exec, msgs []evsourcing.Message) error) evsourcing.TxHandler {
	return s.Store.Handler(func(ctx context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		return f(ctx, onSQLite(tx), msgs)
	})
}

func onSQLite(tx *zsqlite.Conn) Exec {
	return func(sql string) error { return sqlitex.ExecuteTransient(tx, sql, nil) }
}

func (s sqliteStore) Rows(ctx context.Context, query string, f func(columns []string) error) error {
	return s.Read(ctx, func(conn *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(row *zsqlite.Stmt) error {
			columns := make([]string, row.ColumnCount())
			for i := range columns {
				columns[i] = row.ColumnText(i)
			}
			return f(columns)
		}})
	})
}
