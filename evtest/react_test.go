package evtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a reactor stores names its cause, as on a bus.
func TestReactContext(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	counters := evsourcing.NewRepository[Counter]("counter", store, evsourcing.NewRegistry(Counted{}), nil)
	count := evsourcing.On(func(ctx context.Context, id string, e Deposited) error {
		_, err := counters.CreateOrUpdate(ctx, id, func(c *Counter) error {
			evsourcing.Record(c, Counted{e.Amount})
			return nil
		})
		return err
	})
	msgs := evtest.Messages(t, accounts(), stream("ada"), Opened{}, Deposited{Amount: 5}, Withdrawn{}, Deposited{Amount: 6})
	msgs[3].Metadata = evsourcing.Metadata{"user": "ada", evsourcing.MetaCorrelationID: "c"}
	require.NoError(t, evtest.React(t, count, msgs...))

	var stored []evsourcing.StoredEvent
	for e, err := range store.Load(t.Context(), evsourcing.StreamID{Type: "counter", ID: "ada"}, evsourcing.Range{}) {
		require.NoError(t, err)
		stored = append(stored, e)
	}
	require.Len(t, stored, 2)
	assert.Equal(t, evsourcing.Metadata{"causation_id": msgs[1].ID.String(), "correlation_id": msgs[1].ID.String()}, stored[0].Metadata)
	assert.Equal(t, evsourcing.Metadata{"causation_id": msgs[3].ID.String(), "correlation_id": "c", "user": "ada"}, stored[1].Metadata)
	assert.Equal(t, `{"N":6}`, string(stored[1].Data))
}

// Messages of all streams come one after the other, as they were given.
func TestReactOrder(t *testing.T) {
	t.Parallel()
	var msgs, seen []evsourcing.Message
	for _, id := range []string{"a", "b", "c", "d", "a", "b"} {
		msgs = append(msgs, evtest.Messages(t, accounts(), stream(id), Opened{}, Deposited{}, &Limited{})...)
	}
	plain := evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
		seen = append(seen, m)
		return nil
	})
	require.NoError(t, evtest.React(t, plain, msgs...))
	assert.Equal(t, msgs, seen)

	seen = nil
	anything := evsourcing.On(func(_ context.Context, _ string, e evsourcing.Event) error {
		seen = append(seen, evsourcing.Message{Event: e})
		return nil
	})
	require.NoError(t, evtest.React(t, anything, msgs...))
	assert.Len(t, seen, len(msgs))
}

func TestReactErrors(t *testing.T) {
	t.Parallel()
	attempts := 0
	fail := evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
		attempts++
		switch m.Version {
		case 1:
			return errFunds
		case 3:
			panic("no")
		}
		return nil
	})
	err := evtest.React(t, fail, evtest.Messages(t, accounts(), stream("ada"), Opened{}, Deposited{}, Opened{})...)
	assert.ErrorIs(t, err, errFunds)
	var p *evsourcing.PanicError
	require.ErrorAs(t, err, &p)
	assert.Equal(t, "no", p.Value)
	assert.Equal(t, 3, attempts, "nothing is tried again, and the rest goes on")
	assert.EqualError(t, err, `evtest: version 1 of account/ada, topic "account.opened": insufficient funds
evtest: version 3 of account/ada, topic "account.opened": evsourcing: reactor panicked: no`)
}

func TestReactFailures(t *testing.T) {
	t.Parallel()
	on := evsourcing.On(func(context.Context, string, Deposited) error { return errors.New("called") })
	msgs := evtest.Messages(t, accounts(), stream("ada"), Opened{}, &Limited{})
	says(t, "evtest: React: none of the 2 messages is for the reactor", func(t testing.TB) { _ = evtest.React(t, on, msgs...) })
	says(t, "evtest: React: none of the 0 messages is for the reactor", func(t testing.TB) { _ = evtest.React(t, on) })
	fails(t, func(t testing.TB) { _ = evtest.React(t, nil, msgs...) }, "evtest: React: ", "the reactor is nil")
}

// React has returned when the reactor has, in a bubble too.
func TestReactInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		count := evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { n++; return nil })
		require.NoError(t, evtest.React(t, count, evtest.Messages(t, nil, stream("a"), Opened{}, Opened{})...))
		assert.Equal(t, 2, n)
	})
}
