package postgres_test

import (
	"context"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// An Account is an aggregate.
type Account struct {
	evsourcing.Base
	Balance int
}

// Deposited is its event.
type Deposited struct{ Amount int }

func (Deposited) Topic() string        { return "account.deposited" }
func (e Deposited) ApplyTo(a *Account) { a.Balance += e.Amount }

func deposit(n int) func(*Account) error {
	return func(a *Account) error {
		evsourcing.Record(a, Deposited{n})
		return nil
	}
}

func ExampleOpen() {
	ctx := context.Background()
	store, err := postgres.Open(ctx, "postgres://app@localhost/bank", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close(ctx)
	accounts := evsourcing.NewRepository[Account]("account", store, evsourcing.NewRegistry(Deposited{}), nil)
	if _, err := accounts.CreateOrUpdate(ctx, "ada", deposit(70)); err != nil {
		log.Fatal(err)
	}
}

// Events and rows of the application's own tables are committed together, or not
// at all.
func ExampleStore_InTx() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@localhost/bank")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.New(ctx, pool, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close(ctx)
	err = store.InTx(ctx, func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
		accounts := evsourcing.NewRepository[Account]("account", store, evsourcing.NewRegistry(Deposited{}), nil)
		ada, err := accounts.Update(ctx, "ada", deposit(30))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE balances SET balance = $1 WHERE id = $2", ada.Balance, ada.ID())
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}

// A read model in the same database, exactly once: the handler's rows and the
// subscription's checkpoint are committed together.
func ExampleStore_Handler() {
	ctx := context.Background()
	store, err := postgres.Open(ctx, "postgres://app@localhost/bank", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close(ctx)
	handler := store.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		var batch pgx.Batch
		for _, m := range msgs {
			if e, ok := m.Event.(Deposited); ok {
				batch.Queue("INSERT INTO deposits AS d VALUES ($1, $2) ON CONFLICT (day) DO UPDATE SET total = d.total + excluded.total",
					m.Time.Format(time.DateOnly), e.Amount)
			}
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
	sub := evsourcing.NewSubscription("deposits", store, store, evsourcing.NewRegistry(Deposited{}), handler,
		&evsourcing.SubscriptionOptions{
			BatchSize: 1000,
			Lease:     10 * time.Second, // several processes may run it: one does, another takes over
		})
	if err := sub.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
