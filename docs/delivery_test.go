package docs_test

import (
	"context"
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
