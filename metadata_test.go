package evsourcing_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

func TestMetadataWithMakesACopy(t *testing.T) {
	t.Parallel()
	m := evsourcing.Metadata{"a": "1"}
	changed := m.With("a", "2").With("b", "3")
	assert.Equal(t, evsourcing.Metadata{"a": "1"}, m)
	assert.Equal(t, evsourcing.Metadata{"a": "2", "b": "3"}, changed)
	assert.Equal(t, evsourcing.Metadata{"a": "1"}, evsourcing.Metadata(nil).With("a", "1"))
}

func TestContextWithMetadataLayers(t *testing.T) {
	t.Parallel()
	assert.Nil(t, evsourcing.MetadataFromContext(t.Context()), "nothing")
	given := evsourcing.Metadata{"user": "ada", "request": "1"}
	outer := evsourcing.ContextWithMetadata(t.Context(), given)
	inner := evsourcing.ContextWithMetadata(outer, evsourcing.Metadata{"request": "2", "tenant": "x"})
	given["user"] = "changed afterwards"

	assert.Equal(t, evsourcing.Metadata{"user": "ada", "request": "1"}, evsourcing.MetadataFromContext(outer))
	assert.Equal(t, evsourcing.Metadata{"user": "ada", "request": "2", "tenant": "x"}, evsourcing.MetadataFromContext(inner))
	evsourcing.MetadataFromContext(inner)["user"] = "changed in a copy"
	assert.Equal(t, "ada", evsourcing.MetadataFromContext(inner)["user"])
	assert.Equal(t, "ada", evsourcing.MetadataFromContext(evsourcing.ContextWithMetadata(outer, nil))["user"], "nothing added")
}

func TestRootEventsCarryOnlyWhatTheCallerAdds(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	_, err := repo.Create(t.Context(), "plain", record(TakenOff{}))
	require.NoError(t, err)
	plain := history(t, store, "plain")[0]
	assert.Empty(t, plain.Metadata, "neither causation nor correlation")
	assert.Equal(t, plain.ID.String(), plain.CorrelationID())

	ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{"user": "ada"})
	_, err = repo.Create(ctx, "added", record(TakenOff{}, Landed{}))
	require.NoError(t, err)
	for _, e := range history(t, store, "added") {
		assert.Equal(t, evsourcing.Metadata{"user": "ada"}, e.Metadata)
		assert.Equal(t, e.ID.String(), e.CorrelationID())
	}

	ctx = evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{evsourcing.MetaCorrelationID: "request 7"})
	_, err = repo.Create(ctx, "correlated", record(TakenOff{}))
	require.NoError(t, err)
	correlated := history(t, store, "correlated")[0]
	assert.Equal(t, evsourcing.Metadata{"user": "ada", "correlation_id": "request 7"}, correlated.Metadata)
	assert.Equal(t, "request 7", correlated.CorrelationID())
}

func TestMetadataOfOneSaveIsNotThatOfTheNext(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	a := repo.New("DM2018")
	for i := range 3 {
		evsourcing.Record(a, TakenOff{})
		ctx := t.Context()
		if i == 1 {
			ctx = evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{"user": "ada"})
		}
		require.NoError(t, repo.Save(ctx, a))
	}
	events := history(t, store, "DM2018")
	assert.Empty(t, events[0].Metadata)
	assert.Equal(t, "ada", events[1].Metadata["user"])
	assert.Empty(t, events[2].Metadata)
}

// A landing at level n causes one at level n+1. Each names the one before as its
// cause, and the first as what they have in common.
func TestChainOfCausesSharesOneCorrelation(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ctx         func(context.Context) context.Context
		correlation func(root evsourcing.StoredEvent) string
		rest        evsourcing.Metadata
	}{
		"from a root": {
			func(ctx context.Context) context.Context { return ctx },
			func(root evsourcing.StoredEvent) string { return root.ID.String() },
			evsourcing.Metadata{},
		},
		"from a root with metadata": {
			func(ctx context.Context) context.Context {
				return evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{"user": "ada"})
			},
			func(root evsourcing.StoredEvent) string { return root.ID.String() },
			evsourcing.Metadata{"user": "ada"},
		},
		"from a root with a correlation of its own": {
			func(ctx context.Context) context.Context {
				return evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{evsourcing.MetaCorrelationID: "request 7", "user": "ada"})
			},
			func(evsourcing.StoredEvent) string { return "request 7" },
			evsourcing.Metadata{"user": "ada"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const levels = 4
			store := evsourcing.NewMemoryStore()
			bus := evsourcing.NewEventBus(nil)
			repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
			reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				level := len(m.Stream.ID)
				if level == levels {
					return nil
				}
				meta := evsourcing.MetadataFromContext(ctx)
				assert.Equal(t, m.ID.String(), meta[evsourcing.MetaCausationID])
				assert.Equal(t, m.CorrelationID(), meta[evsourcing.MetaCorrelationID])
				meta["user"] = "changed in a copy"
				if level == 2 {
					ctx = evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{"added at": "2", "user": "bob"})
				}
				_, err := repo.Create(ctx, m.Stream.ID+"I", record(Landed{}))
				return err
			}))
			_, err := repo.Create(test.ctx(t.Context()), "I", record(Landed{}))
			require.NoError(t, err)
			require.NoError(t, bus.Close(t.Context()))

			root := history(t, store, "I")[0]
			before := root
			for _, id := range []string{"II", "III", "IIII"} {
				events := history(t, store, id)
				require.Len(t, events, 1)
				want := test.rest
				if len(id) > 2 { // what a reactor adds travels on
					want = want.With("added at", "2").With("user", "bob")
				}
				want = want.With(evsourcing.MetaCausationID, before.ID.String()).
					With(evsourcing.MetaCorrelationID, test.correlation(root))
				assert.Equal(t, want, events[0].Metadata, id)
				assert.Equal(t, test.correlation(root), events[0].CorrelationID())
				before = events[0]
			}
		})
	}
}

func TestReactorMayNameAnotherCause(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	bus := evsourcing.NewEventBus(nil)
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
	reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
		ctx = evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{evsourcing.MetaCausationID: "a letter"})
		_, err := repo.Create(ctx, "DM2019", record(TakenOff{}))
		return err
	}))
	_, err := repo.Create(t.Context(), "DM2018", record(Landed{}))
	require.NoError(t, err)
	require.NoError(t, bus.Close(t.Context()))
	root, caused := history(t, store, "DM2018")[0], history(t, store, "DM2019")[0]
	assert.Equal(t, "a letter", caused.Metadata[evsourcing.MetaCausationID])
	assert.Equal(t, root.ID.String(), caused.Metadata[evsourcing.MetaCorrelationID])
}

// Siblings have one cause; a stream's own history has none.
func TestEventsOfOneReactionShareTheirCause(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	bus := evsourcing.NewEventBus(nil)
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
	reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
		for i := range 2 {
			_, err := repo.Create(ctx, fmt.Sprint(m.Stream.ID, " ", m.Version, " ", i), record(TakenOff{}, TakenOff{}))
			assert.NoError(t, err)
		}
		return nil
	}))
	_, err := repo.Create(t.Context(), "DM2018", record(Landed{}, Landed{}))
	require.NoError(t, err)
	require.NoError(t, bus.Close(t.Context()))
	for v, root := range history(t, store, "DM2018") {
		assert.Empty(t, root.Metadata, "events of one transaction are no chain")
		for i := range 2 {
			for _, e := range history(t, store, fmt.Sprint("DM2018 ", v+1, " ", i)) {
				assert.Equal(t, evsourcing.Metadata{
					evsourcing.MetaCausationID: root.ID.String(), evsourcing.MetaCorrelationID: root.ID.String(),
				}, e.Metadata)
			}
		}
	}
}

func TestReservedMetadataKeysAreRefused(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	bus := evsourcing.NewEventBus(nil)
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
	var inReactor error
	reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
		_, inReactor = repo.Create(evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{"es.x": ""}), "DM2019", record(TakenOff{}))
		return nil
	}))
	for _, key := range []string{"es.", "es.x", evsourcing.MetaCommandID} {
		ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{key: "x", "user": "ada"})
		for _, opts := range [][]evsourcing.TxOption{nil, {evsourcing.CommandID("command")}} {
			_, err := repo.Create(ctx, "DM2018", record(TakenOff{}), opts...)
			require.ErrorContains(t, err, fmt.Sprintf("%q is reserved", key))
		}
	}
	assert.Zero(t, headOf(t, store))
	for _, key := range []string{"es", "ES.x", "yes."} {
		ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{key: "x"})
		_, err := repo.Create(ctx, "key "+key, record(TakenOff{}))
		require.NoError(t, err, key)
	}
	_, err := repo.Create(t.Context(), "DM2018", record(Landed{}))
	require.NoError(t, err)
	require.NoError(t, bus.Close(t.Context()))
	require.ErrorContains(t, inReactor, `"es.x" is reserved`)
}

// BaseContext is around every reactor; the message is nearer.
func TestReactorsContextHasTheMetadataOfTheMessageBeforeThatOfBaseContext(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	base := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{
		"host": "a", "user": "the service", evsourcing.MetaCorrelationID: "the service",
	})
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{BaseContext: base})
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
	reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
		_, err := repo.Create(ctx, "DM2019", record(TakenOff{}))
		return err
	}))
	ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{"user": "ada"})
	_, err := repo.Create(ctx, "DM2018", record(Landed{}))
	require.NoError(t, err)
	require.NoError(t, bus.Close(t.Context()))
	root := history(t, store, "DM2018")[0].ID.String()
	assert.Equal(t, evsourcing.Metadata{
		"host": "a", "user": "ada", evsourcing.MetaCausationID: root, evsourcing.MetaCorrelationID: root,
	}, history(t, store, "DM2019")[0].Metadata)
}

func TestCorrelationID(t *testing.T) {
	t.Parallel()
	e := evsourcing.StoredEvent{ID: uuid.UUID{7}}
	assert.Equal(t, uuid.UUID{7}.String(), e.CorrelationID())
	e.Metadata = e.Metadata.With(evsourcing.MetaCorrelationID, "a chain")
	assert.Equal(t, "a chain", e.CorrelationID())
}
