package docs_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
	"github.com/evsourcing/evsourcing/storetest"
)

type Account struct {
	evsourcing.Base
	Owners  []string
	Balance int
}

type Opened struct {
	Owners []string `json:"owners"`
}

type Deposited struct {
	Amount int    `json:"amount"`
	From   string `json:"from,omitempty"` // another account
}

type Withdrawn struct {
	Amount int    `json:"amount"`
	To     string `json:"to,omitempty"` // another account
}

func (Opened) Topic() string    { return "account.opened" }
func (Deposited) Topic() string { return "account.deposited" }
func (Withdrawn) Topic() string { return "account.withdrawn" }

func (e Opened) ApplyTo(a *Account)    { a.Owners = append([]string(nil), e.Owners...) }
func (e Deposited) ApplyTo(a *Account) { a.Balance += e.Amount }
func (e Withdrawn) ApplyTo(a *Account) { a.Balance -= e.Amount }

var ErrInsufficientFunds = errors.New("insufficient funds")

func Deposit(n int, from string) evsourcing.Command[*Account] {
	return func(*Account) (evsourcing.EventOf[*Account], error) {
		return Deposited{Amount: n, From: from}, nil
	}
}

func Withdraw(n int, to string) evsourcing.Command[*Account] {
	return func(a *Account) (evsourcing.EventOf[*Account], error) {
		if n > a.Balance {
			return nil, ErrInsufficientFunds
		}
		return Withdrawn{Amount: n, To: to}, nil
	}
}

func Codec() *evsourcing.Registry {
	return evsourcing.NewRegistry(Opened{}, Deposited{}, Withdrawn{})
}

func TestWithdraw(t *testing.T) {
	evtest.Given[Account](t, Opened{Owners: []string{"ada"}}, Deposited{Amount: 5}).
		When(Withdraw(3, "")).
		Then(Withdrawn{Amount: 3}).
		ThenState(func(t testing.TB, a *Account) {
			if a.Balance != 2 {
				t.Errorf("the balance is %d", a.Balance)
			}
		})
	evtest.Given[Account](t, Deposited{Amount: 5}).
		When(Withdraw(7, "")).
		ThenError(ErrInsufficientFunds)
}

func TestWithdrawTwice(t *testing.T) {
	evtest.Given[Account](t, Deposited{Amount: 5}).
		With(&evtest.ScenarioOptions{Codec: Codec()}).
		WhenFunc(func(a *Account) error {
			for range 2 {
				if err := evsourcing.Execute(a, Withdraw(2, "")); err != nil {
					return err
				}
			}
			return nil
		}).
		Then(Withdrawn{Amount: 2}, Withdrawn{Amount: 2})
}

func TestAccount(t *testing.T) {
	evtest.Check[Account](t, Codec(), nil, Opened{}, Deposited{}, Withdrawn{})
}

// Transfers returns a reactor that deposits what was withdrawn for another
// account.
func Transfers(accounts *evsourcing.Repository[Account]) evsourcing.Reactor {
	return evsourcing.On(func(ctx context.Context, from string, e Withdrawn) error {
		if e.To == "" {
			return nil
		}
		event := evsourcing.MetadataFromContext(ctx)[evsourcing.MetaCausationID]
		_, err := accounts.Update(ctx, e.To, func(a *Account) error {
			return evsourcing.Execute(a, Deposit(e.Amount, from))
		}, evsourcing.CommandID("transfer-"+event))
		return err
	})
}

func TestTransfers(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	accounts := evsourcing.NewRepository[Account]("account", store, Codec(), nil)
	bob := accounts.New("bob")
	evsourcing.Record(bob, Opened{Owners: []string{"bob"}})
	if err := accounts.Save(t.Context(), bob); err != nil {
		t.Fatal(err)
	}

	ada := evsourcing.StreamID{Type: "account", ID: "ada"}
	msgs := evtest.Messages(t, Codec(), ada, Deposited{Amount: 5}, Withdrawn{Amount: 3, To: "bob"})
	for range 2 { // a message may arrive twice
		if err := evtest.React(t, Transfers(accounts), msgs...); err != nil {
			t.Fatal(err)
		}
	}

	bob, err := accounts.Load(t.Context(), "bob")
	if err != nil || bob.Balance != 3 {
		t.Errorf("the balance is %d, %v", bob.Balance, err)
	}
	for e, err := range store.Load(t.Context(), evsourcing.StreamID{Type: "account", ID: "bob"}, evsourcing.Range{After: 1}) {
		if err != nil || e.Metadata[evsourcing.MetaCausationID] != msgs[1].ID.String() {
			t.Errorf("%s has the metadata %v, %v", e.Topic, e.Metadata, err)
		}
	}

	msgs = evtest.Messages(t, Codec(), ada, Withdrawn{Amount: 3, To: "nobody"})
	if err := evtest.React(t, Transfers(accounts), msgs...); !errors.Is(err, evsourcing.ErrNotFound) {
		t.Errorf("a transfer to nobody: %v", err)
	}
}

// Balances is a read model: what each account has.
type Balances map[string]int

// Handle takes the batches of a subscription.
func (b Balances) Handle(_ context.Context, msgs []evsourcing.Message) error {
	for _, m := range msgs {
		switch e := m.Event.(type) {
		case Deposited:
			b[m.Stream.ID] += e.Amount
		case Withdrawn:
			b[m.Stream.ID] -= e.Amount
		}
	}
	return nil
}

func TestBalances(t *testing.T) {
	balances := Balances{}
	for id, amount := range map[string]int{"ada": 5, "bob": 7} {
		stream := evsourcing.StreamID{Type: "account", ID: id}
		msgs := evtest.Messages(t, Codec(), stream, Opened{}, Deposited{Amount: amount}, Withdrawn{Amount: 1})
		if err := balances.Handle(t.Context(), msgs); err != nil {
			t.Fatal(err)
		}
	}
	if want := (Balances{"ada": 4, "bob": 6}); !maps.Equal(balances, want) {
		t.Errorf("%v, want %v", balances, want)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evsourcing.EventStore {
		return evsourcing.NewMemoryStore() // your store, empty; t.Cleanup closes it
	})
}

func TestFailuresAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, attempts := time.Now(), 0
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Logger: slog.New(slog.DiscardHandler)})
		err := bus.Subscribe("mail", evsourcing.On(func(context.Context, string, Deposited) error {
			if attempts++; attempts < 3 {
				return errors.New("the mail server is away")
			}
			return nil
		}))
		if err = errors.Join(err, bus.Listen()); err != nil {
			t.Fatal(err)
		}

		accounts := evsourcing.NewRepository[Account]("account", evsourcing.NewMemoryStore(), Codec(),
			&evsourcing.RepositoryOptions{Bus: bus})
		_, err = accounts.Create(t.Context(), "ada", func(a *Account) error {
			return evsourcing.Execute(a, Deposit(5, ""))
		})
		if err = errors.Join(err, bus.Close(t.Context())); err != nil { // waits for the reactor
			t.Fatal(err)
		}
		if took := time.Since(began); attempts != 3 || took < 150*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("%d attempts took %v", attempts, took)
		}
	})
}

func TestStoredEvents(t *testing.T) {
	evtest.Golden(t, Codec(), "testdata/account.json")
}
