package evsourcing_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// withAndWithoutFinder runs the test on a store that can look for a command's
// events, and on one that has to be read.
func withAndWithoutFinder(t *testing.T, test func(t *testing.T, store evsourcing.EventStore)) {
	t.Helper()
	t.Run("with a Finder", func(t *testing.T) {
		t.Parallel()
		test(t, evsourcing.NewMemoryStore())
	})
	t.Run("with a Finder in a wrapper", func(t *testing.T) {
		t.Parallel()
		test(t, newSpyStore())
	})
	t.Run("without a Finder", func(t *testing.T) {
		t.Parallel()
		test(t, plainStore{evsourcing.NewMemoryStore()})
	})
}

func TestCommandIsExecutedOnce(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		for _, m := range modes {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				id := "by " + m.name
				bus := &recorder{}
				if m.name != "Create" {
					given(t, store, id, Landed{Airport: "JFK"})
				}
				before := uint64(len(history(t, store, id)))
				calls := 0
				fly := func(a *Aircraft) error {
					calls++
					if err := evsourcing.Execute(a, TakeOff); err != nil {
						return err
					}
					return evsourcing.Execute(a, Land("CDG"))
				}
				repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
				first, err := m.run(repo, t.Context(), id, fly, evsourcing.CommandID("command"))
				require.NoError(t, err)
				assert.Equal(t, before+2, first.Version())

				again, err := m.run(repo, t.Context(), id, fly, evsourcing.CommandID("command"))
				require.NoError(t, err)
				assert.Equal(t, before+2, again.Version())
				assert.Equal(t, before+2, again.Version())
				assert.Equal(t, "CDG", again.Airport)

				// Meanwhile it flies, so that the command would be refused.
				_, err = repo.Update(t.Context(), id, record(TakenOff{}))
				require.NoError(t, err)
				restarted := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
				late, err := m.run(restarted, t.Context(), id, fly, evsourcing.CommandID("command"))
				require.NoError(t, err)
				assert.True(t, late.Flying, "the present state")
				assert.Equal(t, before+3, late.Version())
				assert.True(t, late.Saved())

				assert.Equal(t, 1, calls)
				assert.Len(t, history(t, store, id), int(before)+3)
				assert.Equal(t, []uint64{before + 1, before + 2, before + 3}, bus.versions(), "published once")

				evsourcing.Record(late, Landed{Airport: "ORY"})
				require.NoError(t, restarted.Save(t.Context(), late), "what is returned may be saved")
				_, err = restarted.Update(t.Context(), id, fly, evsourcing.CommandID("another command"))
				require.NoError(t, err)
				assert.Equal(t, 2, calls, "another command is executed")
			})
		}
	})
}

func TestCommandBelongsToOneStream(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		seen := map[uuid.UUID]bool{}
		for _, typ := range []string{"aircraft", "plane"} {
			repo := evsourcing.NewRepository[Aircraft](typ, store, newCodec(), nil)
			for _, id := range []string{"DM1", "DM2"} {
				_, err := repo.Create(t.Context(), id, record(TakenOff{}, Landed{}), evsourcing.CommandID("command"))
				require.NoError(t, err)
				for e, err := range store.Load(t.Context(), evsourcing.StreamID{Type: typ, ID: id}, evsourcing.Range{}) {
					require.NoError(t, err)
					assert.False(t, seen[e.ID])
					seen[e.ID] = true
				}
			}
		}
		assert.Len(t, seen, 8)
	})
}

// The IDs must be the same in every version of the library: a command may come
// back after an upgrade.
func TestEventIDsOfACommandDeriveFromItAndTheStream(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	_, err := newAircraft(store, nil).Create(t.Context(), "DM2018", record(TakenOff{}, Landed{}), evsourcing.CommandID("request 7"))
	require.NoError(t, err)
	namespace := uuid.MustParse("6f0d2c1e-8a57-4f43-9b58-3f1f0c5a7e21")
	for i, e := range history(t, store, "DM2018") {
		assert.Equal(t, uuid.Version(5), e.ID.Version())
		assert.Equal(t, uuid.NewSHA1(namespace, fmt.Appendf(nil, `"request 7" "aircraft" "DM2018" %d`, i)), e.ID)
	}
	assert.Equal(t, "1cc9c5bb-8466-501c-a3fe-0d5f18940f98", history(t, store, "DM2018")[0].ID.String())
}

func TestCommandThatRecordedNothingIsNotRemembered(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		repo := newAircraft(store, nil)
		given(t, store, "DM2018", Landed{Airport: "JFK"})
		calls := 0
		refuse := func(*Aircraft) error { calls++; return ErrOnGround }
		nothing := func(*Aircraft) error { calls++; return nil }
		for range 2 {
			_, err := repo.Update(t.Context(), "DM2018", refuse, evsourcing.CommandID("command"))
			require.ErrorIs(t, err, ErrOnGround)
			_, err = repo.Update(t.Context(), "DM2018", nothing, evsourcing.CommandID("command"))
			require.NoError(t, err)
		}
		assert.Equal(t, 4, calls)
		a, err := repo.Update(t.Context(), "DM2018", record(TakenOff{}), evsourcing.CommandID("command"))
		require.NoError(t, err)
		assert.True(t, a.Flying)
	})
}

func TestCommandIDIsStoredAndDoesNotTravel(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	bus := evsourcing.NewEventBus(nil)
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
	reactTo(t, bus, evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
		if m.Stream.ID != "DM2018" || m.Version != 1 {
			return nil
		}
		assert.Equal(t, "command", m.Metadata[evsourcing.MetaCommandID])
		assert.NotContains(t, evsourcing.MetadataFromContext(ctx), evsourcing.MetaCommandID)
		_, err := repo.Create(ctx, "DM2019", record(Landed{}))
		assert.NoError(t, err)
		_, err = repo.Create(ctx, "DM2020", record(Landed{}), evsourcing.CommandID("of its own"))
		assert.NoError(t, err)
		return nil
	}))
	a, err := repo.Create(t.Context(), "DM2018", record(Landed{}, Landed{}), evsourcing.CommandID("command"))
	require.NoError(t, err)
	evsourcing.Record(a, TakenOff{})
	require.NoError(t, repo.Save(t.Context(), a))
	require.NoError(t, bus.Close(t.Context()))

	events := history(t, store, "DM2018")
	for _, e := range events[:2] {
		assert.Equal(t, evsourcing.Metadata{"es.command_id": "command"}, e.Metadata)
	}
	assert.NotContains(t, events[2].Metadata, evsourcing.MetaCommandID, "what is recorded afterwards is not of the command")
	assert.Equal(t, uuid.Version(7), events[2].ID.Version())
	assert.NotContains(t, history(t, store, "DM2019")[0].Metadata, evsourcing.MetaCommandID)
	assert.Equal(t, "of its own", history(t, store, "DM2020")[0].Metadata[evsourcing.MetaCommandID])
	assert.Equal(t, events[0].ID.String(), history(t, store, "DM2020")[0].Metadata[evsourcing.MetaCausationID])
}

// Another transaction executes the command at every moment in turn: before the
// function runs, while it runs, and when its append arrives. The function may
// see no state that the command's own events have changed, for it would refuse.
func TestCommandExecutedMeanwhile(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		for _, other := range []struct {
			name   string
			events []evsourcing.EventOf[*Aircraft]
		}{
			{"with the same event", []evsourcing.EventOf[*Aircraft]{TakenOff{}}},
			{"with fewer events", []evsourcing.EventOf[*Aircraft]{&Inspected{Hours: 7}}},
			{"with more events", []evsourcing.EventOf[*Aircraft]{TakenOff{}, &Inspected{Hours: 7}, TakenOff{}, TakenOff{}}},
		} {
			for _, m := range modes {
				for step := 1; step <= 8; step++ {
					t.Run(fmt.Sprint(other.name, ", ", m.name, ", step ", step), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							id := t.Name()
							if m.name != "Create" {
								given(t, store, id, Landed{Airport: "JFK"})
							}
							before := len(history(t, store, id))
							bus := &recorder{}
							rival := newAircraft(store, &evsourcing.RepositoryOptions{Bus: bus})
							steps := &steppedStore{EventStore: store, step: step, do: func() {
								_, err := m.run(rival, t.Context(), id, record(other.events...), evsourcing.CommandID("command"))
								assert.NoError(t, err)
							}}
							var s evsourcing.EventStore = steps
							if _, ok := evsourcing.Capability[evsourcing.Finder](store); ok {
								s = &steppedFinder{steps}
							}
							repo := newAircraft(s, &evsourcing.RepositoryOptions{Bus: bus, Logger: quiet})
							a, err := m.run(repo, t.Context(), id, func(a *Aircraft) error {
								steps.next()
								if err := evsourcing.Execute(a, TakeOff); err != nil {
									return err
								}
								evsourcing.Record(a, TakenOff{})
								return nil
							}, evsourcing.CommandID("command"))
							require.NoError(t, err)
							events := history(t, store, id)
							assert.Equal(t, uint64(len(events)), a.Version(), "the present state")
							want := len(other.events)
							if !steps.done {
								want = 2 // the transaction had fewer steps
							}
							assert.Len(t, events, before+want, "executed once")
							assert.Len(t, bus.got(), want, "published once")
							loaded, err := rival.Load(t.Context(), id)
							require.NoError(t, err)
							assert.Equal(t, loaded.Hours, a.Hours)
							assert.Equal(t, loaded.Flying, a.Flying)
						})
					})
				}
			}
		}
	})
}

// steppedStore counts the steps of a transaction, its calls of the store, and
// does something before one of them.
type steppedStore struct {
	evsourcing.EventStore
	step, count int
	do          func()
	done        bool
}

func (s *steppedStore) next() {
	if s.count++; s.count == s.step {
		s.do()
		s.done = true
	}
}

func (s *steppedStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	s.next()
	return s.EventStore.Append(ctx, batches...)
}

func (s *steppedStore) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	s.next()
	return s.EventStore.Load(ctx, id, r)
}

// steppedFinder is a steppedStore around a store that has a Finder.
type steppedFinder struct{ *steppedStore }

func (s *steppedFinder) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	s.next()
	finder, _ := evsourcing.Capability[evsourcing.Finder](s.EventStore)
	return finder.Find(ctx, id, event)
}

func TestRacingTransactionsWithOneCommandStoreItOnce(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		const rounds, racers = 10, 8
		bus := &recorder{}
		yields := &spyStore{EventStore: store}
		yields.always(func(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
			for range rand.N(20) {
				runtime.Gosched()
			}
			return next()
		})
		var s evsourcing.EventStore = yields
		if _, ok := evsourcing.Capability[evsourcing.Finder](store); !ok {
			s = plainStore{yields}
		}
		for round := range rounds {
			m := modes[round%3]
			id := fmt.Sprint("DM", round)
			if m.name == "Update" {
				given(t, store, id, Landed{Airport: "JFK"})
			}
			before := len(history(t, store, id))
			var wg sync.WaitGroup
			var calls atomic.Int64
			start := make(chan struct{})
			for range racers {
				repo := newAircraft(s, &evsourcing.RepositoryOptions{Bus: bus, MaxAttempts: 100})
				wg.Go(func() {
					<-start
					a, err := m.run(repo, t.Context(), id, func(a *Aircraft) error {
						calls.Add(1)
						return evsourcing.Execute(a, TakeOff) // refused by who sees it flying
					}, evsourcing.CommandID("command"))
					if assert.NoError(t, err) {
						assert.True(t, a.Flying)
						assert.Equal(t, uint64(before)+1, a.Version())
					}
				})
			}
			close(start)
			wg.Wait()
			assert.Len(t, history(t, store, id), before+1, "%s: exactly one is stored", m.name)
			assert.Positive(t, calls.Load())
		}
		assert.Len(t, bus.got(), rounds, "and published")
	})
}

// The first append was lost without trace; before it is repeated, another
// transaction with the same command stores other events.
func TestUncertainCommandExecutedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, others := range map[string][]evsourcing.EventOf[*Aircraft]{
		"the same number": {Landed{Airport: "ORY"}, Landed{Airport: "CDG"}},
		"fewer":           {Landed{Airport: "CDG"}},
		"more":            {Landed{Airport: "ORY"}, Landed{Airport: "ORY"}, Landed{Airport: "CDG"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				spy := newSpyStore()
				rival := newAircraft(spy.EventStore, nil)
				spy.script(requestLost, before(func() {
					_, err := rival.Create(t.Context(), "DM2018", record(others...), evsourcing.CommandID("command"))
					assert.NoError(t, err)
				}, stored))
				calls := 0
				a, err := newAircraft(spy, nil).Create(t.Context(), "DM2018", func(a *Aircraft) error {
					calls++
					evsourcing.Record(a, Landed{Airport: "CDG"}, Landed{Airport: "CDG"})
					return nil
				}, evsourcing.CommandID("command"))
				require.NoError(t, err)
				assert.Equal(t, 1, calls)
				assert.Equal(t, uint64(len(others)), a.Version())
				assert.Len(t, history(t, spy, "DM2018"), len(others))
				assert.Equal(t, "CDG", a.Airport)
			})
		})
	}
}

func TestFindersErrorEndsTheTransaction(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{})
	repo := newAircraft(&brokenFinder{store}, nil)
	for _, m := range modes {
		a, err := m.run(repo, t.Context(), "DM2018", func(*Aircraft) error {
			t.Error("the function is called")
			return nil
		}, evsourcing.CommandID("command"))
		require.ErrorIs(t, err, errDisk)
		require.ErrorContains(t, err, `command "command" of aircraft/DM2018`)
		assert.Nil(t, a)
	}
}

func TestErrorOfReadingForACommandEndsTheTransaction(t *testing.T) {
	t.Parallel()
	repo := newAircraft(&listStore{err: errDisk}, nil)
	a, err := repo.Create(t.Context(), "DM2018", func(*Aircraft) error {
		t.Error("the function is called")
		return nil
	}, evsourcing.CommandID("command"))
	require.ErrorIs(t, err, errDisk)
	require.ErrorContains(t, err, `command "command" of aircraft/DM2018`)
	assert.Nil(t, a)
}

func TestFinderSavesReadingForACommand(t *testing.T) {
	t.Parallel()
	for name, loads := range map[string]int64{"with a Finder": 1, "without": 2} {
		spy := newSpyStore()
		var store evsourcing.EventStore = spy
		if name == "without" {
			store = plainStore{spy}
		}
		given(t, spy, "DM2018", TakenOff{})
		repo := newAircraft(store, nil)
		for range 2 {
			spy.loads.Store(0)
			_, err := repo.Update(t.Context(), "DM2018", record(Landed{}), evsourcing.CommandID("command"))
			require.NoError(t, err)
			assert.Equal(t, loads, spy.loads.Load(), name)
		}
	}
}

type brokenFinder struct{ evsourcing.EventStore }

func (*brokenFinder) Find(context.Context, evsourcing.StreamID, uuid.UUID) (uint64, bool, error) {
	return 0, false, errDisk
}

// A function that saves by itself, and records more: its events are different
// events of the command.
func TestFunctionMaySaveInACommand(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	a, err := repo.Create(t.Context(), "DM2018", func(a *Aircraft) error {
		evsourcing.Record(a, TakenOff{})
		if err := repo.Save(t.Context(), a); err != nil {
			return err
		}
		evsourcing.Record(a, Landed{Airport: "CDG"})
		return nil
	}, evsourcing.CommandID("command"))
	require.NoError(t, err)
	assert.Equal(t, uint64(2), a.Version())
	assert.Equal(t, []string{"taken_off", "landed"}, topicsOf(history(t, store, "DM2018")))
}
