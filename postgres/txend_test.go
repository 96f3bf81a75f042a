package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

func TestTransactionIsNotUsedAfterItsEnd(t *testing.T) {
	s, _, _ := withTable(t)
	var inside context.Context
	var store evsourcing.EventStore
	var tx pgx.Tx
	err := s.InTx(t.Context(), func(ctx context.Context, x pgx.Tx, e evsourcing.EventStore) error {
		inside, store, tx = ctx, e, x
		if x.Commit(ctx) == nil || x.Rollback(ctx) == nil {
			t.Error("the function could end its transaction")
		}
		if err := s.InTx(ctx, func(context.Context, pgx.Tx, evsourcing.EventStore) error { return nil }); err == nil {
			t.Error("a transaction could begin another one")
		}
		sub, err := x.Begin(ctx) // a savepoint
		if err == nil {
			err = sub.Commit(ctx)
		}
		if x.Conn() == nil {
			t.Error("there is no connection")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, err := range map[string]error{
		"Append":       second(s.Append(inside, batch(stream("a"), 0, 1))),
		"store.Append": second(store.Append(ctx, batch(stream("a"), 0, 1))),
		"Head":         second(s.Head(inside)),
		"Exec":         second(tx.Exec(ctx, "SELECT 1")),
		"Query":        second(tx.Query(ctx, "SELECT 1")),
		"QueryRow":     tx.QueryRow(ctx, "SELECT 1").Scan(),
		"Begin":        second(tx.Begin(ctx)),
		"Prepare":      second(tx.Prepare(ctx, "a", "SELECT 1")),
		"CopyFrom":     second(tx.CopyFrom(ctx, pgx.Identifier{"a"}, nil, nil)),
		"SendBatch":    tx.SendBatch(ctx, &pgx.Batch{}).Close(),
		"Rollback":     tx.Rollback(ctx),
		"SaveSnapshot": s.SaveSnapshot(inside, evsourcing.Snapshot{Stream: stream("a")}),
	} {
		if err == nil {
			t.Errorf("%s works after the end of the transaction", name)
		}
	}
	for name, seq := range map[string]func(func(evsourcing.StoredEvent, error) bool){
		"Load": s.Load(inside, stream("a"), evsourcing.Range{}), "Events": s.Events(inside, evsourcing.Range{}, evsourcing.Filter{}),
	} {
		for _, err := range seq {
			if err == nil {
				t.Errorf("%s works after the end of the transaction", name)
			}
		}
	}
	if _, _, err := s.Find(inside, stream("a"), uuid.New()); err == nil {
		t.Error("Find works after the end of the transaction")
	}
}

func second[T any](_ T, err error) error { return err }

func TestRepositoryWorksInATransaction(t *testing.T) {
	s, dsn, table := withTable(t)
	err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		repo := evsourcing.NewRepository[counter]("counter", store, evsourcing.NewRegistry(counted{}), nil)
		for i := range 5 {
			c, err := repo.CreateOrUpdate(ctx, "one", func(c *counter) error { evsourcing.Record(c, counted{}); return nil }, evsourcing.CommandID(fmt.Sprint(i/2)))
			if err != nil || c.N != i/2+1 {
				t.Fatalf("update %d: %+v, %v", i, c, err)
			}
			do(t, tx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", table, i))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := versions(t, t.Context(), s, evsourcing.StreamID{Type: "counter", ID: "one"}, evsourcing.Range{}); got != "1 2 3" {
		t.Errorf("the stream has versions %s", got)
	}
	if n := rowCount(t, dsn, table); n != 5 {
		t.Errorf("the table has %d rows", n)
	}
}

type counter struct {
	evsourcing.Base
	N int
}

type counted struct{}

func (counted) Topic() string      { return "counted" }
func (counted) ApplyTo(c *counter) { c.N++ }
