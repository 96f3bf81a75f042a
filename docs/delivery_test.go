package docs_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/evsourcing/evsourcing"
)

// Letters keeps dead letters.
type Letters struct {
	mu   sync.Mutex
	list []evsourcing.DeadLetter
}

func (l *Letters) keep(d evsourcing.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, d)
	return nil
}

func (l *Letters) take(_ context.Context, d evsourcing.DeadLetter) error { return l.keep(d) }

// Totals is a read model that bears to see events twice.
type Totals struct {
	sum  int
	seen map[evsourcing.StreamID]uint64
}

// Handle adds each event once, however often it arrives.
func (m *Totals) Handle(_ context.Context, msgs []evsourcing.Message) error {
	for _, msg := range msgs {
		if msg.Version <= m.seen[msg.Stream] {
			continue
		}
		if e, ok := msg.Event.(Deposited); ok {
			m.sum += e.Amount
		}
		m.seen[msg.Stream] = msg.Version
	}
	return nil
}

func TestSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		accounts := evsourcing.NewRepository[Account]("account", store, Codec(), nil)
		open := func(a *Account) error {
			evsourcing.Record(a, Opened{Owners: []string{"ada"}}, Deposited{Amount: 5})
			return nil
		}
		if _, err := accounts.Create(t.Context(), "ada", open); err != nil {
			t.Fatal(err)
		}
		balances, letters := Balances{}, &Letters{}
		ctx, cancel := context.WithCancel(t.Context())
		sub := evsourcing.NewSubscription("balances", store, store, Codec(), balances, &evsourcing.SubscriptionOptions{
			Filter: evsourcing.Filter{Topics: []string{"account.deposited", "account.withdrawn"}},
			OnFailure: func(_ context.Context, d evsourcing.DeadLetter) error {
				return letters.keep(d) // nil: the event is settled, and the subscription goes on
			},
		})
		done := make(chan error, 1)
		go func() { done <- sub.Run(ctx) }()
		withdraw := func() error {
			a, err := accounts.Update(ctx, "ada", func(a *Account) error {
				return evsourcing.Execute(a, Withdraw(3, ""))
			})
			if err != nil {
				return err
			}
			if err := sub.WaitFor(ctx, a.Position()); err != nil {
				return err
			}
			return nil
		}
		if err := withdraw(); err != nil || balances["ada"] != 2 {
			t.Errorf("the balance is %d, error %v", balances["ada"], err)
		}
		cancel()
		if err := <-done; err != nil || len(letters.list) > 0 {
			t.Errorf("%v, %v", err, letters.list)
		}
	})
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		accounts := evsourcing.NewRepository[Account]("account", store, Codec(), nil)
		letters := &Letters{}
		var last uint64
		for _, id := range []string{"bob", "ada"} {
			a, err := accounts.Create(t.Context(), id, func(a *Account) error {
				evsourcing.Record(a, Opened{Owners: []string{id}}, Deposited{Amount: 5})
				if id == "ada" {
					evsourcing.Record(a, Withdrawn{Amount: 3, To: "bob"})
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			last = a.Position()
		}
		run := func() error {
			bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: Codec(), DeadLetter: letters.take})
			if err := bus.Subscribe("transfers", Transfers(accounts), "account.withdrawn"); err != nil {
				return err
			}
			if err := bus.Listen(); err != nil {
				return err
			}
			relay := evsourcing.Relay("transfers", store, store, Codec(), bus, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- relay.Run(ctx) }()
			if err := relay.WaitFor(ctx, last); err != nil {
				return err
			}
			cancel()
			if err := <-done; err != nil {
				return err
			}
			return bus.Close(t.Context())
		}
		if err := run(); err != nil {
			t.Fatal(err)
		}
		bob, err := accounts.Load(t.Context(), "bob")
		if err != nil || bob.Balance != 8 || len(letters.list) > 0 {
			t.Errorf("%+v, %v, %v", bob, err, letters.list)
		}
	})
}

func TestTotalsBearToSeeEventsTwice(t *testing.T) {
	m := &Totals{seen: map[evsourcing.StreamID]uint64{}}
	msgs := []evsourcing.Message{
		{StoredEvent: evsourcing.StoredEvent{Version: 1}, Event: Deposited{Amount: 2}},
		{StoredEvent: evsourcing.StoredEvent{Version: 2}, Event: Deposited{Amount: 3}},
	}
	for range 2 {
		if err := m.Handle(t.Context(), msgs); err != nil {
			t.Fatal(err)
		}
	}
	if m.sum != 5 {
		t.Errorf("the sum is %d", m.sum)
	}
}

func TestReadModelInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		accounts := evsourcing.NewRepository[Account]("account", store, Codec(), nil)
		a, err := accounts.Create(t.Context(), "ada", func(a *Account) error {
			evsourcing.Record(a, Deposited{Amount: 5})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // two processes, one after the other
			totals := &Totals{seen: map[evsourcing.StreamID]uint64{}}
			sub := evsourcing.NewSubscription("totals", store, evsourcing.NewMemoryStore(), Codec(), totals, nil)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- sub.Run(ctx) }()
			err := sub.WaitFor(ctx, a.Position())
			cancel()
			if err := errors.Join(err, <-done); err != nil || totals.sum != 5 {
				t.Errorf("the sum is %d, %v", totals.sum, err)
			}
		}
	})
}

// Wallet is an aggregate that takes part in transfers.
type Wallet struct {
	evsourcing.Base
	Open    bool
	Balance int
}

type (
	Filled struct{ Amount int }
	Sent   struct {
		To     string
		Amount int
	}
	Received struct {
		From   string
		Amount int
	}
	Refused struct {
		From   string
		Amount int
	}
	Returned struct{ Amount int }
)

func (Filled) Topic() string   { return "wallet.filled" }
func (Sent) Topic() string     { return "wallet.sent" }
func (Received) Topic() string { return "wallet.received" }
func (Refused) Topic() string  { return "wallet.refused" }
func (Returned) Topic() string { return "wallet.returned" }

func (e Filled) ApplyTo(w *Wallet)   { w.Open, w.Balance = true, w.Balance+e.Amount }
func (e Sent) ApplyTo(w *Wallet)     { w.Balance -= e.Amount }
func (e Received) ApplyTo(w *Wallet) { w.Balance += e.Amount }
func (Refused) ApplyTo(*Wallet)      {}
func (e Returned) ApplyTo(w *Wallet) { w.Balance += e.Amount }

// Receive decides what becomes of a transfer, in the stream of the wallet that it
// is for. It never fails: a refusal is an event, and not asked about again.
func Receive(from string, amount int) evsourcing.Command[*Wallet] {
	return func(w *Wallet) (evsourcing.EventOf[*Wallet], error) {
		if !w.Open {
			return Refused{From: from, Amount: amount}, nil
		}
		return Received{From: from, Amount: amount}, nil
	}
}

// Transfer is the process: what was sent is received or refused, and what was
// refused goes back.
func Transfer(wallets *evsourcing.Repository[Wallet]) evsourcing.Reactor {
	return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
		var err error
		once := evsourcing.CommandID("transfer-" + m.ID.String())
		switch e := m.Event.(type) {
		case Sent:
			_, err = wallets.CreateOrUpdate(ctx, e.To, func(w *Wallet) error {
				return evsourcing.Execute(w, Receive(m.Stream.ID, e.Amount))
			}, once)
		case Refused:
			_, err = wallets.Update(ctx, e.From, func(w *Wallet) error {
				evsourcing.Record(w, Returned{Amount: e.Amount})
				return nil
			}, once)
		}
		return err
	})
}

// However often the process begins anew, also when the wallet that was not there
// is opened in between, the money is there once.
func TestTransferProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		codec := evsourcing.NewRegistry(Filled{}, Sent{}, Received{}, Refused{}, Returned{})
		wallets := evsourcing.NewRepository[Wallet]("wallet", store, codec, nil)
		do := func(id string, events ...evsourcing.EventOf[*Wallet]) {
			t.Helper()
			_, err := wallets.CreateOrUpdate(t.Context(), id, func(w *Wallet) error {
				evsourcing.Record(w, events...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		do("ada", Filled{Amount: 10}, Sent{To: "bob", Amount: 3}, Sent{To: "eve", Amount: 2})
		do("eve", Filled{Amount: 1})
		for i := range 3 {
			bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: codec})
			err := errors.Join(bus.Subscribe("transfer", Transfer(wallets), "wallet.sent", "wallet.refused"), bus.Listen())
			if err != nil {
				t.Fatal(err)
			}
			// A checkpoint store of its own: each run sees everything again.
			relay := evsourcing.Relay("transfer", store, evsourcing.NewMemoryStore(), codec, bus, nil)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- relay.Run(ctx) }()
			synctest.Wait()
			cancel()
			if err := errors.Join(<-done, bus.Close(t.Context())); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				do("bob", Filled{Amount: 0})
			}
		}
		for id, want := range map[string]int{"ada": 8, "bob": 0, "eve": 3} {
			if w, err := wallets.Load(t.Context(), id); err != nil || w.Balance != want {
				t.Errorf("%s has %d, want %d: %v", id, w.Balance, want, err)
			}
		}
	})
}
