package evsourcing_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// requireCut checks that one transaction on DM2018 was cut short, and says why.
func requireCut(t *testing.T, log *logLines, transaction, unsaved int, reason string) {
	t.Helper()
	lines := log.lines(t)
	require.Len(t, lines, 1, "one warning")
	line := lines[0]
	assert.Equal(t, "WARN", line["level"])
	assert.Contains(t, line["msg"], "cut short")
	assert.Equal(t, "aircraft", line["aggregate_type"])
	assert.Equal(t, "DM2018", line["aggregate_id"])
	assert.EqualValues(t, transaction, line["transaction"])
	assert.EqualValues(t, unsaved, line["unsaved_changes"])
	assert.Contains(t, line["reason"], reason)
}

// recordThen records a landing and then calls then.
func recordThen(then func()) func(*Aircraft) error {
	return func(a *Aircraft) error {
		evsourcing.Record(a, Landed{Airport: "CDG"})
		then()
		return nil
	}
}

func TestContextThatEndsCutsATransactionShort(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for name, test := range map[string]struct {
					fn      func(ctx context.Context, cancel func()) func(*Aircraft) error
					unsaved int
				}{
					"while the function runs": {func(_ context.Context, cancel func()) func(*Aircraft) error {
						return recordThen(cancel)
					}, 1},
					"and the function returns the context's error": {func(ctx context.Context, cancel func()) func(*Aircraft) error {
						return func(a *Aircraft) error {
							evsourcing.Record(a, TakenOff{}, Landed{})
							cancel()
							return fmt.Errorf("ours: %w", ctx.Err())
						}
					}, 2},
				} {
					spy := newSpyStore()
					if m.name != "Create" {
						given(t, spy, "DM2018", TakenOff{})
					}
					before := history(t, spy, "DM2018")
					spy.appends.Store(0)
					var log logLines
					repo := newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()})
					ctx, cancel := context.WithCancel(t.Context())
					a, err := m.run(repo, ctx, "DM2018", test.fn(ctx, cancel))
					require.ErrorIs(t, err, context.Canceled, name)
					assert.Nil(t, a)
					requireCut(t, &log, 1, test.unsaved, "context canceled")
					assert.Zero(t, spy.appends.Load())
					assert.Equal(t, before, history(t, spy, "DM2018"))
				}
			})
		})
	}
}

func TestContextThatHasEndedCutsATransactionShort(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{})
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	var log logLines
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Logger: log.logger()})
	a, err := repo.Update(ctx, "DM2018", record(Landed{}))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Nil(t, a)
	requireCut(t, &log, 1, 0, "context deadline exceeded")
	assert.Len(t, history(t, store, "DM2018"), 1)
}

func TestContextThatEndsBetweenAttemptsCutsATransactionShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spy := newSpyStore()
		given(t, spy.EventStore, "DM2018", TakenOff{})
		ctx, cancel := context.WithCancel(t.Context())
		spy.script(before(func() {
			given(t, spy.EventStore, "DM2018", TakenOff{})
		}, afterwards(cancel, stored)))
		var log logLines
		a, err := newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()}).Update(ctx, "DM2018", record(Landed{}))
		require.ErrorIs(t, err, context.Canceled)
		assert.Nil(t, a)
		assert.Len(t, log.lines(t), 1)
		assert.Len(t, history(t, spy, "DM2018"), 2)
	})
}

// The store can't be talked out of an append that has begun, and says how it
// went.
func TestAppendThatHasBegunCompletes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(repo *evsourcing.Repository[Aircraft], cancel func()){
			"when the context ends": func(_ *evsourcing.Repository[Aircraft], cancel func()) { cancel() },
			"when Close gives up": func(repo *evsourcing.Repository[Aircraft], _ func()) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := repo.Close(ctx)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "aircraft/DM2018 (transaction 1, for 1s)")
			},
		} {
			appended := newGate()
			spy := newSpyStore().script(afterwards(appended.pass, stored))
			bus := &recorder{}
			var log logLines
			repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus, Logger: log.logger()})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				a, err := repo.Create(ctx, "DM2018", record(Landed{Airport: "CDG"}))
				assert.NoError(t, err, name)
				assert.Equal(t, uint64(1), a.Version(), name)
			}()
			<-appended.arrived
			end(repo, cancel)
			close(appended.open)
			<-done
			cancel()
			assert.Empty(t, log.lines(t), name)
			assert.Equal(t, []uint64{1}, bus.versions(), name)
			assert.NoError(t, repo.Close(t.Context()), name)
		}
	})
}

func TestPanicCutsATransactionShortAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		store := evsourcing.NewMemoryStore()
		if m.name != "Create" {
			given(t, store, "DM2018", TakenOff{})
		}
		before := headOf(t, store)
		var log logLines
		repo := newAircraft(store, &evsourcing.RepositoryOptions{Logger: log.logger()})
		assert.PanicsWithError(t, errDisk.Error(), func() {
			_, _ = m.run(repo, t.Context(), "DM2018", recordThen(func() { panic(errDisk) }), evsourcing.CommandID("command"))
		}, m.name)
		requireCut(t, &log, 1, 1, "panic")
		assert.Equal(t, "command", log.lines(t)[0]["command_id"])
		assert.Equal(t, before, headOf(t, store))
		require.NoError(t, repo.Close(t.Context()), "it does not run any more")
	}
}

func TestGoexitCutsATransactionShort(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	var log logLines
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Logger: log.logger()})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = repo.Create(t.Context(), "DM2018", recordThen(runtime.Goexit))
		t.Error("Goexit has returned")
	})
	wg.Wait()
	requireCut(t, &log, 1, 1, "Goexit")
	assert.Zero(t, headOf(t, store))
	require.NoError(t, repo.Close(t.Context()))
}

func TestPanicInASecondAttemptCutsATransactionShort(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{})
	var log logLines
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Logger: log.logger()})
	calls := 0
	assert.Panics(t, func() {
		_, _ = repo.Update(t.Context(), "DM2018", recordThen(func() {
			if calls++; calls == 2 {
				panic("again")
			}
			given(t, store, "DM2018", TakenOff{})
		}))
	})
	requireCut(t, &log, 1, 1, "panic")
}

func TestTransactionsAreNumbered(t *testing.T) {
	t.Parallel()
	var log logLines
	repo := newAircraft(evsourcing.NewMemoryStore(), &evsourcing.RepositoryOptions{Logger: log.logger()})
	for range 3 {
		assert.Panics(t, func() { _, _ = repo.Create(t.Context(), "DM2018", func(*Aircraft) error { panic("no") }) })
	}
	var numbers []any
	for _, line := range log.lines(t) {
		numbers = append(numbers, line["transaction"])
	}
	assert.Equal(t, []any{1.0, 2.0, 3.0}, numbers)
}

func TestCloseRefusesNewWork(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	given(t, spy, "DM2018", TakenOff{})
	spy.appends.Store(0)
	var log logLines
	repo := newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()})
	a := repo.New("DM2019")
	require.NoError(t, repo.Close(t.Context()))
	require.NoError(t, repo.Close(t.Context()), "twice")
	for _, m := range modes {
		got, err := m.run(repo, t.Context(), "DM2018", func(*Aircraft) error {
			t.Error("the function is called")
			return nil
		})
		require.ErrorIs(t, err, evsourcing.ErrClosed)
		require.ErrorContains(t, err, "aircraft/DM2018")
		assert.Nil(t, got)
	}
	require.NoError(t, repo.Save(t.Context(), a), "no changes")
	evsourcing.Record(a, TakenOff{})
	err := repo.Save(t.Context(), a)
	require.ErrorIs(t, err, evsourcing.ErrClosed)
	require.ErrorContains(t, err, "aircraft/DM2019")
	assert.Len(t, a.Changes(), 1)
	assert.Zero(t, spy.appends.Load())
	assert.Empty(t, log.lines(t), "nothing had begun")

	_, err = repo.Load(t.Context(), "DM2018")
	require.NoError(t, err, "reading goes on")
	require.NoError(t, newAircraft(spy, nil).Save(t.Context(), a), "the store is not closed")
}

func TestCloseWaitsForWhatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		repo := newAircraft(evsourcing.NewMemoryStore(), nil)
		running, release := make(chan struct{}), make(chan struct{})
		done := make(chan error)
		go func() {
			_, err := repo.Create(t.Context(), "DM2018", recordThen(func() {
				close(running)
				<-release
			}))
			done <- err
		}()
		<-running
		closed := make(chan error, 3)
		for range 3 { // concurrently
			go func() { closed <- repo.Close(t.Context()) }()
		}
		synctest.Wait()
		assert.Empty(t, closed, "they wait")
		_, err := repo.Create(t.Context(), "DM2019", record(TakenOff{}))
		require.ErrorIs(t, err, evsourcing.ErrClosed)
		close(release)
		require.NoError(t, <-done, "it is not disturbed")
		for range 3 {
			require.NoError(t, <-closed)
		}
	})
}

func TestCloseWaitsForASave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		appending := newGate()
		repo := newAircraft(newSpyStore().script(before(appending.pass, stored)), nil)
		a := &Aircraft{}
		evsourcing.Record(a, TakenOff{})
		saved := make(chan error, 1)
		go func() { saved <- repo.Save(t.Context(), a) }()
		<-appending.arrived
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := repo.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "aircraft/"+a.ID()+" (transaction 1)")
		close(appending.open)
		require.NoError(t, <-saved, "its append had begun")
		require.NoError(t, repo.Close(t.Context()))
	})
}

func TestCloseThatGivesUpListsWhatRunsAndLetsItFail(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]func() *evsourcing.RepositoryOptions{
		"without a bus": func() *evsourcing.RepositoryOptions { return &evsourcing.RepositoryOptions{} },
		"with a bus": func() *evsourcing.RepositoryOptions {
			return &evsourcing.RepositoryOptions{Bus: evsourcing.NewEventBus(nil)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 25
				spy := newSpyStore()
				var log logLines
				o := opts()
				o.Logger = log.logger()
				repo := newAircraft(spy, o)
				release := make(chan struct{})
				done := make(chan error, n)
				for i := range n {
					go func() {
						a, err := repo.Create(t.Context(), fmt.Sprintf("DM%d", i), recordThen(func() { <-release }))
						assert.Nil(t, a)
						done <- err
					}()
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				err := repo.Close(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, `close the repository of "aircraft"`)
				require.ErrorContains(t, err, "25 still running: aircraft/DM0 (transaction 1, for 1.5s), aircraft/DM1 (transaction 2, for 1.5s), ")
				require.ErrorContains(t, err, "aircraft/DM19 (transaction 20, for 1.5s), and 5 more")
				assert.NotContains(t, err.Error(), "DM20", "the list has an end")

				close(release)
				for range n {
					err := <-done
					require.ErrorIs(t, err, evsourcing.ErrClosed)
					require.NotErrorIs(t, err, context.Canceled, "it was not the caller who gave up")
					require.ErrorContains(t, err, "aircraft/DM")
				}
				assert.Zero(t, spy.appends.Load())
				lines := log.lines(t)
				assert.Len(t, lines, n, "one warning each")
				for _, line := range lines {
					assert.Contains(t, line["reason"], "closed")
					assert.EqualValues(t, 1, line["unsaved_changes"])
				}
				require.NoError(t, repo.Close(t.Context()), "nothing is left")
			})
		})
	}
}

func TestCloseThatGivesUpStopsASaveThatHasNotBegunItsAppend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reacting := newGate()
		bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: 1})
		reactTo(t, bus, evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			reacting.pass()
			return nil
		}))
		spy := newSpyStore()
		repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
		_, err := repo.Create(t.Context(), "DM1", record(Landed{}))
		require.NoError(t, err)
		<-reacting.arrived
		a := &Aircraft{}
		evsourcing.Record(a, Landed{})
		saved := make(chan error, 1)
		go func() { saved <- repo.Save(t.Context(), a) }()
		synctest.Wait() // it waits for room
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = repo.Close(ctx)
		require.ErrorContains(t, err, "1 still running: aircraft/"+a.ID()+" (transaction 2)")
		assert.NotEmpty(t, a.ID())
		require.ErrorIs(t, <-saved, evsourcing.ErrClosed) // though there is no room yet
		close(reacting.open)
		assert.Len(t, a.Changes(), 1)
		assert.Equal(t, int64(1), spy.appends.Load())
		require.NoError(t, bus.Close(t.Context()))
	})
}

// Close gives up between two attempts: the second does not begin.
func TestCloseThatGivesUpStopsATransactionThatStartsOver(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(closeNow func()) (first answer){
		"while the conflict is on its way": func(closeNow func()) answer { return afterwards(closeNow, stored) },
		"in the pause afterwards": func(closeNow func()) answer {
			return func(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
				time.AfterFunc(time.Millisecond, closeNow) // pauses have 2 ms or more
				return next()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				spy := newSpyStore()
				given(t, spy.EventStore, "DM2018", TakenOff{})
				var log logLines
				repo := newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()})
				calls := 0
				gaveUp := make(chan error, 1)
				spy.script(before(func() { given(t, spy.EventStore, "DM2018", TakenOff{}) }, step(func() {
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					gaveUp <- repo.Close(ctx)
				})))
				_, err := repo.Update(t.Context(), "DM2018", func(a *Aircraft) error {
					calls++
					evsourcing.Record(a, Landed{})
					return nil
				})
				require.ErrorIs(t, err, evsourcing.ErrClosed)
				require.ErrorContains(t, <-gaveUp, "aircraft/DM2018 (transaction 1")
				assert.Equal(t, 1, calls)
				assert.Equal(t, int64(1), spy.appends.Load(), "after Close has given up, no append begins")
				assert.Len(t, log.lines(t), 1)
			})
		})
	}
}

// What the function decides counts, also after Close has given up.
func TestCloseThatGivesUpLeavesTheFunctionsErrorAlone(t *testing.T) {
	t.Parallel()
	for _, own := range []error{ErrOnGround, nil} {
		var log logLines
		repo := newAircraft(evsourcing.NewMemoryStore(), &evsourcing.RepositoryOptions{Logger: log.logger()})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := repo.Create(t.Context(), "DM2018", func(*Aircraft) error {
			assert.Error(t, repo.Close(ctx), "it waits for itself")
			return own // nothing to store
		})
		assert.Equal(t, own, err)
		assert.Empty(t, log.lines(t))
	}
}

// An append whose outcome is uncertain has begun: it is repeated even if Close
// gives up meanwhile.
func TestCloseThatGivesUpLetsAnUncertainAppendBeRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spy := newSpyStore()
		var log logLines
		repo := newAircraft(spy, &evsourcing.RepositoryOptions{Logger: log.logger()})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		spy.script(afterwards(func() { assert.Error(t, repo.Close(ctx)) }, replyLost))
		a, err := repo.Create(t.Context(), "DM2018", record(Landed{}))
		require.NoError(t, err)
		assert.Equal(t, uint64(1), a.Version())
		assert.Empty(t, log.lines(t))
	})
}

// The last transaction ends at the moment when Close runs out of time. Close may
// see the one or the other first, but does not complain about nothing.
func TestCloseNeverComplainsAboutNothing(t *testing.T) {
	t.Parallel()
	for range 50 {
		repo := newAircraft(evsourcing.NewMemoryStore(), nil)
		running, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_, err := repo.Create(t.Context(), "DM2018", func(*Aircraft) error {
				close(running)
				<-release
				return nil
			})
			assert.NoError(t, err)
		}()
		<-running
		require.NoError(t, repo.Close(&lateContext{Context: t.Context(), before: func() {
			close(release)
			<-ended
		}}))
	}
}

// lateContext has ended when somebody begins to wait for its end, and before
// that happens, calls before.
type lateContext struct {
	context.Context
	before func()
}

func (c *lateContext) Done() <-chan struct{} {
	c.before()
	done := make(chan struct{})
	close(done)
	return done
}

func (c *lateContext) Err() error { return context.DeadlineExceeded }

// Not parallel, because it replaces the default logger.
func TestLoggerIsTheDefaultOneIfNil(t *testing.T) {
	var log logLines
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(log.logger())
	repo := newAircraft(evsourcing.NewMemoryStore(), nil)
	assert.Panics(t, func() { _, _ = repo.Create(t.Context(), "DM2018", func(*Aircraft) error { panic("no") }) })
	requireCut(t, &log, 1, 0, "panic")
}
