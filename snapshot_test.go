package evsourcing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// What loading by snapshots does.

// snapshotsEvery returns options for snapshots in the store.
func snapshotsEvery(n int, store evsourcing.SnapshotStore) *evsourcing.RepositoryOptions {
	return &evsourcing.RepositoryOptions{Snapshots: store, SnapshotEvery: n, Logger: quiet}
}

// shelf is a SnapshotStore that counts its calls and lets a test answer.
type shelf struct {
	*evsourcing.MemoryStore
	mu           sync.Mutex
	loads, saves int
	load         func(s evsourcing.Snapshot, ok bool) (evsourcing.Snapshot, bool, error)
	save         func(ctx context.Context, s evsourcing.Snapshot, next func() error) error
}

func newShelf() *shelf { return &shelf{MemoryStore: evsourcing.NewMemoryStore()} }

func (s *shelf) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	s.mu.Lock()
	s.loads++
	load := s.load
	s.mu.Unlock()
	snapshot, ok, err := s.MemoryStore.LoadSnapshot(ctx, id)
	if err == nil && load != nil {
		return load(snapshot, ok)
	}
	return snapshot, ok, err
}

func (s *shelf) SaveSnapshot(ctx context.Context, snapshot evsourcing.Snapshot) error {
	s.mu.Lock()
	s.saves++
	save := s.save
	s.mu.Unlock()
	next := func() error { return s.MemoryStore.SaveSnapshot(ctx, snapshot) }
	if save != nil {
		return save(ctx, snapshot, next)
	}
	return next()
}

func (s *shelf) calls() (loads, saves int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads, s.saves
}

// on returns the shelf's snapshot of an aircraft.
func (s *shelf) on(t *testing.T, id string) (evsourcing.Snapshot, bool) {
	t.Helper()
	snapshot, ok, err := s.MemoryStore.LoadSnapshot(t.Context(), aircraftStream(id))
	require.NoError(t, err)
	return snapshot, ok
}

// snapshotOf takes a snapshot of an aircraft, now.
func snapshotOf(t *testing.T, store evsourcing.EventStore, on *shelf, id string) evsourcing.Snapshot {
	t.Helper()
	repo := newAircraft(store, snapshotsEvery(1, on))
	_, err := repo.Load(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, repo.Close(t.Context()))
	snapshot, ok := on.on(t, id)
	require.True(t, ok, "a snapshot was taken")
	return snapshot
}

// readStore keeps what versions were read.
type readStore struct {
	evsourcing.EventStore
	mu   sync.Mutex
	read []uint64
}

func (s *readStore) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		for e, err := range s.EventStore.Load(ctx, id, r) {
			s.mu.Lock()
			s.read = append(s.read, e.Version)
			s.mu.Unlock()
			if !yield(e, err) {
				return
			}
		}
	}
}

func (s *readStore) take() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	read := s.read
	s.read = nil
	return read
}

// hours makes n events that differ.
func hours(n int) (events []evsourcing.EventOf[*Aircraft]) {
	for i := range n {
		events = append(events, &Inspected{Hours: i + 1, Findings: []string{fmt.Sprint(i)}})
	}
	return events
}

func TestLoadGoesOnFromTheSnapshot(t *testing.T) {
	t.Parallel()
	store := &readStore{EventStore: evsourcing.NewMemoryStore()}
	given(t, store, "DM2018", hours(10)...)
	on := newShelf()
	taken := snapshotOf(t, store, on, "DM2018")
	assert.Equal(t, uint64(10), taken.Version)
	events := history(t, store, "DM2018")
	assert.Equal(t, events[9].ID, taken.EventID)
	assert.Equal(t, events[9].Position, taken.Position)
	assert.Equal(t, "application/json", taken.ContentType)
	assert.Equal(t, aircraftStream("DM2018"), taken.Stream)
	assert.WithinDuration(t, time.Now(), taken.Time, time.Minute)
	assert.True(t, json.Valid(taken.Data))

	given(t, store, "DM2018", hours(3)...)
	want, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
	require.NoError(t, err)
	repo := newAircraft(store, snapshotsEvery(100, on))
	store.take()
	got, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	assert.Equal(t, []uint64{10, 11, 12, 13}, store.take(), "the snapshot's event, and those behind it")
	equalAircraft(t, want, got)
	assert.Equal(t, 1, got.Inits, "Init was called when the snapshot's state was made, and not again")

	evsourcing.Record(got, Landed{Airport: "CDG"})
	require.NoError(t, repo.Save(t.Context(), got))
	assert.Equal(t, uint64(14), got.Version())
	assert.Equal(t, headOf(t, store.EventStore), got.Position())
}

// equalAircraft compares all but what belongs to a repository.
func equalAircraft(t *testing.T, want, got *Aircraft) {
	t.Helper()
	require.NotNil(t, got)
	assert.Equal(t, want.ID(), got.ID())
	assert.Equal(t, want.Version(), got.Version())
	assert.Equal(t, want.Position(), got.Position())
	assert.True(t, got.Saved())
	w, g := *want, *got
	w.Base, g.Base = evsourcing.Base{}, evsourcing.Base{}
	assert.Equal(t, w, g)
}

func TestLoadAtUsesASnapshotOfThePastOnly(t *testing.T) {
	t.Parallel()
	store := &readStore{EventStore: evsourcing.NewMemoryStore()}
	given(t, store, "DM2018", hours(5)...)
	on := newShelf()
	snapshotOf(t, store, on, "DM2018")
	given(t, store, "DM2018", hours(5)...)
	lines := &logLines{}
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Snapshots: on, SnapshotEvery: 1, Logger: lines.logger()})
	plain := newAircraft(store, nil)
	for version := uint64(1); version <= 10; version++ {
		want, err := plain.LoadAt(t.Context(), "DM2018", version)
		require.NoError(t, err)
		store.take()
		got, err := repo.LoadAt(t.Context(), "DM2018", version)
		require.NoError(t, err)
		first := uint64(1)
		if version >= 5 {
			first = 5
		}
		read := store.take()
		assert.Equal(t, first, read[0], "at %d", version)
		assert.Len(t, read, int(version-first)+1)
		equalAircraft(t, want, got)
		evsourcing.Record(got, TakenOff{})
		require.ErrorIs(t, repo.Save(t.Context(), got), evsourcing.ErrReadOnly)
	}
	for _, version := range []uint64{0, 11, 1 << 62} {
		_, err := repo.LoadAt(t.Context(), "DM2018", version)
		require.ErrorIs(t, err, evsourcing.ErrNotFound)
	}
	require.NoError(t, repo.Close(t.Context()))
	_, saves := on.calls()
	assert.Equal(t, 1, saves, "no snapshots are taken of the past")
	assert.Empty(t, lines.lines(t))
}

// Whatever is wrong with a snapshot, the state is that of a full replay.
func TestVoidSnapshotsCostAFullReplayAndOneLogLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		load func(s evsourcing.Snapshot, ok bool) (evsourcing.Snapshot, bool, error)
		says string // in the log line; "" for none
	}{
		{"there is none", func(evsourcing.Snapshot, bool) (evsourcing.Snapshot, bool, error) {
			return evsourcing.Snapshot{}, false, nil
		}, ""},
		{"the store fails", func(evsourcing.Snapshot, bool) (evsourcing.Snapshot, bool, error) {
			return evsourcing.Snapshot{}, false, errDisk
		}, "the disk is full"},
		{"the store panics", func(evsourcing.Snapshot, bool) (evsourcing.Snapshot, bool, error) { panic("lost") }, "panic: lost"},
		{"the store fails with the error of a context that is not the caller's", func(evsourcing.Snapshot, bool) (evsourcing.Snapshot, bool, error) {
			return evsourcing.Snapshot{}, false, context.DeadlineExceeded
		}, "deadline exceeded"},
		{"the fingerprint is another", change(func(s *evsourcing.Snapshot) { s.Fingerprint = "x" }), ""},
		{"the stream is another", change(func(s *evsourcing.Snapshot) { s.Stream.ID = "DM2019" }), "it is of aircraft/DM2019"},
		{"the event is another", change(func(s *evsourcing.Snapshot) { s.EventID = uuid.New() }), "diverged"},
		{"the event is nil", change(func(s *evsourcing.Snapshot) { s.EventID = uuid.Nil }), "event 00000000"},
		{"the version is too low", change(func(s *evsourcing.Snapshot) { s.Version-- }), "diverged"},
		{"the version is too high", change(func(s *evsourcing.Snapshot) { s.Version++ }), "diverged"},
		{"the version is beyond the stream", change(func(s *evsourcing.Snapshot) { s.Version += 100 }), "diverged"},
		{"the version is the highest", change(func(s *evsourcing.Snapshot) { s.Version = 1<<64 - 1 }), "diverged"},
		{"the version is 0", change(func(s *evsourcing.Snapshot) { s.Version = 0 }), "version 0"},
		{"the data is cut", change(func(s *evsourcing.Snapshot) { s.Data = s.Data[:len(s.Data)-1] }), "decode the state"},
		{"the data is of another type", change(func(s *evsourcing.Snapshot) { s.Data = []byte(`{"Hours":"x"}`) }), "decode the state"},
		{"there is no data", change(func(s *evsourcing.Snapshot) { s.Data = nil }), "decode the state"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := evsourcing.NewMemoryStore()
			given(t, store, "DM2018", hours(5)...)
			on := newShelf()
			snapshotOf(t, store, on, "DM2018")
			given(t, store, "DM2018", hours(2)...)
			want, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
			require.NoError(t, err)

			on.load = test.load
			lines := &logLines{}
			repo := newAircraft(store, &evsourcing.RepositoryOptions{Snapshots: on, Logger: lines.logger()})
			got, err := repo.Load(t.Context(), "DM2018")
			require.NoError(t, err)
			equalAircraft(t, want, got)
			logged := lines.lines(t)
			if test.says == "" {
				assert.Empty(t, logged)
			} else if assert.Len(t, logged, 1) {
				assert.Equal(t, "WARN", logged[0]["level"])
				assert.Equal(t, "aircraft", logged[0]["aggregate_type"])
				assert.Equal(t, "DM2018", logged[0]["aggregate_id"])
				assert.Contains(t, logged[0]["reason"], test.says)
				assert.Contains(t, logged[0]["msg"], "evsourcing: snapshot")
			}
			got, err = repo.Update(t.Context(), "DM2018", record(Landed{Airport: "CDG"}))
			require.NoError(t, err)
			assert.Equal(t, uint64(8), got.Version())
			_, err = repo.Load(t.Context(), "DM2019")
			require.ErrorIs(t, err, evsourcing.ErrNotFound)
		})
	}
}

func change(f func(s *evsourcing.Snapshot)) func(evsourcing.Snapshot, bool) (evsourcing.Snapshot, bool, error) {
	return func(s evsourcing.Snapshot, ok bool) (evsourcing.Snapshot, bool, error) {
		f(&s)
		return s, ok, nil
	}
}

// A restore of the store lost the tail; the streams went on otherwise. The
// snapshots that were kept elsewhere are taken again, the ones of versions that
// the stream has not reached yet too.
func TestDivergedSnapshotsAreReplaced(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]int{"the stream is shorter": 3, "as long": 10, "longer": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := newShelf()
			lost := evsourcing.NewMemoryStore()
			given(t, lost, "DM2018", hours(10)...)
			old := snapshotOf(t, lost, on, "DM2018")

			store := evsourcing.NewMemoryStore()
			given(t, store, "DM2018", hours(events)...)
			taken := snapshotOf(t, store, on, "DM2018")
			assert.Equal(t, uint64(events), taken.Version)
			assert.Equal(t, history(t, store, "DM2018")[events-1].ID, taken.EventID)
			assert.Equal(t, old.Fingerprint, taken.Fingerprint)

			lines := &logLines{}
			a, err := newAircraft(store, &evsourcing.RepositoryOptions{Snapshots: on, Logger: lines.logger()}).Load(t.Context(), "DM2018")
			require.NoError(t, err)
			assert.Equal(t, uint64(events), a.Version())
			assert.Empty(t, lines.lines(t))
		})
	}
}

func TestSnapshotOfAStreamThatIsGone(t *testing.T) {
	t.Parallel()
	on := newShelf()
	lost := evsourcing.NewMemoryStore()
	given(t, lost, "DM2018", hours(10)...)
	snapshotOf(t, lost, on, "DM2018")
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, snapshotsEvery(1, on))
	_, err := repo.Load(t.Context(), "DM2018")
	require.ErrorIs(t, err, evsourcing.ErrNotFound)
	a, err := repo.CreateOrUpdate(t.Context(), "DM2018", record(Landed{}))
	require.NoError(t, err)
	assert.Equal(t, uint64(1), a.Version())
}

// The bytes decode, but events behind them don't apply to what they make.
func TestEventsThatPanicOnASnapshotAreReplayed(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	repo := evsourcing.NewRepository[Fleet]("aircraft", store, evsourcing.NewRegistry(Joined{}), snapshotsEvery(1, on))
	_, err := repo.Create(t.Context(), "LH", join("DM1", "DM2"))
	require.NoError(t, err)
	require.NoError(t, repo.Close(t.Context()))
	_, ok := on.on(t, "LH")
	require.True(t, ok)
	on.load = change(func(s *evsourcing.Snapshot) { s.Data = []byte(`{}`) }) // a nil map
	repo = evsourcing.NewRepository[Fleet]("aircraft", store, evsourcing.NewRegistry(Joined{}), snapshotsEvery(1, on))
	for n := 1; n < 3; n++ {
		a, err := repo.Update(t.Context(), "LH", func(f *Fleet) error {
			if f.Members == nil {
				f.Members = map[string]int{} // the snapshot alone says so
			}
			evsourcing.Record(f, Joined{Name: fmt.Sprint("DM", n)})
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, uint64(n+2), a.Version())
	}
	a, err := repo.Load(t.Context(), "LH")
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"DM1": 2, "DM2": 2}, a.Members)
	require.NoError(t, repo.Close(t.Context()))
}

// Fleet has a map, which Init makes.
type Fleet struct {
	evsourcing.Base
	Members map[string]int
}

func (f *Fleet) Init() { f.Members = map[string]int{} }

type Joined struct {
	Name string `json:"name"`
}

func (Joined) Topic() string      { return "fleet.joined" }
func (e Joined) ApplyTo(f *Fleet) { f.Members[e.Name]++ }

func join(names ...string) func(*Fleet) error {
	return func(f *Fleet) error {
		for _, name := range names {
			evsourcing.Record(f, Joined{Name: name})
		}
		return nil
	}
}

func TestErrorsOfEventsBehindASnapshotAreReturned(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	given(t, store, "DM2018", hours(5)...)
	snapshotOf(t, store, on, "DM2018")
	hangar := evsourcing.NewRepository[Hangar]("aircraft", store, newCodec(), nil)
	h := evsourcing.NewRepository[Hangar]("aircraft", store, newCodec(), nil).New("other")
	evsourcing.Record(h, Swept{})
	require.NoError(t, hangar.Save(t.Context(), h))
	events := history(t, store, "other")
	events[0].Version, events[0].ID, events[0].Position = 6, uuid.New(), 0
	events[0].Stream.ID = "DM2018"
	_, err := store.Append(t.Context(), evsourcing.Batch{Stream: aircraftStream("DM2018"), Expected: 5, Events: events})
	require.NoError(t, err)
	lines := &logLines{}
	repo := newAircraft(store, &evsourcing.RepositoryOptions{Snapshots: on, Logger: lines.logger()})
	a, err := repo.Load(t.Context(), "DM2018")
	require.ErrorContains(t, err, `version 6, topic "hangar.swept", is evsourcing_test.Swept, not an event of *evsourcing_test.Aircraft`)
	assert.Nil(t, a)
	assert.Empty(t, lines.lines(t))
}

// Only the caller's own context ends a load.
func TestEndedContextEndsALoadBySnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, on := evsourcing.NewMemoryStore(), newShelf()
		given(t, store, "DM2018", hours(5)...)
		lines := &logLines{}
		repo := newAircraft(store, &evsourcing.RepositoryOptions{Snapshots: &hangingShelf{on}, Logger: lines.logger()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, err := repo.Load(ctx, "DM2018")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "evsourcing: load aircraft/DM2018")
		assert.Nil(t, a)
		assert.Empty(t, lines.lines(t))
	})
}

// hangingShelf answers when the context has ended.
type hangingShelf struct{ *shelf }

func (s *hangingShelf) LoadSnapshot(ctx context.Context, _ evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	<-ctx.Done()
	return evsourcing.Snapshot{}, false, errDisk
}

// Omitted means zero, and not what Init sets.
func TestOmittedFieldsOfASnapshotAreZero(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	codec := evsourcing.NewRegistry(Painted{})
	repo := evsourcing.NewRepository[Car]("aircraft", store, codec, snapshotsEvery(1, on))
	_, err := repo.Create(t.Context(), "B-RN 1", func(c *Car) error {
		assert.Equal(t, "black", c.Colour)
		evsourcing.Record(c, Painted{})
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, repo.Close(t.Context()))
	snapshot, ok := on.on(t, "B-RN 1")
	require.True(t, ok)
	assert.JSONEq(t, `{}`, string(snapshot.Data))
	c, err := repo.Load(t.Context(), "B-RN 1")
	require.NoError(t, err)
	assert.Empty(t, c.Colour)
	assert.Equal(t, uint64(1), c.Version())
}

// Car omits what Init sets, and is assigned as a whole by its event.
type Car struct {
	evsourcing.Base
	Colour string `json:",omitempty"`
}

func (c *Car) Init() { c.Colour = "black" }

type Painted struct {
	Colour string `json:"colour"`
}

func (Painted) Topic() string    { return "car.painted" }
func (e Painted) ApplyTo(c *Car) { *c = Car{Colour: e.Colour} }

func TestAggregatesAssignedAsAWholeKeepTheirPlaceBehindASnapshot(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	codec := evsourcing.NewRegistry(Painted{})
	repo := evsourcing.NewRepository[Car]("aircraft", store, codec, snapshotsEvery(3, on))
	for i := range 20 {
		colour := fmt.Sprint("red ", i)
		c, err := repo.CreateOrUpdate(t.Context(), "B-RN 1", func(c *Car) error {
			evsourcing.Record(c, Painted{Colour: colour})
			copied := *c
			assert.Equal(t, colour, copied.Colour)
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, uint64(i+1), c.Version())
		assert.Equal(t, "B-RN 1", c.ID())
	}
	require.NoError(t, repo.Close(t.Context()))
	c, err := repo.Load(t.Context(), "B-RN 1")
	require.NoError(t, err)
	assert.Equal(t, "red 19", c.Colour)
	assert.Equal(t, uint64(20), c.Version())
	evsourcing.Record(c, Painted{Colour: "blue"})
	assert.Len(t, c.Changes(), 1)
}

// Ledger has no exported state; it encodes itself.
type Ledger struct {
	evsourcing.Base
	lines map[string]int
	fail  string // how to misbehave; not part of the state
}

func (l *Ledger) Init() { l.lines = map[string]int{} }

func (l *Ledger) MarshalSnapshot() ([]byte, error) {
	switch l.fail {
	case "marshal fails":
		return nil, errDisk
	case "marshal panics":
		panic("out of paper")
	}
	return json.Marshal(l.lines)
}

func (l *Ledger) UnmarshalSnapshot(data []byte) error {
	if l.ID() == "" || l.lines != nil || l.fail != "" {
		return errors.New("the ledger is not a fresh one with an ID")
	}
	switch string(data) {
	case "fail":
		return errDisk
	case "panic":
		panic("out of paper")
	case "forget itself":
		*l = Ledger{lines: map[string]int{"a": 1}}
		return nil
	}
	return json.Unmarshal(data, &l.lines)
}

type Booked struct {
	Line string `json:"line"`
	Fail string `json:"fail,omitempty"`
}

func (Booked) Topic() string { return "ledger.booked" }
func (e Booked) ApplyTo(l *Ledger) {
	l.lines[e.Line]++
	l.fail = e.Fail
}

func newLedger(store evsourcing.EventStore, opts *evsourcing.RepositoryOptions) *evsourcing.Repository[Ledger] {
	return evsourcing.NewRepository[Ledger]("aircraft", store, evsourcing.NewRegistry(Booked{}), opts)
}

func book(events ...Booked) func(l *Ledger) error {
	return func(l *Ledger) error {
		for _, e := range events {
			evsourcing.Record(l, e)
		}
		return nil
	}
}

func TestSnapshotterEncodesItself(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	repo := newLedger(store, snapshotsEvery(2, on))
	_, err := repo.Create(t.Context(), "L", book(Booked{Line: "a"}, Booked{Line: "b"}))
	require.NoError(t, err)
	require.NoError(t, repo.Close(t.Context()))
	snapshot, ok := on.on(t, "L")
	require.True(t, ok)
	assert.JSONEq(t, `{"a":1,"b":1}`, string(snapshot.Data))
	assert.Equal(t, "application/octet-stream", snapshot.ContentType)
	repo = newLedger(store, snapshotsEvery(100, on))
	l, err := repo.Update(t.Context(), "L", book(Booked{Line: "a"}))
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"a": 2, "b": 1}, l.lines)
	assert.Equal(t, uint64(3), l.Version())

	want := maps.Clone(l.lines)
	for _, data := range []string{"fail", "panic", "no JSON"} {
		on.load = change(func(s *evsourcing.Snapshot) { s.Data = []byte(data) })
		l, err := repo.Load(t.Context(), "L")
		require.NoError(t, err, data)
		assert.Equal(t, want, l.lines, data)
	}
	on.load = change(func(s *evsourcing.Snapshot) { s.Data = []byte("forget itself") })
	l, err = repo.Load(t.Context(), "L")
	require.NoError(t, err)
	assert.Equal(t, "L", l.ID(), "the Base is not the Snapshotter's")
	assert.Equal(t, uint64(3), l.Version())
	assert.Equal(t, map[string]int{"a": 2}, l.lines, "what the snapshot says is believed")
	require.NoError(t, repo.Save(t.Context(), l))
}
