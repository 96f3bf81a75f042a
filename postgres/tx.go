package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// guardedTx is the pgx.Tx that a function gets, and those that it makes of it. It can't end the transaction, and
// can't be used after its end.
type guardedTx struct {
	t         *transaction
	tx        pgx.Tx
	savepoint bool // which the function may end
}

var errGuarded = errors.New("evsourcing: postgres: the transaction is the store's to end: return nil to commit it, or an error to roll it back")

func (g guardedTx) Commit(ctx context.Context) error {
	if !g.savepoint {
		return errGuarded
	}
	if err := g.check(); err != nil {
		return err
	}
	return g.tx.Commit(ctx)
}

// Rollback is what many defer, so it may be called after the end.
func (g guardedTx) Rollback(ctx context.Context) error {
	if g.check() != nil {
		return pgx.ErrTxClosed
	}
	if g.savepoint {
		return g.tx.Rollback(ctx)
	}
	return errGuarded
}

func (g guardedTx) check() error {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	if g.t.over {
		return pgx.ErrTxClosed
	}
	return nil
}

func (g guardedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	tx, err := g.tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return guardedTx{g.t, tx, true}, nil
}

func (g guardedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	return g.tx.CopyFrom(ctx, table, columns, src)
}

func (g guardedTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := g.check(); err != nil {
		return failedBatch{err: err}
	}
	return g.tx.SendBatch(ctx, b)
}

func (g guardedTx) LargeObjects() pgx.LargeObjects { return g.tx.LargeObjects() }

func (g guardedTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return g.tx.Prepare(ctx, name, sql)
}

func (g guardedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := g.check(); err != nil {
		return pgconn.CommandTag{}, err
	}
	return g.tx.Exec(ctx, sql, args...)
}

func (g guardedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := g.check(); err != nil {
		return failedRows{err: err}, err
	}
	return g.tx.Query(ctx, sql, args...)
}

func (g guardedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := g.check(); err != nil {
		return failedRows{err: err}
	}
	return g.tx.QueryRow(ctx, sql, args...)
}

func (g guardedTx) Conn() *pgx.Conn { return g.tx.Conn() }

// failedRows and failedBatch are the results of what can't be done any more.
type failedRows struct {
	pgx.Rows
	err error
}

func (r failedRows) Close()            {}
func (r failedRows) Err() error        { return r.err }
func (r failedRows) Next() bool        { return false }
func (r failedRows) Scan(...any) error { return r.err }

type failedBatch struct {
	pgx.BatchResults
	err error
}

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return failedRows{err: b.err}, b.err }
func (b failedBatch) QueryRow() pgx.Row                { return failedRows{err: b.err} }
func (b failedBatch) Close() error                     { return b.err }
