package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// When and how snapshots are taken. A synctest bubble ends only when all of its
// goroutines have.

// versions makes a shelf note the versions of the snapshots saved.
func (s *shelf) versions() func() []uint64 {
	var mu sync.Mutex
	var all []uint64
	s.save = func(_ context.Context, s evsourcing.Snapshot, next func() error) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s.Version)
		return next()
	}
	return func() []uint64 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestSnapshotsAreTakenEverySoManyEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ every, events, step, want int }{
		{1, 5, 1, 5}, {2, 9, 1, 4}, {0, 350, 1, 3}, {-1, 350, 1, 3}, {100, 350, 7, 3}, {10, 9, 9, 0}, {10, 100, 50, 2},
	} {
		t.Run(fmt.Sprintf("every %d, %d events by %d", test.every, test.events, test.step), func(t *testing.T) {
			t.Parallel()
			for _, how := range []string{"by Update", "by Save of one aggregate"} {
				synctest.Test(t, func(t *testing.T) {
					store, on := evsourcing.NewMemoryStore(), newShelf()
					versions := on.versions()
					repo := newAircraft(store, snapshotsEvery(test.every, on))
					a := repo.New("DM2018")
					for n := 0; n < test.events; n += test.step {
						step := hours(min(test.step, test.events-n))
						if how == "by Update" {
							_, err := repo.CreateOrUpdate(t.Context(), "DM2018", record(step...))
							require.NoError(t, err)
						} else {
							evsourcing.Record(a, step...)
							require.NoError(t, repo.Save(t.Context(), a))
						}
						synctest.Wait()
					}
					every := uint64(test.every)
					if test.every <= 0 {
						every = 100
					}
					got := versions()
					require.Len(t, got, test.want, how)
					last := uint64(0)
					for _, version := range got {
						assert.GreaterOrEqual(t, version-last, every)
						assert.Less(t, version-last, every+uint64(test.step))
						last = version
					}
				})
			}
		})
	}
}

func TestSnapshotPolicyDecides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, on := evsourcing.NewMemoryStore(), newShelf()
		versions := on.versions()
		var asked []evsourcing.SnapshotStatus
		repo := newAircraft(store, &evsourcing.RepositoryOptions{
			Snapshots: on, SnapshotEvery: 1, Logger: quiet,
			SnapshotPolicy: func(s evsourcing.SnapshotStatus) bool {
				asked = append(asked, s)
				return s.Version == 2 || s.Version == 5
			},
		})
		for range 6 {
			_, err := repo.CreateOrUpdate(t.Context(), "DM2018", record(hours(1)...))
			require.NoError(t, err)
			synctest.Wait()
		}
		assert.Equal(t, []uint64{2, 5}, versions())
		var want []evsourcing.SnapshotStatus
		for _, v := range [][2]uint64{{1, 0}, {1, 0}, {2, 0}, {2, 2}, {3, 2}, {3, 2}, {4, 2}, {4, 2}, {5, 2}, {5, 5}, {6, 5}} {
			want = append(want, evsourcing.SnapshotStatus{Stream: aircraftStream("DM2018"), Version: v[0], Snapshot: v[1]})
		}
		assert.Equal(t, want, asked, "after each load and each save")

		asked = nil
		_, err := repo.LoadAt(t.Context(), "DM2018", 5)
		require.NoError(t, err)
		require.NoError(t, repo.Save(t.Context(), repo.New("DM2019")))
		_, err = repo.Create(t.Context(), "DM2018", record(hours(1)...))
		require.ErrorIs(t, err, evsourcing.ErrConflict)
		assert.Empty(t, asked, "nothing was saved or loaded")
	})
}

func TestPanickingSnapshotPolicyFailsNothing(t *testing.T) {
	t.Parallel()
	lines := &logLines{}
	repo := newAircraft(evsourcing.NewMemoryStore(), &evsourcing.RepositoryOptions{
		Snapshots: newShelf(), Logger: lines.logger(), SnapshotPolicy: func(evsourcing.SnapshotStatus) bool { panic("undecided") },
	})
	_, err := repo.Create(t.Context(), "DM2018", record(TakenOff{}))
	require.NoError(t, err)
	logged := lines.lines(t)
	require.Len(t, logged, 1)
	assert.Contains(t, logged[0]["reason"], "panic: undecided")
	assert.Equal(t, "evsourcing: snapshot policy failed", logged[0]["msg"])
}

// A snapshot that takes for ever delays nobody, and others wait for it, each
// stream once, up to a limit.
func TestSnapshotsAreTakenBehindTheCallersBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, on := evsourcing.NewMemoryStore(), newShelf()
		gate := newGate()
		var versions []string
		on.save = func(_ context.Context, s evsourcing.Snapshot, next func() error) error {
			gate.pass()
			versions = append(versions, fmt.Sprint(s.Stream.ID, " ", s.Version))
			return next()
		}
		repo := newAircraft(store, snapshotsEvery(1, on))
		began := time.Now()
		_, err := repo.Create(t.Context(), "first", record(hours(1)...))
		require.NoError(t, err)
		<-gate.arrived // and stays there
		const others = 1100
		for range others {
			_, err := repo.CreateOrUpdate(t.Context(), "busy", record(hours(1)...))
			require.NoError(t, err)
		}
		for range 3 {
			for i := range others {
				_, err := repo.CreateOrUpdate(t.Context(), fmt.Sprint(i), record(hours(1)...))
				require.NoError(t, err)
			}
		}
		_, err = repo.Update(t.Context(), "first", record(hours(1)...))
		require.NoError(t, err)
		assert.Equal(t, began, time.Now(), "nobody waited")
		gate.open <- struct{}{}
		go func() {
			for range gate.arrived {
				gate.open <- struct{}{}
			}
		}()
		require.NoError(t, repo.Close(t.Context()))
		close(gate.arrived)
		require.Len(t, versions, 1025, "the one that was held, and as many as may wait")
		assert.Equal(t, "first 1", versions[0])
		assert.Equal(t, "busy 1100", versions[1], "it took the room of one")
		for i, v := range versions[2:] {
			assert.Equal(t, fmt.Sprint(i, " 3"), v, "in order, each once, as it is when its turn comes")
		}
	})
}

// The stream moves on while its snapshot is taken.
func TestStreamAsksAgainWhileItsSnapshotIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, on := evsourcing.NewMemoryStore(), newShelf()
		gate := newGate()
		on.save = func(_ context.Context, _ evsourcing.Snapshot, next func() error) error {
			gate.pass()
			return next()
		}
		repo := newAircraft(store, snapshotsEvery(2, on))
		_, err := repo.Create(t.Context(), "DM2018", record(hours(2)...))
		require.NoError(t, err)
		<-gate.arrived
		loads, _ := on.calls()
		for range 3 { // asks for what is being taken
			_, err = repo.Load(t.Context(), "DM2018")
			require.NoError(t, err)
		}
		gate.open <- struct{}{}
		synctest.Wait()
		after, _ := on.calls()
		assert.Equal(t, loads+3, after, "the loads alone have looked for a snapshot")

		_, err = repo.Update(t.Context(), "DM2018", record(hours(2)...))
		require.NoError(t, err)
		<-gate.arrived
		_, err = repo.Update(t.Context(), "DM2018", record(hours(2)...))
		require.NoError(t, err)
		gate.open <- struct{}{}
		<-gate.arrived
		gate.open <- struct{}{}
		synctest.Wait()
		s, _ := on.on(t, "DM2018")
		assert.Equal(t, uint64(6), s.Version)
		require.NoError(t, repo.Close(t.Context()))
	})
}

// The caller goes on with its aggregate while a snapshot is taken: the race
// detector would tell if that were the same one.
func TestSnapshotDoesNotTouchTheCallersAggregate(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	repo := newAircraft(store, snapshotsEvery(1, on))
	a := repo.New("DM2018")
	for i := range 200 {
		evsourcing.Record(a, hours(3)...)
		require.NoError(t, repo.Save(t.Context(), a))
		a.Findings[0] = fmt.Sprint("unrecorded ", i)
		a.Airport = "unrecorded"
	}
	require.NoError(t, repo.Close(t.Context()))
	s, ok := on.on(t, "DM2018")
	require.True(t, ok)
	assert.NotContains(t, string(s.Data), "unrecorded")
	b, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
	require.NoError(t, err)
	c, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	equalAircraft(t, b, c)
}

// Whatever fails, the save has succeeded, one line says why there is no
// snapshot, other streams get theirs, and the stream itself is left alone for
// some time.
func TestFailedSnapshotsAreLoggedAndFailNothing(t *testing.T) {
	t.Parallel()
	saving := func(f func()) func(on *shelf) {
		return func(on *shelf) {
			on.save = func(_ context.Context, s evsourcing.Snapshot, next func() error) error {
				if s.Stream.ID == "bad" {
					f()
					return errDisk
				}
				return next()
			}
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(on *shelf)
		event   Booked
		says    string
	}{
		{"the state is not encoded", nil, Booked{Fail: "marshal fails"}, "*evsourcing_test.Ledger: encode the state: the disk is full"},
		{"encoding panics", nil, Booked{Fail: "marshal panics"}, "panic: out of paper"},
		{"the state does not survive", nil, Booked{Fail: "forgotten"}, "*evsourcing_test.Ledger: an unexported field is not the same after"},
		{"the store fails", saving(func() {}), Booked{}, "save the snapshot: the disk is full"},
		{"the store panics", saving(func() { panic("full") }), Booked{}, "panic: full"},
		{"the store calls Goexit", saving(runtime.Goexit), Booked{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, on := evsourcing.NewMemoryStore(), newShelf()
				if test.prepare != nil {
					test.prepare(on)
				}
				lines := &logLines{}
				opts := &evsourcing.RepositoryOptions{Snapshots: on, SnapshotEvery: 3, Logger: lines.logger()}
				repo := newLedger(store, opts)
				want := 0
				for version := uint64(3); version < 10; version++ {
					events := []Booked{test.event}
					if version == 3 {
						events = []Booked{test.event, test.event, test.event}
					}
					_, err := repo.CreateOrUpdate(t.Context(), "bad", book(events...))
					require.NoError(t, err)
					_, err = repo.Load(t.Context(), "bad")
					require.NoError(t, err)
					synctest.Wait()
					if version%3 == 0 && test.says != "" {
						want++
					}
					logged := lines.lines(t)
					require.Len(t, logged, want, "at %d", version)
					if want > 0 {
						assert.Contains(t, logged[want-1]["reason"], test.says)
						assert.Equal(t, "evsourcing: snapshot not taken", logged[want-1]["msg"])
						assert.Equal(t, "bad", logged[want-1]["aggregate_id"])
						assert.Equal(t, "WARN", logged[want-1]["level"])
					}
				}
				_, ok := on.on(t, "bad")
				assert.False(t, ok)
				_, err := repo.Create(t.Context(), "good", book(Booked{}, Booked{}, Booked{}))
				require.NoError(t, err)
				require.NoError(t, repo.Close(t.Context()))
				s, _ := on.on(t, "good")
				assert.Equal(t, uint64(3), s.Version)
			})
		})
	}
}

// An aggregate that can't be encoded now may be so later.
func TestSnapshotIsTakenOnceItCanBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, on := evsourcing.NewMemoryStore(), newShelf()
		repo := newLedger(store, snapshotsEvery(2, on))
		_, err := repo.Create(t.Context(), "L", book(Booked{}, Booked{Fail: "forgotten"}))
		require.NoError(t, err)
		synctest.Wait()
		_, ok := on.on(t, "L")
		assert.False(t, ok)
		for range 3 {
			_, err = repo.Update(t.Context(), "L", book(Booked{}))
			require.NoError(t, err)
			synctest.Wait()
		}
		s, ok := on.on(t, "L")
		assert.True(t, ok)
		assert.Equal(t, uint64(4), s.Version)
	})
}

// When snapshots can't be loaded, none is taken: it would cost a full replay.
func TestNoSnapshotIsTakenWhenTheStoreOfSnapshotsIsDown(t *testing.T) {
	t.Parallel()
	store, on := newSpyStore(), newShelf()
	given(t, store, "DM2018", hours(5)...)
	on.load = func(evsourcing.Snapshot, bool) (evsourcing.Snapshot, bool, error) {
		return evsourcing.Snapshot{}, false, errDisk
	}
	repo := newAircraft(store, snapshotsEvery(1, on))
	store.loads.Store(0)
	_, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	require.NoError(t, repo.Close(t.Context()))
	assert.Equal(t, int64(1), store.loads.Load())
	_, saves := on.calls()
	assert.Zero(t, saves)
}

// Gauge has what JSON does not always keep.
type Gauge struct {
	evsourcing.Base
	Values  []float64
	Recent  []float64
	Newest  *float64
	Names   []string `json:",omitempty"`
	Where   *Point
	Corner  *Point
	Corners map[string]*Point
	At      time.Time
}

type Measured struct {
	What string `json:"what"`
}

func (Measured) Topic() string { return "gauge.measured" }
func (e Measured) ApplyTo(g *Gauge) {
	g.Values = append(g.Values, float64(len(g.Values)))
	g.At = time.Date(2024, 2, 3, 4, 5, 6, 7, time.UTC)
	switch e.What {
	case "not a number":
		g.Values[0] = math.NaN()
	case "two slices of one array":
		g.Recent = g.Values[len(g.Values):]
		g.Values = g.Values[:len(g.Values):cap(g.Values)]
		g.Recent = append(g.Values[:1], 1)
	case "room behind a slice":
		all := make([]float64, 4)
		g.Values, g.Recent = all[:2], all[2:]
	case "slices side by side":
		all := make([]float64, 4)
		g.Values, g.Recent = all[:2:2], all[2:]
	case "a pointer into a slice":
		g.Newest = &g.Values[len(g.Values)-1]
	case "two pointers":
		g.Where = &Point{X: 1}
		g.Corner = g.Where
	case "two pointers, one in a map":
		g.Where = &Point{X: 1}
		g.Corners = map[string]*Point{"nw": g.Where}
	case "two pointers in a map":
		p := &Point{X: 1}
		g.Corners = map[string]*Point{"nw": p, "se": p}
	case "pointers to equal points":
		g.Corners = map[string]*Point{"nw": {}, "se": {}}
		g.Corner, g.Where = &Point{}, &Point{}
	case "an empty slice that is left out":
		g.Names = []string{}
	case "a time zone":
		g.At = g.At.In(time.FixedZone("CEST", 7200))
	case "a name that is not UTF-8":
		g.Names = []string{"\xff"}
	}
}

func TestStateIsSavedOnlyIfItSurvives(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, says string }{
		{"nothing special", ""},
		{"pointers to equal points", ""},
		{"slices side by side", ""},
		{"not a number", "encode the state: json: unsupported value: NaN"},
		{"two slices of one array", "the fields Values and Recent have memory in common"},
		{"room behind a slice", "the fields Values and Recent have memory in common"},
		{"a pointer into a slice", "the fields Values and Newest have memory in common"},
		{"two pointers", "the fields Where and Corner have memory in common"},
		{"two pointers, one in a map", "the fields Where and Corners have memory in common"},
		{"two pointers in a map", "the fields Corners and Corners have memory in common"},
		{"an empty slice that is left out", "the field Names is not the same"},
		{"a time zone", "the field At is not the same"},
		{"a name that is not UTF-8", "the field Names is not the same"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			on, lines := newShelf(), &logLines{}
			repo := evsourcing.NewRepository[Gauge]("aircraft", evsourcing.NewMemoryStore(), evsourcing.NewRegistry(Measured{}),
				&evsourcing.RepositoryOptions{Snapshots: on, SnapshotEvery: 2, Logger: lines.logger()})
			_, err := repo.Create(t.Context(), "G", func(g *Gauge) error {
				evsourcing.Record(g, Measured{}, Measured{What: test.name})
				return nil
			})
			require.NoError(t, err)
			require.NoError(t, repo.Close(t.Context()))
			_, ok := on.on(t, "G")
			assert.Equal(t, test.says == "", ok)
			logged := lines.lines(t)
			if test.says == "" {
				assert.Empty(t, logged)
				return
			}
			require.Len(t, logged, 1)
			assert.Contains(t, logged[0]["reason"], "*evsourcing_test.Gauge: ")
			assert.Contains(t, logged[0]["reason"], test.says)
		})
	}
}

func TestSavedButNotPublishedCountsForSnapshots(t *testing.T) {
	t.Parallel()
	on := newShelf()
	opts := snapshotsEvery(1, on)
	opts.Bus = &recorder{fail: errors.New("no")}
	repo := newAircraft(evsourcing.NewMemoryStore(), opts)
	_, err := repo.Create(t.Context(), "DM2018", record(TakenOff{}))
	require.ErrorIs(t, err, evsourcing.ErrNotPublished)
	require.NoError(t, repo.Close(t.Context()))
	_, ok := on.on(t, "DM2018")
	assert.True(t, ok)
}

func TestCloseWaitsForSnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		on := newShelf()
		on.save = func(ctx context.Context, _ evsourcing.Snapshot, next func() error) error {
			select {
			case <-time.After(time.Minute):
				return next()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		store := evsourcing.NewMemoryStore()
		repo := newAircraft(store, snapshotsEvery(1, on))
		for i := range 3 {
			_, err := repo.Create(t.Context(), fmt.Sprint(i), record(TakenOff{}))
			require.NoError(t, err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { assert.NoError(t, repo.Close(t.Context())) })
		}
		wg.Wait()
		assert.Equal(t, 3*time.Minute, time.Since(began))
		for i := range 3 {
			_, ok := on.on(t, fmt.Sprint(i))
			assert.True(t, ok)
		}
		require.NoError(t, repo.Close(t.Context()), "again")

		given(t, store, "0", Landed{})
		a, err := repo.Load(t.Context(), "0")
		require.NoError(t, err)
		assert.Equal(t, uint64(2), a.Version())
		synctest.Wait()
		_, saves := on.calls()
		assert.Equal(t, 3, saves, "a closed repository takes none")
	})
}

func TestCloseCutsSnapshotsShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		on, lines := newShelf(), &logLines{}
		on.save = func(ctx context.Context, _ evsourcing.Snapshot, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		}
		repo := newAircraft(evsourcing.NewMemoryStore(), &evsourcing.RepositoryOptions{Snapshots: on, SnapshotEvery: 1, Logger: lines.logger()})
		for i := range 3 {
			_, err := repo.Create(t.Context(), fmt.Sprint(i), record(TakenOff{}))
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := repo.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, `evsourcing: close the repository of "aircraft": context deadline exceeded: snapshots are still being taken`)
		synctest.Wait()
		loads, saves := on.calls()
		assert.Equal(t, 1, loads, "those that waited are given up")
		assert.Equal(t, 1, saves)
		assert.Empty(t, lines.lines(t), "as the caller wanted")
		require.NoError(t, repo.Close(ctx), "by now it is done")

		_, err = repo.Load(t.Context(), "0")
		require.NoError(t, err)
		synctest.Wait()
		_, saves = on.calls()
		assert.Equal(t, 1, saves, "a closed repository takes none")
	})
}

// A transaction that Close waits for may still ask for a snapshot.
func TestCloseWaitsForTheSnapshotsOfTransactionsItWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		on := newShelf()
		repo := newAircraft(evsourcing.NewMemoryStore(), snapshotsEvery(1, on))
		go func() {
			_, err := repo.Create(t.Context(), "DM2018", func(a *Aircraft) error {
				<-time.After(time.Second)
				return record(TakenOff{})(a)
			})
			assert.NoError(t, err)
		}()
		synctest.Wait()
		require.NoError(t, repo.Close(t.Context()))
		_, ok := on.on(t, "DM2018")
		assert.True(t, ok)
	})
}
