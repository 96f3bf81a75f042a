package durable

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

type postgresStore struct{ *postgres.Store }

func (s postgresStore) Unwrap() evsourcing.EventStore { return s.Store }

func (s postgresStore) InTx(ctx context.Context, f func(ctx context.Context, exec Exec) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx pgx.Tx, _ evsourcing.EventStore) error {
		return f(ctx, onPostgres(ctx, tx))
	})
}

func (s postgresStore) Handler(f func(ctx context.Context, exec Exec, msgs []evsourcing.Message) error) evsourcing.TxHandler {
	return s.Store.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		return f(ctx, onPostgres(ctx, tx), msgs)
	})
}

func onPostgres(ctx context.Context, tx pgx.Tx) Exec {
	return func(sql string) error {
		_, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		return err
	}
}

func (s postgresStore) Rows(ctx context.Context, query string, f func(columns []string) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx pgx.Tx, _ evsourcing.EventStore) error {
		rows, err := tx.Query(ctx, query, pgx.QueryExecModeSimpleProtocol) // which answers in text
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var columns []string
			for _, v := range rows.RawValues() {
				columns = append(columns, string(v))
			}
			if err := f(columns); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}
