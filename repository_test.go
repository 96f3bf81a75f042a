package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

type (
	byPointer    struct{ *evsourcing.Base }
	byInterface  struct{ evsourcing.Aggregate }
	entity       struct{ evsourcing.Base }
	nested       struct{ entity }
	nestedDeeper struct {
		Name string
		nested
	}
	pointerToNested struct{ *nested }
	Entity          struct{ evsourcing.Base }
	pointerInNested struct{ byPointer }
)

func TestNewRepositoryPanicsOnWhatCantWork(t *testing.T) {
	t.Parallel()
	store, codec := evsourcing.NewMemoryStore(), newCodec()
	const byValue = "embed evsourcing.Base by value"
	for _, test := range []struct {
		name string
		make func()
		says string
	}{
		{"a pointer to Base", func() { evsourcing.NewRepository[byPointer]("aircraft", store, codec, nil) }, byValue},
		{"an embedded interface", func() { evsourcing.NewRepository[byInterface]("aircraft", store, codec, nil) }, byValue},
		{"a pointer to what embeds Base", func() { evsourcing.NewRepository[pointerToNested]("aircraft", store, codec, nil) }, byValue},
		{"a pointer to Base further in", func() { evsourcing.NewRepository[pointerInNested]("aircraft", store, codec, nil) }, byValue},
		{"no store", func() { newAircraft(nil, nil) }, "the store is nil"},
		{"no codec", func() { evsourcing.NewRepository[Aircraft]("aircraft", store, nil, nil) }, "the codec is nil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				got := fmt.Sprint(recover())
				assert.Contains(t, got, test.says)
				assert.Contains(t, got, "evsourcing: NewRepository[evsourcing_test.")
			}()
			test.make()
		})
	}
	for typ, what := range badNames() {
		assert.PanicsWithError(t, "evsourcing: NewRepository[evsourcing_test.Aircraft]: the type "+what, func() {
			evsourcing.NewRepository[Aircraft](typ, store, codec, nil)
		})
	}
	for _, typ := range goodNames() {
		evsourcing.NewRepository[Aircraft](typ, store, codec, nil)
	}
	evsourcing.NewRepository[evsourcing.Base]("bare", store, codec, nil)
}

func TestBaseMayBeEmbeddedThroughAnotherStruct(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	assert.Equal(t, "1", evsourcing.NewRepository[Entity]("a", store, newCodec(), nil).New("1").ID())
	assert.Equal(t, "2", evsourcing.NewRepository[nested]("b", store, newCodec(), nil).New("2").ID())
	assert.Equal(t, "3", evsourcing.NewRepository[nestedDeeper]("c", store, newCodec(), nil).New("3").ID())
}

func TestNewMakesAnAggregateThatIsNotStored(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	repo := newAircraft(spy, nil)
	a := repo.New("DM2018")
	assert.Equal(t, "DM2018", a.ID())
	assert.Zero(t, a.Version())
	assert.Zero(t, a.Position())
	assert.True(t, a.Saved())
	b, c := repo.New(""), repo.New("")
	assert.NotEqual(t, b.ID(), c.ID())
	id, err := uuid.Parse(b.ID())
	require.NoError(t, err)
	assert.Equal(t, uuid.Version(7), id.Version())
	assert.Zero(t, spy.appends.Load()+spy.loads.Load(), "no I/O")

	repo = newAircraft(spy, &evsourcing.RepositoryOptions{NewID: func() string { return "of our own" }})
	assert.Equal(t, "of our own", repo.New("").ID())
	assert.Equal(t, "DM2018", repo.New("DM2018").ID())
}

func TestLoadReplaysTheStream(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "OTHER", TakenOff{}, Landed{Airport: "JFK"})
	given(t, store, "DM2018", Scheduled{Flight: "DM2018"}, TakenOff{}, &Inspected{Hours: 3}, Landed{Airport: "CDG"})
	a, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
	require.NoError(t, err)
	assert.Equal(t, "DM2018", a.ID())
	assert.Equal(t, "DM2018", a.Flight)
	assert.Equal(t, "CDG", a.Airport)
	assert.Equal(t, 3, a.Hours)
	assert.False(t, a.Flying)
	assert.Equal(t, uint64(4), a.Version())
	assert.Equal(t, uint64(6), a.Position())
	assert.True(t, a.Saved())
	assert.Empty(t, a.Changes())
}

func TestLoadOfManyEvents(t *testing.T) {
	t.Parallel()
	const n = 1000
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	a := repo.New("DM2018")
	for range n {
		evsourcing.Record(a, &Inspected{Hours: 1})
	}
	require.NoError(t, repo.Save(t.Context(), a))
	a, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	assert.Equal(t, n, a.Hours)
	assert.Equal(t, uint64(n), a.Version())
}

func TestLoadOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{})
	repo := newAircraft(store, nil)
	for _, id := range []string{"DM2019", "dm2018", "DM2018 "} {
		a, err := repo.Load(t.Context(), id)
		require.ErrorIs(t, err, evsourcing.ErrNotFound)
		require.ErrorContains(t, err, "aircraft/"+id)
		assert.Nil(t, a)
	}
	planes := evsourcing.NewRepository[Aircraft]("plane", store, newCodec(), nil)
	_, err := planes.Load(t.Context(), "DM2018")
	require.ErrorIs(t, err, evsourcing.ErrNotFound, "a stream of another type is another stream")
}

func TestLoadAtReturnsThePast(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	given(t, spy, "DM2018", TakenOff{}, Landed{Airport: "CDG"}, TakenOff{})
	repo := newAircraft(spy, nil)
	for version, want := range map[uint64]Aircraft{
		1: {Flying: true, Airport: "<unknown>"}, 2: {Flying: false, Airport: "CDG"}, 3: {Flying: true, Airport: "CDG"},
	} {
		a, err := repo.LoadAt(t.Context(), "DM2018", version)
		require.NoError(t, err)
		assert.Equal(t, want.Flying, a.Flying)
		assert.Equal(t, want.Airport, a.Airport)
		assert.Equal(t, version, a.Version())
		assert.Equal(t, version, a.Position())

		appends := spy.appends.Load()
		require.ErrorIs(t, repo.Save(t.Context(), a), evsourcing.ErrReadOnly, "without changes too")
		evsourcing.Record(a, Landed{Airport: "ORY"})
		err = repo.Save(t.Context(), a)
		require.ErrorIs(t, err, evsourcing.ErrReadOnly)
		require.ErrorContains(t, err, fmt.Sprint("aircraft/DM2018 was loaded at version ", version))
		assert.Equal(t, "ORY", a.Airport, "it may be played with")
		assert.Len(t, a.Changes(), 1)
		assert.Equal(t, appends, spy.appends.Load())
	}
	for _, version := range []uint64{0, 4, 1000, math.MaxInt64, math.MaxUint64} {
		a, err := repo.LoadAt(t.Context(), "DM2018", version)
		require.ErrorIs(t, err, evsourcing.ErrNotFound, version)
		require.ErrorContains(t, err, fmt.Sprint("version ", version, " of aircraft/DM2018"))
		assert.Nil(t, a)
	}
	_, err := repo.LoadAt(t.Context(), "DM2019", 1)
	require.ErrorIs(t, err, evsourcing.ErrNotFound)
}

func TestLoadRefusesIDs(t *testing.T) {
	t.Parallel()
	repo := newAircraft(evsourcing.NewMemoryStore(), nil)
	for id, what := range badNames() {
		a, err := repo.Load(t.Context(), id)
		require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
		require.ErrorContains(t, err, "the ID "+what)
		assert.Nil(t, a)
		_, err = repo.LoadAt(t.Context(), id, 1)
		require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
		require.ErrorContains(t, err, "the ID "+what)
	}
}

func TestOddIDsWork(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	for _, id := range goodNames() {
		_, err := repo.Create(t.Context(), id, record(Landed{Airport: id}))
		require.NoError(t, err)
	}
	for _, id := range goodNames() {
		a, err := repo.Load(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, id, a.Airport)
		assert.Equal(t, id, a.ID())
	}
}

// at returns a stored event as version n of DM2018.
func at(n uint64, topic, data string) evsourcing.StoredEvent {
	e := *payload(topic, data)
	e.Version, e.Position = n, n+100
	return e
}

func TestLoadNamesTheEventItCantUse(t *testing.T) {
	t.Parallel()
	took := at(1, "aircraft.taken_off", `{}`)
	for _, test := range []struct {
		name   string
		second evsourcing.StoredEvent
		is     error
		says   []string
	}{
		{"an unknown topic", at(2, "aircraft.repainted", `{}`), evsourcing.ErrUnknownTopic,
			[]string{"version 2", "aircraft/DM2018", `"aircraft.repainted"`}},
		{"a corrupt payload", at(2, "aircraft.landed", `{"airport":"CD`), nil,
			[]string{"version 2", "aircraft/DM2018", `"aircraft.landed"`, "unexpected end of JSON input"}},
		{"an event of another aggregate", at(2, "hangar.swept", `{}`), nil,
			[]string{"version 2", "aircraft/DM2018", `"hangar.swept"`, "Swept", "not an event of *evsourcing_test.Aircraft"}},
		{"a gap in the versions", at(3, "aircraft.landed", `{}`), nil, []string{"aircraft/DM2018", "version 3 follows version 1"}},
		{"a version twice", at(1, "aircraft.landed", `{}`), nil, []string{"aircraft/DM2018", "version 1 follows version 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			repo := newAircraft(&listStore{events: []evsourcing.StoredEvent{took, test.second}}, nil)
			calls := 0
			load := func() (*Aircraft, error) { return repo.Load(t.Context(), "DM2018") }
			update := func() (*Aircraft, error) {
				return repo.Update(t.Context(), "DM2018", func(*Aircraft) error { calls++; return nil })
			}
			upsert := func() (*Aircraft, error) {
				return repo.CreateOrUpdate(t.Context(), "DM2018", func(*Aircraft) error { calls++; return nil })
			}
			for _, f := range []func() (*Aircraft, error){load, update, upsert} {
				a, err := f()
				require.Error(t, err)
				assert.Nil(t, a)
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				for _, s := range test.says {
					require.ErrorContains(t, err, s)
				}
				assert.True(t, strings.HasPrefix(err.Error(), "evsourcing: "), err)
			}
			assert.Zero(t, calls, "the function is not called")
		})
	}
}

func TestLoadPassesTheStoresErrorOn(t *testing.T) {
	t.Parallel()
	store := &listStore{events: []evsourcing.StoredEvent{at(1, "aircraft.taken_off", `{}`)}, err: errDisk}
	a, err := newAircraft(store, nil).Load(t.Context(), "DM2018")
	require.ErrorIs(t, err, errDisk)
	require.ErrorContains(t, err, "aircraft/DM2018")
	assert.Nil(t, a)
}

func TestLoadUnderACancelledContext(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	repo := newAircraft(store, nil)
	a, err := repo.Load(ctx, "DM2018")
	require.ErrorIs(t, err, context.Canceled)
	assert.Nil(t, a)
	_, err = repo.LoadAt(ctx, "DM2018", 1)
	require.ErrorIs(t, err, context.Canceled)
}

// Whatever wraps a store keeps its capabilities by Unwrap.
func TestCapabilitySeesThroughWrappers(t *testing.T) {
	t.Parallel()
	memory := evsourcing.NewMemoryStore()
	wrapped := &spyStore{EventStore: &spyStore{EventStore: memory}}
	finder, ok := evsourcing.Capability[evsourcing.Finder](wrapped)
	require.True(t, ok)
	assert.Same(t, memory, finder)
	outer, ok := evsourcing.Capability[interface{ Unwrap() evsourcing.EventStore }](wrapped)
	require.True(t, ok)
	assert.Same(t, wrapped, outer, "the outermost that has it")
	_, ok = evsourcing.Capability[evsourcing.Finder](plainStore{memory})
	assert.False(t, ok)
	_, ok = evsourcing.Capability[evsourcing.Log](&spyStore{EventStore: plainStore{memory}})
	assert.False(t, ok)
	_, ok = evsourcing.Capability[interface{ None() }](memory)
	assert.False(t, ok)
	_, ok = evsourcing.Capability[evsourcing.Log](nil)
	assert.False(t, ok)
	_, ok = evsourcing.Capability[evsourcing.Log](&spyStore{})
	assert.False(t, ok, "a wrapper around nothing")
}

func TestFilterMatch(t *testing.T) {
	t.Parallel()
	e := at(1, "aircraft.landed", "")
	for _, test := range []struct {
		filter evsourcing.Filter
		want   bool
	}{
		{evsourcing.Filter{}, true},
		{evsourcing.Filter{Topics: []string{"x", "aircraft.landed"}}, true},
		{evsourcing.Filter{Topics: []string{"x"}}, false},
		{evsourcing.Filter{Types: []string{"aircraft"}}, true},
		{evsourcing.Filter{Types: []string{"hangar"}}, false},
		{evsourcing.Filter{Topics: []string{"aircraft.landed"}, Types: []string{"hangar"}}, false},
		{evsourcing.Filter{Topics: []string{"x"}, Types: []string{"aircraft"}}, false},
	} {
		assert.Equal(t, test.want, test.filter.Match(e), "%+v", test.filter)
	}
}

func TestErrorsSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	conflict := fmt.Errorf("wrapped: %w", &evsourcing.ConflictError{Stream: aircraftStream("DM2018"), Expected: 3, Actual: 4})
	require.ErrorIs(t, conflict, evsourcing.ErrConflict)
	require.NotErrorIs(t, conflict, evsourcing.ErrNotFound)
	assert.EqualError(t, conflict, "wrapped: evsourcing: version conflict: aircraft/DM2018 is at version 4, expected 3")

	undelivered := &evsourcing.UndeliveredError{Count: 7, Err: context.DeadlineExceeded}
	require.ErrorIs(t, undelivered, context.DeadlineExceeded)
	assert.ErrorContains(t, undelivered, "7")

	require.ErrorIs(t, &evsourcing.PanicError{Value: errDisk}, errDisk)
	assert.ErrorContains(t, &evsourcing.PanicError{Value: "so it ends"}, "so it ends")
	assert.ErrorContains(t, &evsourcing.PanicError{}, "runtime.Goexit")
	assert.NoError(t, errors.Unwrap(&evsourcing.PanicError{Value: "no error"}))
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	opts := &evsourcing.RepositoryOptions{NewID: func() string { return "made" }}
	repo := newAircraft(evsourcing.NewMemoryStore(), opts)
	assert.Nil(t, opts.Logger, "defaults are not written back")
	assert.Nil(t, opts.Now)
	assert.Zero(t, opts.MaxAttempts)
	opts.NewID = nil
	assert.Equal(t, "made", repo.New("").ID())
}
