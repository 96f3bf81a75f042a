package evtest_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evsourcing/evsourcing"
)

// The domain of these tests. The account has fields of the names of Base's
// methods, which evtest must not take for them.
type Account struct {
	evsourcing.Base
	Owners  []string
	Balance int
	Version string
	Changes int
	limits  map[string]int
	opened  time.Time
}

func (a *Account) Init() { a.limits = map[string]int{"day": 100} }

type Opened struct {
	Owners []string  `json:"owners"`
	At     time.Time `json:"at,omitzero"`
}

type Deposited struct {
	Amount int `json:"amount"`
	note   string
}

type Withdrawn struct {
	Amount int `json:"amount"`
}

type Limited struct {
	Limits map[string]int `json:"limits,omitempty"`
}

func (Opened) Topic() string    { return "account.opened" }
func (Deposited) Topic() string { return "account.deposited" }
func (Withdrawn) Topic() string { return "account.withdrawn" }
func (*Limited) Topic() string  { return "account.limited" }

func (Opened) Tags() []string { return []string{"new"} }

func (e Opened) ApplyTo(a *Account)    { a.Owners, a.opened = slices.Clone(e.Owners), e.At }
func (e Deposited) ApplyTo(a *Account) { a.Balance += e.Amount }
func (e Withdrawn) ApplyTo(a *Account) { a.Balance -= e.Amount }
func (e *Limited) ApplyTo(a *Account)  { a.limits = maps.Clone(e.Limits) }

var errFunds = errors.New("insufficient funds")

type command = evsourcing.Command[*Account]
type event = evsourcing.EventOf[*Account]

func withdraw(n int) command {
	return func(a *Account) (event, error) {
		if n > a.Balance {
			return nil, fmt.Errorf("withdraw %d: %w", n, errFunds)
		}
		return Withdrawn{Amount: n}, nil
	}
}

func deposit(n int) command {
	return func(*Account) (event, error) { return Deposited{Amount: n}, nil }
}

func accounts() *evsourcing.Registry {
	return evsourcing.NewRegistry(Opened{}, Deposited{}, Withdrawn{}, &Limited{})
}

// Counter is another aggregate.
type Counter struct {
	evsourcing.Base
	N int
}

type Counted struct{ N int }

func (Counted) Topic() string        { return "counter.counted" }
func (e Counted) ApplyTo(c *Counter) { c.N += e.N }
