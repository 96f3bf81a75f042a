package evsourcing_test

import (
	"context"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func noteOnce(a *busAccount) error {
	evsourcing.Record(a, busNote{})
	return nil
}

// pendingStore is a store whose appends are all in a transaction.
type pendingStore struct{ *evsourcing.MemoryStore }

func (s pendingStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	result, err := s.MemoryStore.Append(ctx, batches...)
	result.Position, result.Pending = 0, true
	return result, err
}

func TestSaveInATransactionHasNoPosition(t *testing.T) {
	repo := evsourcing.NewRepository[busAccount]("bus", pendingStore{evsourcing.NewMemoryStore()}, evsourcing.NewRegistry(busNote{}), nil)
	a, err := repo.Create(t.Context(), "a", noteOnce)
	require.NoError(t, err)
	assert.True(t, a.Saved())
	assert.Equal(t, uint64(1), a.Version())
	assert.Zero(t, a.Position())
}

// What may be rolled back is not published.
func TestSaveInATransactionDoesNotPublish(t *testing.T) {
	published := 0
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: evsourcing.NewRegistry(busNote{})})
	require.NoError(t, bus.Subscribe("r", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
		published++
		return nil
	}), "note"))
	require.NoError(t, bus.Listen())
	repo := evsourcing.NewRepository[busAccount]("bus", pendingStore{evsourcing.NewMemoryStore()}, evsourcing.NewRegistry(busNote{}), &evsourcing.RepositoryOptions{Bus: bus})
	_, err := repo.Create(t.Context(), "a", noteOnce)
	require.ErrorIs(t, err, evsourcing.ErrNotPublished)
	require.NoError(t, bus.Close(t.Context()))
	assert.Zero(t, published)
}
