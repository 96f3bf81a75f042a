package evtest_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScenarioPasses(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, opts := range []*evtest.ScenarioOptions{nil, {}, {Codec: accounts(), Type: "account", ID: "ada"}} {
		passes(t, func(t testing.TB) {
			evtest.Given(t, Opened{Owners: []string{"ada"}}, Deposited{Amount: 5}).With(opts).
				When(withdraw(3)).
				Then(Withdrawn{Amount: 3}).
				Then(&Withdrawn{Amount: 3}). // a pointer is as good
				ThenState(func(t testing.TB, a *Account) {
					if a.Balance != 2 || a.Base.Version() != 3 || !a.Saved() {
						t.Errorf("balance %d, version %d", a.Balance, a.Base.Version())
					}
				})
			evtest.Given[Account](t).With(opts).
				When(deposit(1)).
				Then(Deposited{Amount: 1})
			evtest.Given[Account](t, &Limited{}).With(opts).
				When(func(*Account) (event, error) {
					return &Opened{Owners: []string{}, At: at.In(time.FixedZone("", 3600))}, nil
				}).
				Then(Opened{At: at}) // nil and empty, one instant
			evtest.Given(t, Deposited{Amount: 5}).With(opts).
				When(withdraw(6)).
				ThenError(errFunds).
				ThenState(func(t testing.TB, a *Account) {
					if a.Balance != 5 || a.Base.Version() != 1 {
						t.Errorf("balance %d, version %d", a.Balance, a.Base.Version())
					}
				})
			evtest.Given[Account](t).With(opts).WhenFunc(func(*Account) error { return nil }).Then()
		})
	}
}

// What a program does before a command runs has been done.
func TestScenarioAggregateIsLoaded(t *testing.T) {
	t.Parallel()
	passes(t, func(t testing.TB) {
		look := func(a *Account) error {
			if a.ID() != "ada" || a.Base.Version() != 2 || a.Position() != 2 || !a.Saved() || a.limits["day"] != 100 {
				return fmt.Errorf("%+v", a)
			}
			return nil
		}
		evtest.Given(t, Deposited{}, Deposited{}).With(&evtest.ScenarioOptions{ID: "ada"}).WhenFunc(look).Then()
		evtest.Given[Account](t).ThenState(func(t testing.TB, a *Account) {
			if a.Base.Version() != 0 || a.limits["day"] != 100 || a.ID() != "1" {
				t.Errorf("%+v", a)
			}
		})
		evtest.Given(t, Deposited{Amount: 4}).ThenState(func(t testing.TB, a *Account) {
			if a.Base.Version() != 1 || a.Balance != 4 {
				t.Errorf("%+v", a)
			}
		})
	})
}

type core struct{ evsourcing.Base }

// Nested embeds Base in a struct between.
type Nested struct {
	core
	N int
}

type Nest struct{ N int }

func (Nest) Topic() string       { return "nest" }
func (e Nest) ApplyTo(n *Nested) { n.N = e.N }

func TestBaseMayBeDeeper(t *testing.T) {
	t.Parallel()
	passes(t, func(t testing.TB) {
		evtest.Given(t, Nest{1}).When(func(n *Nested) (evsourcing.EventOf[*Nested], error) { return Nest{n.N + 1}, nil }).Then(Nest{2})
		evtest.Check[Nested](t, evsourcing.NewRegistry(Nest{}), nil, Nest{})
	})
}

func TestScenarioFuncIsATransaction(t *testing.T) {
	t.Parallel()
	both := func(a *Account) error {
		return errors.Join(evsourcing.Execute(a, deposit(1)), evsourcing.Execute(a, withdraw(2)))
	}
	passes(t, func(t testing.TB) {
		evtest.Given(t, Deposited{Amount: 1}).WhenFunc(both).Then(Deposited{Amount: 1}, Withdrawn{Amount: 2})
		o := evtest.Given[Account](t).WhenFunc(both).ThenError(errFunds)
		o.ThenState(func(t testing.TB, a *Account) {
			if a.Balance != 0 {
				t.Errorf("%+v", a)
			}
		})
	})
}

func TestScenarioStore(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	now := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	evtest.Given(t, Opened{Owners: []string{"ada"}}).
		With(&evtest.ScenarioOptions{Codec: accounts(), Type: "account", ID: "ada", Store: store, Now: func() time.Time { return now }}).
		When(deposit(3)).
		Then(Deposited{Amount: 3})
	var stored []evsourcing.StoredEvent
	for e, err := range store.Load(t.Context(), stream("ada"), evsourcing.Range{}) {
		require.NoError(t, err)
		stored = append(stored, e)
	}
	require.Len(t, stored, 2)
	given := evtest.Messages(t, accounts(), stream("ada"), Opened{Owners: []string{"ada"}})
	assert.Equal(t, given[0].StoredEvent, stored[0])
	assert.Equal(t, `{"amount":3}`, string(stored[1].Data))
	assert.Equal(t, now, stored[1].Time)
}

func TestOutcomeErr(t *testing.T) {
	t.Parallel()
	err := evtest.Given[Account](t).When(withdraw(1)).Err()
	assert.EqualError(t, err, "withdraw 1: insufficient funds")
	assert.NoError(t, evtest.Given[Account](t).When(deposit(1)).Err())
	assert.ErrorIs(t, evtest.Given[Account](t).When(nil).Err(), evsourcing.ErrNoEvent)
	assert.ErrorIs(t, evtest.Given[Account](t).When(func(*Account) (event, error) { return nil, nil }).Err(), evsourcing.ErrNoEvent)
	assert.ErrorIs(t, evtest.Given[Account](t).When(func(*Account) (event, error) { return (*Deposited)(nil), nil }).Err(), evsourcing.ErrNoEvent)
}

// The texts that users read.
func TestScenarioFailures(t *testing.T) {
	t.Parallel()
	codec := &evtest.ScenarioOptions{Codec: accounts()}
	for name, tt := range map[string]struct {
		test func(t testing.TB)
		says string
	}{
		"other events": {func(t testing.TB) {
			evtest.Given[Account](t).WhenFunc(func(a *Account) error {
				evsourcing.Record(a, Opened{Owners: []string{"ada"}}, Deposited{Amount: 5}, &Limited{}, Withdrawn{Amount: 1})
				return nil
			}).Then(Opened{Owners: []string{"ada"}}, Deposited{Amount: 6}, Withdrawn{Amount: 1}, Deposited{})
		}, `
evtest: Then: other events were recorded (- expected, + recorded):
      account.opened  {"owners":["ada"]}
    - account.deposited  {"amount":6}
    + account.deposited  {"amount":5}
    + account.limited  {}
      account.withdrawn  {"amount":1}
    - account.deposited  {"amount":0}`},
		"no event expected": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5)).Then()
		}, `
evtest: Then: other events were recorded (- expected, + recorded):
    + account.deposited  {"amount":5}`},
		"no event recorded": {func(t testing.TB) {
			evtest.Given[Account](t).WhenFunc(func(*Account) error { return nil }).Then(Deposited{Amount: 5})
		}, `
evtest: Then: other events were recorded (- expected, + recorded):
    - account.deposited  {"amount":5}`},
		"a difference that JSON does not show": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5)).Then(Deposited{Amount: 5, note: "x"})
		}, `
evtest: Then: other events were recorded (- expected, + recorded):
    - account.deposited  evtest_test.Deposited{Amount = 5, note = "x"}
    + account.deposited  evtest_test.Deposited{Amount = 5, note = ""}`},
		"an event without JSON": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5)).Then(&Strange{F: nil, N: 3})
		}, `
evtest: Then: other events were recorded (- expected, + recorded):
    - account.strange  {F:<nil> N:3}
    + account.deposited  {"amount":5}`},
		"nil expected": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5)).Then(nil)
		}, `
evtest: Then: other events were recorded (- expected, + recorded):
    - nil
    + account.deposited  {"amount":5}`},
		"refused": {func(t testing.TB) {
			evtest.Given[Account](t).When(withdraw(5)).Then(Withdrawn{Amount: 5})
		}, `
evtest: Then: refused: withdraw 5: insufficient funds
  instead of recording:
    account.withdrawn  {"amount":5}`},
		"refused, no event expected": {func(t testing.TB) {
			evtest.Given[Account](t).When(withdraw(5)).Then()
		}, `
evtest: Then: refused: withdraw 5: insufficient funds
  instead of recording:
    (none)`},
		"not refused": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5)).ThenError(errFunds)
		}, `
evtest: ThenError: no error, expected: insufficient funds
  recorded:
    account.deposited  {"amount":5}`},
		"another error": {func(t testing.TB) {
			evtest.Given[Account](t).When(withdraw(5)).ThenError(evsourcing.ErrNotFound)
		}, `
evtest: ThenError: another error:
    - evsourcing: not found (*errors.errorString)
    + withdraw 5: insufficient funds (*fmt.wrapError)`},
		"error nil": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5)).ThenError(nil)
		}, `
evtest: ThenError(nil): use Then for what is not refused`},
		"nothing tested": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(5))
		}, `
evtest: a When without a Then tests nothing`},
		"the command writes": {func(t testing.TB) {
			evtest.Given(t, Deposited{Amount: 1}).When(func(a *Account) (event, error) {
				a.Balance, a.limits["week"] = 7, 1
				return Deposited{Amount: 5}, nil
			}).Then(Deposited{Amount: 5})
		}, `
evtest: the command changed the aggregate; only ApplyTo may (- before, + after):
    - Balance = 1
    + Balance = 7
    + limits["week"] = 1
evtest: the state is another one after replaying the events (- live, + replayed):
    - Balance = 12
    + Balance = 6
    - limits["week"] = 1`},
		"the command writes and refuses": {func(t testing.TB) {
			evtest.Given[Account](t).When(func(a *Account) (event, error) {
				a.Balance--
				return nil, errFunds
			}).ThenError(errFunds)
		}, `
evtest: the command changed the aggregate; only ApplyTo may (- before, + after):
    - Balance = 0
    + Balance = -1`},
		"the command records": {func(t testing.TB) {
			evtest.Given[Account](t).When(func(a *Account) (event, error) {
				evsourcing.Record(a, Deposited{})
				return nil, errFunds
			}).ThenError(errFunds)
		}, `
evtest: the command recorded events itself, 1 of them; a command returns its event`},
		"a given event does not survive": {func(t testing.TB) {
			evtest.Given(t, Deposited{Amount: 1, note: "x"}).With(codec).When(deposit(1)).Then(Deposited{Amount: 1})
		}, `
evtest: event 1, account.deposited  {"amount":1}, does not come back from the codec as it was (- before, + after):
    - note = "x"
    + note = ""`},
		"a recorded event does not survive": {func(t testing.TB) {
			evtest.Given[Account](t).With(codec).When(func(*Account) (event, error) {
				return Deposited{Amount: 1, note: "x"}, nil
			}).Then(Deposited{Amount: 1})
		}, `
evtest: event 1, account.deposited  {"amount":1}, does not come back from the codec as it was (- before, + after):
    - note = "x"
    + note = ""`},
		"an event that the codec does not know": {func(t testing.TB) {
			evtest.Given[Account](t, &Strange{}).With(codec).When(deposit(1)).Then(Deposited{Amount: 1})
		}, `
evtest: event 1, account.strange  {F:<nil> N:0}: it can't be stored: evsourcing: unknown topic "account.strange": register *evtest_test.Strange with NewRegistry`},
		"replay differs": {func(t testing.TB) {
			evtest.Given[Account](t).When(func(*Account) (event, error) { return &Strange{}, nil }).Then(&Strange{N: 2})
		}, `
evtest: the state is another one after replaying the events (- live, + replayed):
    - Balance = 1
    + Balance = 2`},
		"the stream exists": {func(t testing.TB) {
			opts := &evtest.ScenarioOptions{Store: evsourcing.NewMemoryStore()}
			evtest.Given[Account](t).With(opts).When(deposit(1)).Then(Deposited{Amount: 1})
			evtest.Given(t, Deposited{}).With(opts).When(deposit(1)).Then(Deposited{Amount: 1})
		}, `
evtest: storing the given events: evsourcing: version conflict: evtest/1 is at version 1, expected 0`},
		"the state": {func(t testing.TB) {
			evtest.Given[Account](t).When(deposit(1)).ThenState(func(t testing.TB, a *Account) { t.Errorf("balance %d", a.Balance) })
		}, "balance 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			says(t, tt.says, tt.test)
		})
	}
}

// Strange has no JSON, and counts in itself how often it was applied.
type Strange struct {
	F func()
	N int
}

func (*Strange) Topic() string { return "account.strange" }
func (e *Strange) ApplyTo(a *Account) {
	e.N++
	a.Balance = e.N
}

func TestMessages(t *testing.T) {
	t.Parallel()
	msgs := evtest.Messages(t, accounts(), stream("ada"), &Opened{Owners: []string{"ada"}}, limited())
	require.Len(t, msgs, 2)
	m := msgs[0]
	assert.Equal(t, Opened{Owners: []string{"ada"}}, m.Event, "in the prototype's kind")
	assert.Equal(t, "account.opened", m.Topic)
	assert.Equal(t, "application/json", m.ContentType)
	assert.Equal(t, `{"owners":["ada"]}`, string(m.Data))
	assert.Equal(t, []string{"new"}, m.Tags)
	assert.Equal(t, stream("ada"), m.Stream)
	assert.Nil(t, m.Metadata)
	assert.IsType(t, &Limited{}, msgs[1].Event)
	for i, m := range msgs {
		assert.Equal(t, uint64(i+1), m.Version)
		assert.Equal(t, uint64(i+1), m.Position)
		assert.Equal(t, time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC), m.Time)
		m.StoredEvent.Version, m.Position = 0, 0
		require.NoError(t, evsourcing.Validate(evsourcing.Batch{Stream: m.Stream, Expected: evsourcing.AnyVersion, Events: []evsourcing.StoredEvent{m.StoredEvent}}))
	}
	ids := map[string]bool{}
	for _, id := range []string{"ada", "bob"} {
		for _, m := range evtest.Messages(t, nil, stream(id), Opened{}, Opened{}) {
			ids[m.ID.String()] = true
			assert.Nil(t, m.Data)
		}
	}
	assert.Len(t, ids, 4)
	assert.Equal(t, msgs, evtest.Messages(t, accounts(), stream("ada"), &Opened{Owners: []string{"ada"}}, limited()))
	assert.True(t, slices.IsSortedFunc(msgs, func(a, b evsourcing.Message) int { return a.Time.Compare(b.Time) }))
}

func limited() *Limited { return &Limited{Limits: map[string]int{"day": 1}} }

func TestMessagesFailures(t *testing.T) {
	t.Parallel()
	fails(t, func(t testing.TB) { evtest.Messages(t, nil, evsourcing.StreamID{}, Opened{}) }, "evsourcing: invalid stream")
	fails(t, func(t testing.TB) { evtest.Messages(t, accounts(), stream("a"), nil) }, "event 1, nil: it can't be stored: evsourcing: no event")
	fails(t, func(t testing.TB) { evtest.Messages(t, nil, stream("a"), Opened{}, (*Limited)(nil)) }, "event 2, nil: it can't be stored: evtest: encode: evsourcing: no event")
	fails(t, func(t testing.TB) { evtest.Messages(t, accounts(), stream("a"), Counted{}) }, "event 1, counter.counted", "unknown topic")
	fails(t, func(t testing.TB) { evtest.Messages(t, accounts(), stream("a"), Deposited{note: "x"}) }, "does not come back", `- note = "x"`)
}
