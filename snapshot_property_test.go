package evsourcing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// Inventory is an aggregate with state of every shape that JSON keeps. Its Log
// depends on the order and number of all events.
type Inventory struct {
	evsourcing.Base
	Log     uint64
	Counts  map[string]int
	Shelves map[int][]*Item
	Front   *Item
	Recent  []string
	Seen    map[uuid.UUID]time.Time
	Grid    [2][]int
	Opened  bool `json:",omitempty"`
	Pointer
}

type Pointer struct{ At struct{ X, Y *int } }

type Item struct {
	Name  string
	Price float64
	Parts []Item
}

func (i *Inventory) Init() {
	i.Counts = map[string]int{"init": 1}
	i.Opened = true
}

type Stocked struct {
	What int    `json:"what"`
	Name string `json:"name"`
}

func (Stocked) Topic() string { return "inventory.stocked" }

func (e Stocked) ApplyTo(i *Inventory) {
	i.Log = i.Log*31 + uint64(e.What)
	shelf := e.What % 3
	switch e.What {
	case 0:
		i.Counts[e.Name]++
	case 1:
		if i.Shelves == nil {
			i.Shelves = map[int][]*Item{}
		}
		i.Shelves[shelf] = append(i.Shelves[shelf], &Item{Name: e.Name, Price: float64(i.Log%1000) / 7})
	case 2:
		for _, item := range i.Shelves[1] {
			item.Price *= 1.1
			item.Parts = append(item.Parts, Item{Name: e.Name})
		}
	case 3:
		i.Recent = append(i.Recent, e.Name)
		if len(i.Recent) > 3 {
			i.Recent = i.Recent[1:]
		}
	case 4:
		i.Recent = i.Recent[:0]
	case 5:
		i.Front = &Item{Name: e.Name}
	case 6:
		i.Front = nil
		i.Opened = !i.Opened
	case 7:
		if i.Seen == nil {
			i.Seen = map[uuid.UUID]time.Time{}
		}
		i.Seen[uuid.NewSHA1(uuid.Nil, []byte(e.Name))] = time.Unix(int64(i.Log%1e9), 123).UTC()
	case 8:
		i.Grid[i.Log%2] = append(i.Grid[i.Log%2], len(i.Recent))
	case 9:
		n := int(i.Log % 100)
		i.At.X, i.At.Y = &n, nil
	case 10:
		*i = Inventory{Counts: map[string]int{}, Log: i.Log}
	case 11:
		delete(i.Counts, e.Name)
	case 12: // state that no snapshot keeps, until it is assigned anew
		if len(i.Shelves[1]) > 0 {
			i.Front = i.Shelves[1][0]
		}
	}
}

func newInventory(store evsourcing.EventStore, opts *evsourcing.RepositoryOptions) *evsourcing.Repository[Inventory] {
	return evsourcing.NewRepository[Inventory]("aircraft", store, evsourcing.NewRegistry(Stocked{}), opts)
}

func stock(rnd *rand.Rand, n int) func(*Inventory) error {
	return func(i *Inventory) error {
		for range n {
			evsourcing.Record(i, Stocked{What: rnd.IntN(13), Name: string(rune('a' + rnd.IntN(5)))})
		}
		return nil
	}
}

// sameState compares the states, and the places in the store.
func sameState(t *testing.T, want, got *Inventory) {
	t.Helper()
	require.Equal(t, want.Version(), got.Version())
	require.Equal(t, want.Position(), got.Position())
	require.Equal(t, want.ID(), got.ID())
	w, g := *want, *got
	w.Base, g.Base = evsourcing.Base{}, evsourcing.Base{}
	require.Equal(t, w, g)
}

// Random events, policies and moments at which snapshots are taken, lost, spoilt
// and rolled back, restarts, and past versions: every load gives what a full
// replay gives.
func TestLoadsBySnapshotAreFullReplays(t *testing.T) {
	t.Parallel()
	rounds := 200
	if testing.Short() {
		rounds = 40
	}
	var taken, used sync.Map
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 1))
			store, on := &readStore{EventStore: evsourcing.NewMemoryStore()}, newShelf()
			plain := newInventory(store.EventStore, nil)
			var spoil atomic.Value
			spoil.Store(func(*evsourcing.Snapshot) {})
			on.load = func(s evsourcing.Snapshot, ok bool) (evsourcing.Snapshot, bool, error) {
				spoil.Load().(func(*evsourcing.Snapshot))(&s)
				return s, ok, nil
			}
			on.save = func(_ context.Context, s evsourcing.Snapshot, next func() error) error {
				taken.Store([2]uint64{uint64(seed), s.Version}, true)
				return next()
			}
			newRepo := func() *evsourcing.Repository[Inventory] {
				opts := snapshotsEvery(1+rnd.IntN(20), on)
				if rnd.IntN(2) == 0 {
					rate := 1 + rnd.IntN(5)
					opts.SnapshotPolicy = func(evsourcing.SnapshotStatus) bool { return rnd.IntN(rate) == 0 }
				}
				if rnd.IntN(10) == 0 {
					opts.SnapshotVersion = "another"
				}
				return newInventory(store, opts)
			}
			repo := newRepo()
			var kept *Inventory // an aggregate that is saved many times
			for range 60 {
				id := []string{"A", "B"}[rnd.IntN(2)]
				switch rnd.IntN(8) {
				case 0, 1, 2:
					_, err := repo.CreateOrUpdate(t.Context(), id, stock(rnd, 1+rnd.IntN(6)))
					require.NoError(t, err)
				case 3:
					if kept == nil || kept.ID() != id {
						kept = repo.New(id)
						if a, err := repo.Load(t.Context(), id); err == nil {
							kept = a
						}
					}
					require.NoError(t, stock(rnd, 1+rnd.IntN(3))(kept))
					if repo.Save(t.Context(), kept) != nil {
						kept = nil // it was behind
					}
				case 4:
					require.NoError(t, repo.Close(t.Context()))
					repo = newRepo()
				case 5:
					spoilers := []func(*evsourcing.Snapshot){
						func(*evsourcing.Snapshot) {},
						func(*evsourcing.Snapshot) {},
						func(s *evsourcing.Snapshot) { s.Data = s.Data[:len(s.Data)/2] },
						func(s *evsourcing.Snapshot) { s.Version++ },
						func(s *evsourcing.Snapshot) { s.EventID[3]++ },
						func(s *evsourcing.Snapshot) { s.Fingerprint += "x" },
					}
					spoil.Store(spoilers[rnd.IntN(len(spoilers))])
				case 6:
					synctest.Wait()
				}
				want, err := plain.Load(t.Context(), id)
				if err != nil {
					require.ErrorIs(t, err, evsourcing.ErrNotFound)
					continue
				}
				store.take()
				got, err := repo.Load(t.Context(), id)
				require.NoError(t, err)
				if read := store.take(); len(read) > 0 && read[0] > 1 {
					used.Store([2]uint64{uint64(seed), read[0]}, true)
				}
				sameState(t, want, got)
				version := 1 + rnd.Uint64N(want.Version())
				want, err = plain.LoadAt(t.Context(), id, version)
				require.NoError(t, err)
				got, err = repo.LoadAt(t.Context(), id, version)
				require.NoError(t, err)
				sameState(t, want, got)
			}
			require.NoError(t, repo.Close(t.Context()))
		})
	}
	for name, m := range map[string]*sync.Map{"taken": &taken, "used": &used} {
		n := 0
		m.Range(func(any, any) bool { n++; return true })
		assert.Greater(t, n, rounds, "snapshots %s", name)
	}
}

// Several repositories update the same aggregates at once, with snapshots after
// every event.
func TestSnapshotsUnderConcurrentUpdates(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	const writers, updates = 4, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			opts := snapshotsEvery(1+w, on)
			opts.MaxAttempts = 1000
			repo := newAircraft(store, opts)
			for i := range updates {
				id := fmt.Sprint("DM", i%3)
				a, err := repo.CreateOrUpdate(t.Context(), id, func(a *Aircraft) error {
					evsourcing.Record(a, &Inspected{Hours: 1, Findings: []string{fmt.Sprint(len(a.Findings))}})
					return nil
				})
				if assert.NoError(t, err) {
					assert.Equal(t, int(a.Version()), a.Hours)
				}
			}
			assert.NoError(t, repo.Close(t.Context()))
		})
	}
	wg.Wait()
	for i := range 3 {
		id := fmt.Sprint("DM", i)
		want, err := newAircraft(store, nil).Load(t.Context(), id)
		require.NoError(t, err)
		got, err := newAircraft(store, snapshotsEvery(1, on)).Load(t.Context(), id)
		require.NoError(t, err)
		equalAircraft(t, want, got)
		assert.Len(t, got.Findings, got.Hours)
	}
}

// A snapshot of any bytes, of any place. Loading never fails, the aggregate is
// the stream's last version, and its state is either what the events make, or,
// if the snapshot names its event rightly and the bytes are JSON of the type,
// what they say with the events behind it.
func FuzzSnapshotDecode(f *testing.F) {
	const events, at = 8, 5
	ctx := context.Background()
	store := evsourcing.NewMemoryStore()
	plain := newInventory(store, nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	var list []Stocked
	_, err := plain.Create(ctx, "A", func(i *Inventory) error {
		for n := range events {
			list = append(list, Stocked{What: []int{0, 1, 3, 7, 5, 0, 1, 8}[n], Name: string(rune('a' + rnd.IntN(5)))})
			evsourcing.Record(i, list[n])
		}
		return nil
	})
	require.NoError(f, err)
	want, err := plain.Load(ctx, "A")
	require.NoError(f, err)
	on := newShelf()
	taker := newInventory(store, snapshotsEvery(1, on))
	_, err = taker.Load(ctx, "A")
	require.NoError(f, err)
	require.NoError(f, taker.Close(ctx))
	taken, ok, err := on.MemoryStore.LoadSnapshot(ctx, aircraftStream("A"))
	require.NoError(f, err)
	require.True(f, ok)
	past, err := plain.LoadAt(ctx, "A", at)
	require.NoError(f, err)
	data, err := json.Marshal(past)
	require.NoError(f, err)
	var id uuid.UUID
	for e, err := range store.Load(ctx, aircraftStream("A"), evsourcing.Range{After: at - 1, Until: at}) {
		require.NoError(f, err)
		id = e.ID
	}

	f.Add(data, uint64(at), true, true, "A")
	f.Add(data, uint64(at), false, true, "A")
	f.Add(data, uint64(at), true, false, "A")
	f.Add(data, uint64(at), true, true, "B")
	f.Add(data, uint64(4), true, true, "A")
	f.Add(data, uint64(0), true, true, "A")
	f.Add(data, ^uint64(0), true, true, "A")
	f.Add(data[:len(data)-1], uint64(at), true, true, "A")
	for _, s := range []string{"", "{}", "null", "[]", `{"Counts":null}`, `{"counts":{"a":1},"Log":3}`, `{"Shelves":{"1":[null]}}`,
		`{"Base":{"id":"x"},"ID":"x","Front":{"Parts":[{}]}}`, `{"Seen":{"x":"y"}}`, `{"Log":-1}`, "{} {}", "\x00", `{"Grid":[[1],[2],[3]]}`} {
		f.Add([]byte(s), uint64(at), true, true, "A")
	}
	f.Fuzz(func(t *testing.T, data []byte, version uint64, sameEvent, sameForm bool, stream string) {
		s := taken
		s.Data, s.Version, s.Stream.ID = data, version, stream
		if sameEvent {
			s.EventID = id
		}
		if !sameForm {
			s.Fingerprint = "another"
		}
		shelf := &fixedShelf{s}
		lines := &logLines{}
		repo := newInventory(store, &evsourcing.RepositoryOptions{Snapshots: shelf, Logger: lines.logger(), SnapshotEvery: 1000})
		got, err := repo.Load(ctx, "A")
		require.NoError(t, err)
		expect := want
		valid := sameEvent && sameForm && stream == "A" && version == at ||
			!sameEvent && sameForm && stream == "A" && version == events // taken's own event
		if valid {
			if a := said(data, list[version:]); a != nil {
				expect = a
			} else {
				valid = false
			}
		}
		require.Equal(t, "A", got.ID())
		require.Equal(t, uint64(events), got.Version())
		require.Equal(t, want.Position(), got.Position())
		require.Empty(t, got.Changes())
		w, g := *expect, *got
		w.Base, g.Base = evsourcing.Base{}, evsourcing.Base{}
		require.Equal(t, w, g)
		if valid || !sameForm {
			require.Empty(t, lines.lines(t))
		} else {
			require.Len(t, lines.lines(t), 1)
		}
	})
}

// said returns what the bytes say with the events behind them, or nil.
func said(data []byte, tail []Stocked) (a *Inventory) {
	defer func() {
		if recover() != nil {
			a = nil
		}
	}()
	a = &Inventory{}
	if json.Unmarshal(data, a) != nil {
		return nil
	}
	for _, e := range tail {
		e.ApplyTo(a)
	}
	return a
}

// fixedShelf has one snapshot.
type fixedShelf struct{ s evsourcing.Snapshot }

func (f *fixedShelf) LoadSnapshot(context.Context, evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	s := f.s
	s.Data = slices.Clone(s.Data)
	return s, true, nil
}

func (*fixedShelf) SaveSnapshot(context.Context, evsourcing.Snapshot) error { return nil }
