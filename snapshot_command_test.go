package evsourcing_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// Idempotent commands when the aggregates come from snapshots, behind which the
// commands' events are.

// snapshotted asserts that the aircraft's snapshot is at the version.
func snapshotted(t *testing.T, on *shelf, id string, version uint64) {
	t.Helper()
	s, ok := on.on(t, id)
	require.True(t, ok, "there is a snapshot")
	require.Equal(t, version, s.Version)
}

func TestExecutedCommandIsRecognisedBehindASnapshot(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		for _, m := range modes {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("by %s, restarted %t", m.name, restart), func(t *testing.T) {
					t.Parallel()
					id := t.Name()
					if m.name != "Create" {
						given(t, store, id, Landed{Airport: "JFK"})
					}
					before := uint64(len(history(t, store, id)))
					on, bus := newShelf(), &recorder{}
					opts := snapshotsEvery(1, on)
					opts.Bus = bus
					repo := newAircraft(store, opts)
					calls := 0
					fly := func(a *Aircraft) error {
						calls++
						if err := evsourcing.Execute(a, TakeOff); err != nil {
							return err
						}
						return evsourcing.Execute(a, Land("CDG"))
					}
					first, err := m.run(repo, t.Context(), id, fly, evsourcing.CommandID("command"))
					require.NoError(t, err)
					// Now it would be refused, the aircraft flies.
					_, err = repo.Update(t.Context(), id, record(Scheduled{Flight: "LH1"}, TakenOff{}))
					require.NoError(t, err)
					if restart {
						require.NoError(t, repo.Close(t.Context()))
						snapshotOf(t, store, on, id)
						snapshotted(t, on, id, first.Version()+2)
						repo = newAircraft(store, opts)
					}
					for range 3 {
						again, err := m.run(repo, t.Context(), id, fly, evsourcing.CommandID("command"))
						require.NoError(t, err)
						assert.Equal(t, first.Version()+2, again.Version())
						assert.Equal(t, "CDG", again.Airport)
						assert.True(t, again.Flying, "the present state")
						assert.True(t, again.Saved())
					}
					assert.Equal(t, 1, calls)
					assert.Len(t, history(t, store, id), int(before)+4)
					assert.Len(t, bus.got(), 4, "published once")

					a, err := m.run(repo, t.Context(), id, record(Landed{Airport: "ORY"}), evsourcing.CommandID("another"))
					if m.name == "Create" {
						require.ErrorIs(t, err, evsourcing.ErrConflict)
						return
					}
					require.NoError(t, err)
					assert.Equal(t, "ORY", a.Airport)
					require.NoError(t, repo.Close(t.Context()))
					snapshotted(t, on, id, first.Version()+3)
				})
			}
		}
	})
}

// A request's two commands touch one aggregate; the request comes back when the
// first, both, or more than both are stored.
func TestTwoCommandsOfOneRequestOnASnapshottedAggregate(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		for _, stored := range []int{0, 1, 2} {
			id := fmt.Sprint("DM", stored)
			on := newShelf()
			given(t, store, id, hours(3)...)
			repo := newAircraft(store, snapshotsEvery(1, on))
			calls := []string{}
			commands := []func() (*Aircraft, error){
				func() (*Aircraft, error) {
					return repo.Update(t.Context(), id, func(a *Aircraft) error {
						calls = append(calls, "take off")
						return evsourcing.Execute(a, TakeOff)
					}, evsourcing.CommandID("request/1"))
				},
				func() (*Aircraft, error) {
					return repo.Update(t.Context(), id, func(a *Aircraft) error {
						calls = append(calls, "land")
						return evsourcing.Execute(a, Land("CDG"))
					}, evsourcing.CommandID("request/2"))
				},
			}
			for _, command := range commands[:stored] {
				_, err := command()
				require.NoError(t, err)
			}
			require.NoError(t, repo.Close(t.Context()))
			repo = newAircraft(store, snapshotsEvery(1, on)) // restarted
			for range 2 {
				for _, command := range commands {
					_, err := command()
					require.NoError(t, err)
				}
			}
			assert.Equal(t, []string{"take off", "land"}, calls, "%d were stored", stored)
			a, err := repo.Load(t.Context(), id)
			require.NoError(t, err)
			assert.Equal(t, uint64(5), a.Version())
			assert.Equal(t, "CDG", a.Airport)
			require.NoError(t, repo.Close(t.Context()))
			snapshotted(t, on, id, 5)
		}
	})
}

// Processes share the stores and nothing else.
func TestProcessesWithSnapshotsRaceForOneCommand(t *testing.T) {
	t.Parallel()
	withAndWithoutFinder(t, func(t *testing.T, store evsourcing.EventStore) {
		const rounds, processes = 30, 4
		on := newShelf()
		given(t, store, "DM2018", Landed{Airport: "JFK"})
		var repos []*evsourcing.Repository[Aircraft]
		for range processes {
			opts := snapshotsEvery(1, on)
			opts.MaxAttempts = 100
			repos = append(repos, newAircraft(store, opts))
		}
		for round := range rounds {
			var wg sync.WaitGroup
			var calls atomic.Int64
			start := make(chan struct{})
			for _, repo := range repos {
				wg.Go(func() {
					<-start
					a, err := repo.Update(t.Context(), "DM2018", func(a *Aircraft) error {
						calls.Add(1)
						command := TakeOff
						if round%2 == 1 {
							command = Land("CDG")
						}
						return evsourcing.Execute(a, command) // refused by who sees it executed
					}, evsourcing.CommandID(fmt.Sprint("command ", round)))
					if assert.NoError(t, err) {
						assert.Equal(t, round%2 == 0, a.Flying)
						assert.Equal(t, uint64(round)+2, a.Version())
					}
				})
			}
			close(start)
			wg.Wait()
			assert.Len(t, history(t, store, "DM2018"), round+2, "exactly one is stored")
			assert.Positive(t, calls.Load())
		}
		for _, repo := range repos {
			require.NoError(t, repo.Close(t.Context()))
		}
		a, err := newAircraft(store, snapshotsEvery(1, on)).Load(t.Context(), "DM2018")
		require.NoError(t, err)
		want, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
		require.NoError(t, err)
		equalAircraft(t, want, a)
	})
}
