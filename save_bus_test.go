package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// reactTo makes r the reactor to landings and listens.
func reactTo(t *testing.T, bus *evsourcing.EventBus, r evsourcing.Reactor) {
	t.Helper()
	require.NoError(t, bus.Subscribe("test", r, Landed{}.Topic()))
	require.NoError(t, bus.Listen())
}

func TestSavePublishesWhatItStored(t *testing.T) {
	t.Parallel()
	for name, publisher := range map[string]func(t *testing.T, r *recorder) (evsourcing.Publisher, func()){
		"to an EventBus": func(t *testing.T, r *recorder) (evsourcing.Publisher, func()) {
			bus := evsourcing.NewEventBus(nil)
			require.NoError(t, bus.Subscribe("test", r, Landed{}.Topic(), Diverted{}.Topic(), Scheduled{}.Topic()))
			require.NoError(t, bus.Listen())
			return bus, func() { require.NoError(t, bus.Close(t.Context())) }
		},
		"to another Publisher": func(_ *testing.T, r *recorder) (evsourcing.Publisher, func()) { return r, func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got recorder
			bus, done := publisher(t, &got)
			store := evsourcing.NewMemoryStore()
			given(t, store, "OTHER", TakenOff{})
			repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
			a := repo.New("DM2018")
			evsourcing.Record(a, Scheduled{Flight: "DM2018"}, &Landed{Airport: "CDG"}, Diverted{Airport: "ORY", Reason: "fog"})
			ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{"user": "ada"})
			require.NoError(t, repo.Save(ctx, a))
			done()

			messages := got.got()
			require.Len(t, messages, 3)
			for i, e := range history(t, store, "DM2018") {
				assert.Equal(t, e, messages[i].StoredEvent, "position, version, topic, data, tags, metadata, time")
				assert.Equal(t, uint64(i)+2, messages[i].Position)
			}
			assert.Equal(t, Scheduled{Flight: "DM2018"}, messages[0].Event)
			assert.Equal(t, &Landed{Airport: "CDG"}, messages[1].Event, "the event that was recorded")
			assert.Equal(t, Diverted{Airport: "ORY", Reason: "fog"}, messages[2].Event)
			assert.Equal(t, evsourcing.Metadata{"user": "ada"}, messages[2].Metadata)
		})
	}
}

// The first to append is held after its events are stored. The second loads
// them, and must not get its own onto the bus before them.
func TestReactorsSeeAStreamInVersionOrder(t *testing.T) {
	t.Parallel()
	for name, bus := range map[string]func() (evsourcing.Publisher, func(t *testing.T, r *recorder)){
		"on an EventBus, among repositories": func() (evsourcing.Publisher, func(*testing.T, *recorder)) {
			bus := evsourcing.NewEventBus(nil)
			return bus, func(t *testing.T, r *recorder) {
				reactTo(t, bus, r)
				require.NoError(t, bus.Close(t.Context()))
			}
		},
		"on another Publisher, of one repository": func() (evsourcing.Publisher, func(*testing.T, *recorder)) {
			foreign := &recorder{}
			return foreign, func(_ *testing.T, r *recorder) { r.messages = foreign.got() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				publisher, drain := bus()
				appended := newGate()
				spy := newSpyStore().script(afterwards(appended.pass, stored))
				first := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: publisher})
				second := first
				if _, ok := publisher.(*evsourcing.EventBus); ok {
					second = newAircraft(spy, &evsourcing.RepositoryOptions{Bus: publisher})
				}
				go func() {
					_, err := first.Create(t.Context(), "DM2018", record(Landed{Airport: "1"}, Landed{Airport: "2"}))
					assert.NoError(t, err)
				}()
				<-appended.arrived
				go func() {
					_, err := second.Update(t.Context(), "DM2018", record(Landed{Airport: "3"}))
					assert.NoError(t, err)
				}()
				synctest.Wait()
				assert.Equal(t, int64(1), spy.appends.Load(), "the second waits for its turn to append")
				_, err := second.Create(t.Context(), "DM2019", record(TakenOff{}))
				require.NoError(t, err, "other streams do not wait")
				close(appended.open)
				synctest.Wait()

				var got recorder
				drain(t, &got)
				var versions []uint64
				for _, m := range got.got() {
					if m.Stream.ID == "DM2018" {
						versions = append(versions, m.Version)
					}
				}
				assert.Equal(t, []uint64{1, 2, 3}, versions)
			})
		})
	}
}

func TestReactorsSeeEveryStreamInVersionOrderUnderRacingWriters(t *testing.T) {
	t.Parallel()
	const streams, writers, saves = 3, 8, 20
	var got recorder
	bus := evsourcing.NewEventBus(nil)
	reactTo(t, bus, &got)
	memory := newSpyStore()
	memory.always(func(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
		result, err := next()
		for range rand.N(50) {
			runtime.Gosched() // let others overtake
		}
		return result, err
	})
	var wg sync.WaitGroup
	for w := range writers {
		repo := newAircraft(memory, &evsourcing.RepositoryOptions{Bus: bus, MaxAttempts: 10_000})
		wg.Go(func() {
			for i := range saves {
				id := fmt.Sprint("DM", (w+i)%streams)
				_, err := repo.CreateOrUpdate(t.Context(), id, func(a *Aircraft) error {
					evsourcing.Record(a, Landed{Airport: fmt.Sprint(a.Version() + 1)})
					return nil
				})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, bus.Close(t.Context()))
	assert.Len(t, got.got(), writers*saves)
	last := map[string]uint64{}
	for _, m := range got.got() {
		last[m.Stream.ID]++
		require.Equal(t, last[m.Stream.ID], m.Version, "of %v", m.Stream)
		require.Equal(t, Landed{Airport: fmt.Sprint(m.Version)}, m.Event)
	}
}

// Save waits for room before it appends.
func TestSaveWaitsForRoomAndStoresNothingWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reacting := newGate()
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 1, Logger: quiet})
		reactTo(t, bus, evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			reacting.pass()
			return nil
		}))
		spy := newSpyStore()
		var log logLines
		repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus, Logger: log.logger()})
		_, err := repo.Create(t.Context(), "DM1", record(Landed{}))
		require.NoError(t, err)
		<-reacting.arrived // the buffer is full from now on

		_, err = repo.Create(t.Context(), "OTHER", record(TakenOff{}))
		require.NoError(t, err, "nobody is subscribed to this one")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a := repo.New("DM2")
		evsourcing.Record(a, Landed{})
		start := time.Now()
		require.ErrorIs(t, repo.Save(ctx, a), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Len(t, a.Changes(), 1)
		assert.Empty(t, log.lines(t), "a Save is not a transaction")
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = repo.Create(ctx, "DM3", record(Landed{}))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, log.lines(t), 1)
		assert.Equal(t, int64(2), spy.appends.Load(), "nothing was tried")
		assert.Equal(t, uint64(2), headOf(t, spy))

		done := make(chan error)
		go func() { done <- repo.Save(t.Context(), a) }()
		synctest.Wait()
		assert.Equal(t, uint64(2), headOf(t, spy), "it waits")
		reacting.open <- struct{}{}
		require.NoError(t, <-done, "there is room now")
		<-reacting.arrived
		reacting.open <- struct{}{}
		require.NoError(t, bus.Close(t.Context()))
		assert.Zero(t, bus.Pending(), "what was not stored left no room taken")
	})
}

// A Save that waits for the one before it gives its room back when it gives up.
func TestSaveStopsWaitingForItsTurnWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 3})
		var got recorder
		reactTo(t, bus, &got)
		appending := newGate()
		spy := newSpyStore()
		spy.script(before(appending.pass, stored))
		repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus, Logger: quiet})
		first := make(chan error)
		go func() {
			_, err := repo.Create(t.Context(), "DM2018", record(Landed{}))
			first <- err
		}()
		<-appending.arrived
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error)
		for range 2 {
			go func() {
				_, err := repo.Create(ctx, "DM2018", record(Landed{}))
				second <- err
			}()
		}
		synctest.Wait()
		cancel()
		for range 2 {
			err := <-second
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorContains(t, err, "aircraft/DM2018")
		}
		assert.Equal(t, int64(1), spy.appends.Load())
		close(appending.open)
		require.NoError(t, <-first)
		_, err := repo.Update(t.Context(), "DM2018", record(Landed{}, Landed{}, Landed{})) // needs all the room
		require.NoError(t, err)
		require.NoError(t, bus.Close(t.Context()))
		assert.Equal(t, []uint64{1, 2, 3, 4}, got.versions())
	})
}

// The turn comes at the moment when the one who waits for it gives up. The next
// in line must get it.
func TestTurnThatComesTooLateIsPassedOn(t *testing.T) {
	t.Parallel()
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			bus := evsourcing.NewEventBus(nil)
			appending := newGate()
			spy := newSpyStore().script(before(appending.pass, stored))
			repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus, Logger: quiet})
			results := make(chan error, 3)
			create := func(ctx context.Context) {
				_, err := repo.CreateOrUpdate(ctx, "DM2018", record(Landed{}))
				results <- err
			}
			go create(t.Context())
			<-appending.arrived
			ctx, cancel := context.WithCancel(t.Context())
			go create(ctx)
			synctest.Wait()
			go create(t.Context())
			synctest.Wait()
			cancel()
			close(appending.open) // the second's turn comes soon
			succeeded := uint64(0)
			for range 3 {
				if err := <-results; err == nil {
					succeeded++
				} else {
					require.ErrorIs(t, err, context.Canceled)
				}
			}
			assert.GreaterOrEqual(t, succeeded, uint64(2))
			assert.Equal(t, succeeded, headOf(t, spy))
		})
	}
}

func TestSaveStoresNothingThatTheBusRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 2, Logger: quiet})
		repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
		_, err := repo.Create(t.Context(), "DM1", record(Landed{}, Landed{}))
		require.NoError(t, err)
		a, err := repo.Create(t.Context(), "DM2", record(Landed{}))
		require.ErrorIs(t, err, evsourcing.ErrNotListening)
		require.ErrorContains(t, err, "aircraft/DM2")
		assert.Nil(t, a)
		assert.Equal(t, uint64(2), headOf(t, store))

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var undelivered *evsourcing.UndeliveredError
		require.ErrorAs(t, bus.Close(ctx), &undelivered)
		assert.Equal(t, 2, undelivered.Count)
		_, err = repo.Create(t.Context(), "DM3", record(Landed{}))
		require.ErrorIs(t, err, evsourcing.ErrBusClosed, "there is no room left for late ones")
		assert.Equal(t, uint64(2), headOf(t, store))
	})
}

func TestSaveInAReactorStoresNothingBeyondMaxPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 1, MaxPending: 2, Logger: quiet})
		repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus, Logger: quiet})
		var errs []error
		reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			if m.Stream.ID == "DM0" {
				for i := range 3 { // one is running, so there is room for one
					_, err := repo.Create(ctx, fmt.Sprint("DM", i+1), record(Landed{}))
					errs = append(errs, err)
				}
			}
			return nil
		}))
		_, err := repo.Create(t.Context(), "DM0", record(Landed{}))
		require.NoError(t, err)
		require.NoError(t, bus.Close(t.Context()))
		require.Len(t, errs, 3)
		full := 0
		for _, err := range errs {
			if err != nil {
				require.ErrorIs(t, err, evsourcing.ErrBusFull)
				full++
			}
		}
		assert.Positive(t, full)
		assert.Equal(t, uint64(4-full), headOf(t, store), "nothing of those is stored")
	})
}

func TestLateSaveSucceedsAfterTheBusHasClosed(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	bus := evsourcing.NewEventBus(nil)
	var got recorder
	reactTo(t, bus, &got)
	require.NoError(t, bus.Close(t.Context()))
	a, err := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus}).Create(t.Context(), "DM2018", record(Landed{}))
	require.NoError(t, err)
	assert.Equal(t, uint64(1), a.Version())
	assert.Equal(t, 1, bus.Pending(), "its message is kept")
	assert.Empty(t, got.got(), "and dispatched no more")
}

func TestFailedAppendGivesItsRoomBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 2})
		var got recorder
		reactTo(t, bus, &got)
		spy := newSpyStore().script(failed, failed, requestLost, replyLost)
		repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
		a := repo.New("DM2018")
		evsourcing.Record(a, Landed{}, Landed{})
		for range 4 {
			require.Error(t, repo.Save(t.Context(), a)) // would wait for ever if room leaked
		}
		synctest.Wait()
		assert.Empty(t, got.got())
		require.NoError(t, repo.Save(t.Context(), a))
		require.NoError(t, bus.Close(t.Context()))
		assert.Equal(t, []uint64{1, 2}, got.versions())
	})
}

// Nobody knows what became of an append in which the store panicked. What Save
// held must be free again all the same, and saving again is safe.
func TestPanicInTheStoreLeavesNothingHeld(t *testing.T) {
	t.Parallel()
	for name, panics := range map[string]answer{
		"before it stores": before(func() { panic("no disk") }, stored),
		"afterwards":       afterwards(func() { panic("no disk") }, stored),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 2})
				var got recorder
				reactTo(t, bus, &got)
				spy := newSpyStore().script(panics)
				repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
				a := repo.New("DM2018")
				evsourcing.Record(a, Landed{}, Landed{})
				assert.PanicsWithValue(t, "no disk", func() { _ = repo.Save(t.Context(), a) })
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.NoError(t, repo.Save(ctx, a))
				require.NoError(t, bus.Close(t.Context()))
				assert.Equal(t, []uint64{1, 2}, got.versions())
				assert.Len(t, history(t, spy, "DM2018"), 2)
				require.NoError(t, repo.Close(ctx))
			})
		})
	}
}

func TestStoredButNotPublished(t *testing.T) {
	t.Parallel()
	errBroker := errors.New("no broker")
	bus := &recorder{fail: errBroker}
	store := evsourcing.NewMemoryStore()
	var log logLines
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus, Logger: log.logger()})
	a := repo.New("DM2018")
	evsourcing.Record(a, TakenOff{})
	err := repo.Save(t.Context(), a)
	require.ErrorIs(t, err, evsourcing.ErrNotPublished)
	require.ErrorIs(t, err, errBroker)
	require.ErrorContains(t, err, "aircraft/DM2018")
	assert.True(t, a.Saved(), "it counts as saved")
	assert.Equal(t, uint64(1), a.Version())
	assert.Equal(t, uint64(1), a.Position())
	bus.fail = nil
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Empty(t, bus.got(), "saving again does nothing")
	assert.Len(t, history(t, store, "DM2018"), 1)

	bus.fail = errBroker
	calls := 0
	b, err := repo.Update(t.Context(), "DM2018", func(a *Aircraft) error {
		calls++
		evsourcing.Record(a, Landed{Airport: "CDG"})
		return nil
	})
	require.ErrorIs(t, err, evsourcing.ErrNotPublished)
	require.NotNil(t, b, "the one error that comes with an aggregate")
	assert.Equal(t, "CDG", b.Airport)
	assert.Equal(t, uint64(2), b.Version())
	assert.True(t, b.Saved())
	assert.Equal(t, 1, calls, "no retry stores it again")
	assert.Empty(t, log.lines(t), "nothing was cut short")
	assert.Len(t, history(t, store, "DM2018"), 2)
}

// The append is repeated because its reply was lost; then the publisher fails.
// The events are stored, and the answer must say so.
func TestStoredByARepeatedAppendButNotPublished(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]answer{"reply lost": replyLost, "request lost": requestLost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				spy := newSpyStore().script(lost)
				repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: &recorder{fail: errDisk}})
				a, err := repo.Create(t.Context(), "DM2018", record(TakenOff{}))
				require.ErrorIs(t, err, evsourcing.ErrNotPublished)
				require.NotErrorIs(t, err, evsourcing.ErrUncertain)
				require.NotNil(t, a)
				assert.True(t, a.Saved())
				assert.Equal(t, uint64(1), a.Version())
				assert.Equal(t, int64(2), spy.appends.Load())
			})
		})
	}
}

// Whatever the publisher's error is: the events are stored, so neither the
// function nor the append is repeated.
func TestPublishersErrorIsNotTheStores(t *testing.T) {
	t.Parallel()
	for _, own := range []error{
		&evsourcing.ConflictError{}, evsourcing.ErrConflict, evsourcing.ErrUncertain, evsourcing.ErrDuplicateEvent,
		evsourcing.ErrClosed, evsourcing.ErrNotFound, context.Canceled,
	} {
		for _, m := range modes {
			for _, opts := range [][]evsourcing.TxOption{nil, {evsourcing.CommandID("command")}} {
				spy := newSpyStore()
				if m.name != "Create" {
					given(t, spy.EventStore, "DM2018", TakenOff{})
				}
				before := len(history(t, spy, "DM2018"))
				var log logLines
				repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: &recorder{fail: own}, Logger: log.logger()})
				calls := 0
				a, err := m.run(repo, t.Context(), "DM2018", func(a *Aircraft) error {
					calls++
					evsourcing.Record(a, Landed{})
					return nil
				}, opts...)
				require.ErrorIs(t, err, evsourcing.ErrNotPublished)
				require.ErrorIs(t, err, own)
				require.NotNil(t, a)
				assert.True(t, a.Saved())
				assert.Equal(t, 1, calls)
				assert.Equal(t, int64(1), spy.appends.Load())
				assert.Len(t, history(t, spy, "DM2018"), before+1)
				assert.Empty(t, log.lines(t))
			}
		}
	}
}
