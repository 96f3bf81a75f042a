package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What users' code may do that nobody expects of it.

// A pointer to an error type that is nil, in an error that is not, panics in its
// methods; and so may a log handler.
func TestBusSurvivesErrorsAndLoggersThatPanic(t *testing.T) {
	t.Parallel()
	var given []evsourcing.DeadLetter
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{
		Logger:     slog.New(panickingHandler{slog.DiscardHandler}),
		Retry:      evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Nanosecond},
		DeadLetter: func(_ context.Context, d evsourcing.DeadLetter) error { given = append(given, d); return nil },
	})
	require.NoError(t, bus.Subscribe("nil", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
		var err *fs.PathError
		return err
	}), "topic"))
	require.NoError(t, bus.Listen())
	require.NoError(t, bus.Publish(t.Context(), evsourcing.Message{StoredEvent: evsourcing.StoredEvent{Topic: "topic"}}))
	require.NoError(t, bus.Close(t.Context()))
	require.Len(t, given, 1)
	assert.Equal(t, 2, given[0].Attempts)
}

type panickingHandler struct{ slog.Handler }

func (panickingHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (panickingHandler) Handle(context.Context, slog.Record) error { panic("no disk") }

// A DeadLetter may change the aggregate whose message there was no room for.
func TestDeadLetterWhenFullRunsTransactionsOnTheSameAggregate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var vessels *evsourcing.Repository[Vessel]
		refused := 0
		release := make(chan struct{})
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{
			Buffer: 1, OnFull: evsourcing.DeadLetterWhenFull, Logger: quiet,
			DeadLetter: func(ctx context.Context, d evsourcing.DeadLetter) error {
				refused++
				_, err := vessels.Update(ctx, d.Message.Stream.ID, func(v *Vessel) error {
					evsourcing.Record(v, Moored{Port: "Kiel"}) // nobody subscribes to it
					return nil
				})
				return err
			},
		})
		require.NoError(t, bus.Subscribe("slow", evsourcing.On(func(context.Context, string, Sailed) error { <-release; return nil })))
		require.NoError(t, bus.Listen())
		vessels = evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(), &evsourcing.RepositoryOptions{Bus: bus})
		for range 3 {
			_, err := vessels.CreateOrUpdate(t.Context(), "Rickmer", func(v *Vessel) error { evsourcing.Record(v, Sailed{}); return nil })
			require.NoError(t, err)
		}
		assert.Equal(t, 2, refused)
		v, err := vessels.Load(t.Context(), "Rickmer")
		require.NoError(t, err)
		assert.Equal(t, uint64(5), v.Version())
		close(release)
		require.NoError(t, bus.Close(t.Context()))
	})
}

// onceUncertain stores the first append and loses its answer.
type onceUncertain struct {
	evsourcing.EventStore
	lost       bool
	afterwards func()
}

func (s *onceUncertain) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	result, err := s.EventStore.Append(ctx, batches...)
	if !s.lost {
		s.lost = true
		s.afterwards()
		return evsourcing.AppendResult{}, evsourcing.ErrUncertain
	}
	return result, err
}

// While an append is repeated, nobody else appends to the stream and publishes.
func TestReactorsSeeVersionOrderWhenAnAppendIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus := evsourcing.NewEventBus(nil)
		var versions []uint64
		require.NoError(t, bus.Subscribe("order", evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
			versions = append(versions, m.Version)
			return nil
		}), Sailed{}.Topic()))
		require.NoError(t, bus.Listen())
		store := &onceUncertain{EventStore: evsourcing.NewMemoryStore()}
		vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), &evsourcing.RepositoryOptions{Bus: bus})
		sail := func(v *Vessel) error { evsourcing.Record(v, Sailed{}); return nil }
		other := make(chan error, 1)
		store.afterwards = func() {
			go func() {
				_, err := vessels.Update(t.Context(), "Rickmer", sail)
				other <- err
			}()
		}
		_, err := vessels.Create(t.Context(), "Rickmer", sail)
		require.NoError(t, err)
		require.NoError(t, <-other)
		require.NoError(t, bus.Close(t.Context()))
		assert.Equal(t, []uint64{1, 2}, versions)
	})
}

// Scrapped assigns the whole aggregate.
type Scrapped struct{}

func (Scrapped) Topic() string     { return "vessel.scrapped" }
func (Scrapped) ApplyTo(v *Vessel) { *v = Vessel{Port: "nowhere"} }

func TestEventsMayAssignTheWholeAggregate(t *testing.T) {
	t.Parallel()
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(),
		evsourcing.NewRegistry(Sailed{}, Moored{}, Scrapped{}), nil)
	v := vessels.New("Rickmer")
	evsourcing.Record(v, Sailed{}, Scrapped{}, Sailed{})
	require.Len(t, v.Changes(), 3)
	require.NoError(t, vessels.Save(t.Context(), v))
	v, err := vessels.Update(t.Context(), "Rickmer", func(v *Vessel) error {
		assert.Equal(t, uint64(3), v.Version())
		assert.Equal(t, "nowhere", v.Port)
		evsourcing.Record(v, Scrapped{})
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, uint64(4), v.Version())
	assert.Equal(t, "Rickmer", v.ID())
}

func TestCopyOfAnAggregateHasChangesOfItsOwn(t *testing.T) {
	t.Parallel()
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(), nil)
	v := vessels.New("Rickmer")
	evsourcing.Record(v, Sailed{}, Moored{Port: "Oslo"}, Sailed{})
	trial := *v
	evsourcing.Record(v, Moored{Port: "Kiel"})
	evsourcing.Record(&trial, Moored{Port: "Hamburg"})
	assert.Equal(t, Moored{Port: "Kiel"}, v.Changes()[3])
	assert.Equal(t, Moored{Port: "Hamburg"}, trial.Changes()[3])

	copied := *v
	require.NoError(t, vessels.Save(t.Context(), &copied))
	assert.Equal(t, Moored{Port: "Kiel"}, v.Changes()[3], "saving the copy leaves the original's changes")
}

func TestBuffersOfAnySize(t *testing.T) {
	t.Parallel()
	for _, transport := range []evsourcing.Transport{nil, evsourcing.NewChannelTransport()} {
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: math.MaxInt, Transport: transport, Codec: vesselCodec()})
		done := make(chan struct{})
		require.NoError(t, bus.Subscribe("again", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			if m.Version == 3 {
				close(done)
				return nil
			}
			m.Version++
			m.ID = uuid.New()
			return bus.Publish(ctx, m)
		}), Sailed{}.Topic()))
		require.NoError(t, bus.Listen())
		require.NoError(t, bus.Publish(t.Context(), evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
			ID: uuid.New(), Version: 1, Topic: Sailed{}.Topic(), ContentType: "application/json", Data: []byte("{}"),
		}, Event: Sailed{}}))
		<-done
		require.NoError(t, bus.Close(t.Context()))
	}
}

// slowCodec decodes with an error of its own.
type bareCodec struct{ evsourcing.Codec }

func (bareCodec) Decode(context.Context, *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return nil, errors.New("bad key")
}

func TestLoadNamesTheEventForAnyCodec(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), nil)
	v := vessels.New("Rickmer")
	evsourcing.Record(v, Sailed{})
	require.NoError(t, vessels.Save(t.Context(), v))
	_, err := evsourcing.NewRepository[Vessel]("vessel", store, bareCodec{vesselCodec()}, nil).Load(t.Context(), "Rickmer")
	require.EqualError(t, err, `evsourcing: decode version 1 of vessel/Rickmer, topic "vessel.sailed": bad key`)
}

func TestOddOptionsAreRefusedOrIgnored(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	assert.PanicsWithValue(t, "evsourcing: NewRepository[evsourcing_test.Vessel]: the Bus is a nil *EventBus", func() {
		var bus *evsourcing.EventBus
		evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), &evsourcing.RepositoryOptions{Bus: bus})
	})
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), nil)
	_, err := vessels.Create(t.Context(), "Rickmer", func(v *Vessel) error { return evsourcing.Execute(v, Sail) }, nil)
	require.NoError(t, err)
	_, err = vessels.Create(t.Context(), "", func(*Vessel) error { panic("not called") }, evsourcing.CommandID("request"))
	require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
	for year, ok := range map[int]bool{-1: false, 0: true, 9999: true, 10000: false, 300000: false} {
		at := func() time.Time { return time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC) }
		a := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), &evsourcing.RepositoryOptions{Now: at})
		_, err := a.Create(t.Context(), fmt.Sprint("year ", year), func(v *Vessel) error { return evsourcing.Execute(v, Sail) })
		assert.Equal(t, ok, err == nil, "year %d: %v", year, err)
	}
}
