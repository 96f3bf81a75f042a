package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/sqlite"
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

// tempFile returns the name of a file in a new directory.
func tempFile() (name string, remove func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "bank.db"), func() { _ = os.RemoveAll(dir) }
}

// What was saved is there when the file is opened again.
func ExampleOpen() {
	ctx := context.Background()
	file, remove := tempFile()
	defer remove()
	for range 2 {
		store, err := sqlite.Open(file, nil)
		if err != nil {
			log.Fatal(err)
		}
		accounts := evsourcing.NewRepository[Account]("account", store, evsourcing.NewRegistry(Deposited{}), nil)
		ada, err := accounts.CreateOrUpdate(ctx, "ada", deposit(70))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ada.Balance)
		if err := store.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 70
	// 140
}

// A read model in a table of the same file, exactly once: the handler's rows and
// the subscription's checkpoint are committed together.
func ExampleStore_Handler() {
	ctx := context.Background()
	file, remove := tempFile()
	defer remove()
	store, err := sqlite.Open(file, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close(ctx)
	err = store.InTx(ctx, func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(tx, "CREATE TABLE IF NOT EXISTS deposits (day TEXT PRIMARY KEY, total INTEGER) STRICT", nil)
	})
	if err != nil {
		log.Fatal(err)
	}
	codec := evsourcing.NewRegistry(Deposited{})

	handler := store.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			if e, ok := m.Event.(Deposited); ok {
				err := sqlitex.Execute(tx, "INSERT INTO deposits VALUES (?, ?) ON CONFLICT DO UPDATE SET total = total + excluded.total",
					&sqlitex.ExecOptions{Args: []any{m.Time.Format(time.DateOnly), e.Amount}})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	sub := evsourcing.NewSubscription("deposits", store, store, codec, handler, &evsourcing.SubscriptionOptions{
		Lease: 10 * time.Second, // several processes may run it: one does, another takes over
	})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- sub.Run(running) }()

	accounts := evsourcing.NewRepository[Account]("account", store, codec, &evsourcing.RepositoryOptions{
		Now: func() time.Time { return time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC) },
	})
	var ada *Account
	for _, amount := range []int{70, 30} {
		if ada, err = accounts.CreateOrUpdate(ctx, "ada", deposit(amount)); err != nil {
			log.Fatal(err)
		}
	}
	if err := sub.WaitFor(ctx, ada.Position()); err != nil {
		log.Fatal(err)
	}
	err = store.Read(ctx, func(conn *zsqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT day, total FROM deposits", &sqlitex.ExecOptions{
			ResultFunc: func(row *zsqlite.Stmt) error {
				fmt.Println(row.ColumnText(0), row.ColumnInt(1))
				return nil
			},
		})
	})
	if err != nil {
		log.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2001-01-01 100
}

// A new version of a projection is built beside the old one, under a name of its
// own. When it has caught up, it takes the old one's place in one transaction.
func ExampleStore_Replace() {
	ctx := context.Background()
	file, remove := tempFile()
	defer remove()
	store, err := sqlite.Open(file, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close(ctx)
	err = store.InTx(ctx, func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteScript(tx, `
			CREATE TABLE deposits_v1 (total INTEGER);
			CREATE TABLE deposits_v2 (total INTEGER, count INTEGER);
			CREATE VIEW deposits AS SELECT * FROM deposits_v1;`, nil)
	})
	if err != nil {
		log.Fatal(err)
	}

	// Here subscriptions "deposits v1" and "deposits v2" run, and save checkpoints:
	for _, name := range []string{"deposits v1", "deposits v2"} {
		if err := store.SaveCheckpoint(ctx, name, evsourcing.Checkpoint{}); err != nil {
			log.Fatal(err)
		}
	}
	// Then:
	err = store.Replace(ctx, "deposits v1", "deposits v2", func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteScript(tx, `
			DROP VIEW deposits;
			CREATE VIEW deposits AS SELECT * FROM deposits_v2;
			DROP TABLE deposits_v1;`, nil)
	})
	fmt.Println(err)
	// From now on, a subscription under the old name stands by.
	_, err = store.Claim(ctx, "deposits v1", "a process of the old version", time.Minute)
	fmt.Println(err)
	// Output:
	// <nil>
	// evsourcing: fenced by another owner: "deposits v1" is replaced by deposits v2
}
