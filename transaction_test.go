package evsourcing_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// A mode is one of the three kinds of transactions.
type mode struct {
	name string
	run  func(r *evsourcing.Repository[Aircraft], ctx context.Context, id string, fn func(*Aircraft) error, opts ...evsourcing.TxOption) (*Aircraft, error)
}

var modes = []mode{
	{"Create", (*evsourcing.Repository[Aircraft]).Create},
	{"Update", (*evsourcing.Repository[Aircraft]).Update},
	{"CreateOrUpdate", (*evsourcing.Repository[Aircraft]).CreateOrUpdate},
}

func TestTransactionStoresWhatItsFunctionRecords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mode
		exists  bool
		err     error
		version uint64
	}{
		{modes[0], false, nil, 2},
		{modes[0], true, evsourcing.ErrConflict, 0},
		{modes[1], false, evsourcing.ErrNotFound, 0},
		{modes[1], true, nil, 3},
		{modes[2], false, nil, 2},
		{modes[2], true, nil, 3},
	} {
		t.Run(fmt.Sprint(test.name, ", exists: ", test.exists), func(t *testing.T) {
			t.Parallel()
			store := evsourcing.NewMemoryStore()
			if test.exists {
				given(t, store, "DM2018", Scheduled{Flight: "DM2018"})
			}
			before := history(t, store, "DM2018")
			calls := 0
			a, err := test.run(newAircraft(store, nil), t.Context(), "DM2018", func(a *Aircraft) error {
				calls++
				assert.Equal(t, "DM2018", a.ID())
				assert.Equal(t, "<unknown>", a.Airport)
				require.NoError(t, evsourcing.Execute(a, TakeOff))
				return evsourcing.Execute(a, Land("CDG"))
			})
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
				require.ErrorContains(t, err, "aircraft/DM2018")
				assert.Nil(t, a)
				assert.Equal(t, before, history(t, store, "DM2018"))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, 1, calls)
			assert.Equal(t, "CDG", a.Airport)
			assert.Equal(t, test.version, a.Version())
			assert.Equal(t, test.version, a.Position())
			assert.True(t, a.Saved())
			assert.Len(t, history(t, store, "DM2018"), int(test.version))

			evsourcing.Record(a, TakenOff{})
			require.NoError(t, newAircraft(store, nil).Save(t.Context(), a), "the aggregate may be used further")
		})
	}
}

func TestTransactionWithoutAnID(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	for _, m := range []mode{modes[0], modes[2]} {
		a, err := m.run(repo, t.Context(), "", record(TakenOff{}))
		require.NoError(t, err)
		_, err = uuid.Parse(a.ID())
		require.NoError(t, err)
		assert.Len(t, history(t, store, a.ID()), 1)
	}
	a, err := repo.Update(t.Context(), "", record(TakenOff{}))
	require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
	assert.Nil(t, a)
	ours := newAircraft(store, &evsourcing.RepositoryOptions{NewID: func() string { return "ours" }})
	a, err = ours.Create(t.Context(), "", record(TakenOff{}))
	require.NoError(t, err)
	assert.Equal(t, "ours", a.ID())
}

func TestTransactionRefusesBadInput(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		spy := newSpyStore()
		repo := newAircraft(spy, nil)
		called := func(*Aircraft) error {
			t.Error("the function is called")
			return nil
		}
		a, err := m.run(repo, t.Context(), "DM2018", nil)
		require.EqualError(t, err, "evsourcing: transaction on aircraft/DM2018: the function is nil", m.name)
		assert.Nil(t, a)
		for name, what := range badNames() {
			a, err = m.run(repo, t.Context(), "DM2018", called, evsourcing.CommandID(name))
			require.EqualError(t, err, "evsourcing: transaction on aircraft/DM2018: the command ID "+what, m.name)
			assert.Nil(t, a)
			if name != "" {
				a, err = m.run(repo, t.Context(), name, called)
				require.ErrorIs(t, err, evsourcing.ErrInvalidStream, m.name)
				require.ErrorContains(t, err, what)
				assert.Nil(t, a)
			}
		}
		assert.Zero(t, spy.appends.Load()+spy.loads.Load(), "no I/O")
	}
}

func TestTransactionThatRecordsNothing(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	given(t, spy.EventStore, "DM2018", Landed{Airport: "CDG"})
	repo := newAircraft(spy, nil)
	nothing := func(*Aircraft) error { return nil }
	for name, id := range map[string]string{"Create": "DM2019", "Update": "DM2018", "CreateOrUpdate": "DM2018"} {
		for _, m := range modes {
			if m.name == name {
				a, err := m.run(repo, t.Context(), id, nothing)
				require.NoError(t, err)
				assert.Equal(t, id, a.ID())
			}
		}
	}
	assert.Zero(t, spy.appends.Load())
}

func TestTransactionReturnsItsFunctionsErrorAsItIs(t *testing.T) {
	t.Parallel()
	for _, own := range []error{
		ErrOnGround,
		fmt.Errorf("ours: %w", evsourcing.ErrConflict), &evsourcing.ConflictError{}, evsourcing.ErrConflict,
		fmt.Errorf("ours: %w", evsourcing.ErrUncertain), fmt.Errorf("ours: %w", evsourcing.ErrDuplicateEvent),
		fmt.Errorf("ours: %w", evsourcing.ErrNotPublished), fmt.Errorf("ours: %w", evsourcing.ErrClosed),
		fmt.Errorf("ours: %w", evsourcing.ErrNotFound), fmt.Errorf("ours: %w", context.Canceled),
	} {
		for _, m := range modes {
			for _, opts := range [][]evsourcing.TxOption{nil, {evsourcing.CommandID("command")}} {
				spy := newSpyStore()
				var log logLines
				id := "DM2018"
				if m.name == "Create" {
					id = "DM2019"
				}
				given(t, spy.EventStore, "DM2018", TakenOff{})
				calls := 0
				a, err := m.run(newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()}), t.Context(), id, func(a *Aircraft) error {
					calls++
					evsourcing.Record(a, Landed{Airport: "CDG"})
					return own
				}, opts...)
				require.True(t, err == own, "%s: got %v, want the very error %v", m.name, err, own)
				assert.Nil(t, a)
				assert.Equal(t, 1, calls)
				assert.Zero(t, spy.appends.Load(), "nothing is stored")
				assert.Empty(t, log.lines(t), "a refusal is no interruption")
			}
		}
	}
}

// Each of many writers reads a number and stores the next. None is lost.
func TestRacingUpdatesAddUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const writers, rounds = 8, 10
		store := evsourcing.NewMemoryStore()
		given(t, store, "DM2018", Landed{Airport: "0"})
		var wg sync.WaitGroup
		for w := range writers {
			repo := newAircraft(store, &evsourcing.RepositoryOptions{MaxAttempts: 10_000})
			wg.Go(func() {
				for range rounds {
					_, err := modes[1+w%2].run(repo, t.Context(), "DM2018", func(a *Aircraft) error {
						n, err := strconv.Atoi(a.Airport)
						evsourcing.Record(a, Landed{Airport: strconv.Itoa(n + 1)})
						assert.Len(t, a.Changes(), 1, "nothing of the attempt before")
						return err
					})
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
		a, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(writers*rounds), a.Airport)
		assert.Equal(t, uint64(writers*rounds+1), a.Version())
	})
}

func TestConflictStartsOverFromAFreshLoad(t *testing.T) {
	t.Parallel()
	for _, m := range modes[1:] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				given(t, store, "DM2018", TakenOff{})
				var seen []*Aircraft
				start := time.Now()
				a, err := m.run(newAircraft(store, nil), t.Context(), "DM2018", func(a *Aircraft) error {
					seen = append(seen, a)
					assert.Empty(t, a.Changes())
					assert.Equal(t, len(seen)-1, a.Hours, "what others stored, and nothing of the failed attempt")
					if len(seen) < 3 {
						given(t, store, "DM2018", &Inspected{Hours: 1})
					}
					evsourcing.Record(a, &Inspected{Hours: 100})
					return nil
				})
				require.NoError(t, err)
				assert.Len(t, seen, 3)
				assert.NotSame(t, seen[0], seen[1])
				assert.Same(t, seen[2], a)
				assert.Equal(t, 102, a.Hours)
				assert.Equal(t, uint64(4), a.Version())
				// 2 to 4 ms after the first, 4 to 8 ms after the second.
				assert.GreaterOrEqual(t, time.Since(start), 6*time.Millisecond)
				assert.LessOrEqual(t, time.Since(start), 12*time.Millisecond)
			})
		})
	}
}

func TestCreateOrUpdateTriesAgainWhenAnotherCreates(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	calls := 0
	a, err := newAircraft(store, nil).CreateOrUpdate(t.Context(), "DM2018", func(a *Aircraft) error {
		if calls++; calls == 1 {
			assert.Zero(t, a.Version())
			given(t, store, "DM2018", TakenOff{})
		}
		return evsourcing.Execute(a, func(a *Aircraft) (evsourcing.EventOf[*Aircraft], error) {
			return &Inspected{Hours: calls}, nil
		})
	})
	require.NoError(t, err)
	assert.Equal(t, 2, a.Hours)
	assert.True(t, a.Flying)
}

func TestCreateNeverTriesAgain(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	calls := 0
	a, err := newAircraft(spy, nil).Create(t.Context(), "DM2018", func(a *Aircraft) error {
		calls++
		given(t, spy.EventStore, "DM2018", TakenOff{})
		evsourcing.Record(a, TakenOff{})
		return nil
	})
	var conflict *evsourcing.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, uint64(1), conflict.Actual)
	assert.Nil(t, a)
	assert.Equal(t, 1, calls)
	assert.Equal(t, int64(1), spy.appends.Load())
}

func TestMaxAttemptsIsHonoured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[int]int{-1: 3, 0: 3, 1: 1, 2: 2, 30: 30} {
			conflict := &evsourcing.ConflictError{Stream: aircraftStream("DM2018"), Expected: 1, Actual: 2}
			spy := newSpyStore()
			_, err := newAircraft(spy, nil).Create(t.Context(), "DM2018", record(TakenOff{}))
			require.NoError(t, err)
			spy.appends.Store(0)
			spy.always(func(func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
				return evsourcing.AppendResult{}, conflict
			})
			repo := newAircraft(spy, &evsourcing.RepositoryOptions{MaxAttempts: given})
			for _, m := range modes[1:] {
				spy.appends.Store(0)
				calls := 0
				start := time.Now()
				a, err := m.run(repo, t.Context(), "DM2018", func(a *Aircraft) error {
					calls++
					evsourcing.Record(a, Landed{})
					return nil
				})
				require.Same(t, conflict, err, "the last conflict")
				assert.Nil(t, a)
				assert.Equal(t, want, calls)
				assert.Equal(t, int64(want), spy.appends.Load())
				assert.Less(t, time.Since(start), time.Duration(want)*100*time.Millisecond, "a pause is 100 ms at most")
			}
		}
	})
}

func TestOtherErrorsOfTheStoreEndATransaction(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		spy := newSpyStore().always(failed)
		given(t, spy.EventStore, "DM2018", TakenOff{})
		calls := 0
		a, err := m.run(newAircraft(spy, nil), t.Context(), "DM2018", func(a *Aircraft) error {
			calls++
			evsourcing.Record(a, Landed{})
			return nil
		})
		require.ErrorIs(t, err, errDisk)
		assert.Nil(t, a)
		assert.Equal(t, 1, calls)
		assert.Equal(t, int64(1), spy.appends.Load())
	}
}

// When an outcome is uncertain, the append is repeated, and never the function.
func TestUncertainOutcomeRepeatsTheAppendAlone(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]answer{
		"reply lost":                  {replyLost},
		"reply lost twice":            {replyLost, replyLost},
		"request lost":                {requestLost},
		"request lost twice":          {requestLost, requestLost},
		"request, then reply lost":    {requestLost, replyLost},
		"request lost, then an error": {requestLost, failed},
	} {
		for _, m := range modes {
			t.Run(m.name+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					bus, spy := &recorder{}, newSpyStore()
					if m.name != "Create" {
						given(t, spy.EventStore, "DM2018", TakenOff{})
					}
					version := uint64(len(history(t, spy, "DM2018")))
					var log logLines
					calls := 0
					repo := newAircraft(spy.script(answers...), &evsourcing.RepositoryOptions{Bus: bus, Logger: log.logger()})
					a, err := m.run(repo, t.Context(), "DM2018", func(a *Aircraft) error {
						calls++
						evsourcing.Record(a, Landed{Airport: "CDG"}, Landed{Airport: "ORY"})
						return nil
					})
					require.NoError(t, err)
					assert.Equal(t, 1, calls)
					assert.Equal(t, version+2, a.Version())
					assert.True(t, a.Saved())
					assert.Len(t, history(t, spy, "DM2018"), int(version)+2, "stored once")
					assert.Equal(t, []uint64{version + 1, version + 2}, bus.versions(), "published once")
					assert.Equal(t, int64(len(answers)+1), spy.appends.Load())
					assert.Empty(t, log.lines(t))
				})
			})
		}
	}
}

// A conflict after an uncertain outcome proves that nothing had been stored.
func TestUncertainOutcomeAndThenAConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus, spy := &recorder{}, newSpyStore()
		given(t, spy.EventStore, "DM2018", TakenOff{})
		spy.script(requestLost, before(func() { given(t, spy.EventStore, "DM2018", &Inspected{Hours: 1}) }, stored))
		calls := 0
		a, err := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus}).Update(t.Context(), "DM2018", func(a *Aircraft) error {
			calls++
			evsourcing.Record(a, &Inspected{Hours: 10 * (a.Hours + 1)})
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, 2, calls, "it started over")
		assert.Equal(t, 21, a.Hours)
		assert.Equal(t, []string{"taken_off", "inspected", "inspected"}, topicsOf(history(t, spy, "DM2018")))
		assert.Equal(t, []uint64{3}, bus.versions())
	})
}

func TestUncertainForEver(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]answer{"reply lost": replyLost, "request lost": requestLost} {
		for _, m := range modes {
			t.Run(m.name+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					bus, spy := &recorder{}, newSpyStore()
					if m.name != "Create" {
						given(t, spy.EventStore, "DM2018", TakenOff{})
					}
					var log logLines
					calls := 0
					repo := newAircraft(spy.always(lost), &evsourcing.RepositoryOptions{Bus: bus, MaxAttempts: 5, Logger: log.logger()})
					a, err := m.run(repo, t.Context(), "DM2018", func(a *Aircraft) error {
						calls++
						evsourcing.Record(a, Landed{})
						return nil
					})
					require.ErrorIs(t, err, evsourcing.ErrUncertain)
					require.ErrorContains(t, err, "aircraft/DM2018")
					assert.Nil(t, a)
					assert.Equal(t, 1, calls)
					assert.Equal(t, int64(5), spy.appends.Load())
					assert.Empty(t, bus.got())
					assert.Empty(t, log.lines(t), "nobody knows that nothing was stored")
				})
			})
		}
	}
}

func TestUncertainOutcomeAndTheContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logLines
		ctx, cancel := context.WithCancel(t.Context())
		spy := newSpyStore().script(afterwards(cancel, replyLost))
		repo := newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()})
		a, err := repo.Create(ctx, "DM2018", record(TakenOff{}))
		require.ErrorIs(t, err, evsourcing.ErrUncertain, "which matters more than why it was not repeated")
		assert.Nil(t, a)
		assert.Empty(t, log.lines(t))
	})
}

func TestTransactionsMayNest(t *testing.T) {
	t.Parallel()
	repo := newAircraft(evsourcing.NewMemoryStore(), nil)
	outer, err := repo.Create(t.Context(), "DM2018", func(a *Aircraft) error {
		inner, err := repo.Create(t.Context(), "DM2019", record(TakenOff{}))
		if err != nil {
			return err
		}
		evsourcing.Record(a, Landed{Airport: inner.ID()})
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, "DM2019", outer.Airport)
}
