package evsourcing_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

func TestSaveStoresTheChangesInOneAppend(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	given(t, spy, "OTHER", TakenOff{})
	spy.appends.Store(0)
	repo := newAircraft(spy, nil)
	a := repo.New("DM2018")
	evsourcing.Record(a, Scheduled{Flight: "DM2018"}, TakenOff{}, &Inspected{Hours: 3}, &Landed{Airport: "CDG"}, Diverted{Airport: "ORY", Reason: "fog"})
	require.NoError(t, repo.Save(t.Context(), a))

	assert.Equal(t, int64(1), spy.appends.Load())
	assert.Equal(t, uint64(5), a.Version(), "without a reload")
	assert.Equal(t, uint64(6), a.Position())
	assert.True(t, a.Saved())
	assert.Empty(t, a.Changes())
	assert.Equal(t, "ORY", a.Airport)

	events := history(t, spy, "DM2018")
	require.Len(t, events, 5)
	assert.Equal(t, []string{"scheduled", "taken_off", "inspected", "landed", "diverted"}, topicsOf(events))
	for i, e := range events {
		assert.Equal(t, aircraftStream("DM2018"), e.Stream)
		assert.Equal(t, uint64(i)+1, e.Version)
		assert.Equal(t, uint64(i)+2, e.Position)
		assert.Equal(t, "application/json", e.ContentType)
		assert.NotEqual(t, uuid.Nil, e.ID)
		assert.Empty(t, e.Metadata)
	}
	assert.JSONEq(t, `{"airport":"CDG"}`, string(events[3].Data))
	assert.Equal(t, []string{"airport:ORY", "reason:fog"}, events[4].Tags)
	assert.Empty(t, events[3].Tags)
}

func TestSaveOfNoChangesDoesNothing(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	bus := &recorder{fail: errDisk}
	repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
	given(t, spy.EventStore, "DM2018", TakenOff{})
	loaded, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	spy.loads.Store(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	literal := &Aircraft{}
	for _, a := range []*Aircraft{loaded, literal, repo.New("DM2019")} {
		require.NoError(t, repo.Save(t.Context(), a))
		require.NoError(t, repo.Save(ctx, a), "not even the context is looked at")
	}
	assert.Zero(t, spy.appends.Load()+spy.loads.Load(), "no I/O")
	assert.Equal(t, uint64(1), loaded.Version())
	assert.Empty(t, literal.ID())
}

func TestSaveAgainAppendsToWhatWasSaved(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	repo := newAircraft(spy, nil)
	a := repo.New("DM2018")
	for i := range uint64(5) {
		evsourcing.Record(a, &Inspected{Hours: 1}, &Inspected{Hours: 1})
		require.NoError(t, repo.Save(t.Context(), a))
		assert.Equal(t, 2*i+2, a.Version())
		assert.Equal(t, 2*i+2, a.Position())
	}
	loaded, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	assert.Equal(t, 10, loaded.Hours)
	assert.Equal(t, 10, a.Hours)
	assert.Zero(t, spy.loads.Load()-1, "only the test has loaded")
}

func TestSaveOfALiteral(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	made := 0
	repo := newAircraft(store, &evsourcing.RepositoryOptions{NewID: func() string {
		made++
		return fmt.Sprint("made ", made)
	}})
	a := &Aircraft{}
	evsourcing.Record(a, Landed{Airport: "CDG"})
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Equal(t, "made 1", a.ID())
	assert.Equal(t, uint64(1), a.Version())
	evsourcing.Record(a, TakenOff{})
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Equal(t, "made 1", a.ID(), "once")
	assert.Len(t, history(t, store, "made 1"), 2)

	plain := newAircraft(store, nil)
	b := &Aircraft{}
	evsourcing.Record(b, Landed{Airport: "CDG"})
	require.NoError(t, plain.Save(t.Context(), b))
	id, err := uuid.Parse(b.ID())
	require.NoError(t, err)
	assert.Equal(t, uuid.Version(7), id.Version())
}

func TestLiteralKeepsItsIDWhenTheReplyIsLost(t *testing.T) {
	t.Parallel()
	spy := newSpyStore().script(replyLost)
	repo := newAircraft(spy, nil)
	a := &Aircraft{}
	evsourcing.Record(a, TakenOff{})
	require.ErrorIs(t, repo.Save(t.Context(), a), evsourcing.ErrUncertain)
	id := a.ID()
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Equal(t, id, a.ID())
	assert.Equal(t, uint64(1), headOf(t, spy), "stored once")
}

func TestSaveConflictKeepsTheChanges(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{})
	repo := newAircraft(store, nil)
	mine, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	given(t, store, "DM2018", Landed{Airport: "CDG"})
	fresh := repo.New("DM2018")
	for a, expected := range map[*Aircraft]uint64{mine: 1, fresh: 0} {
		evsourcing.Record(a, Landed{Airport: "ORY"})
		for range 2 { // whenever it is tried
			err = repo.Save(t.Context(), a)
			require.ErrorIs(t, err, evsourcing.ErrConflict)
			var conflict *evsourcing.ConflictError
			require.ErrorAs(t, err, &conflict)
			assert.Equal(t, evsourcing.ConflictError{Stream: aircraftStream("DM2018"), Expected: expected, Actual: 2}, *conflict)
			assert.Equal(t, []evsourcing.Event{Landed{Airport: "ORY"}}, a.Changes())
			assert.Equal(t, expected, a.Version())
			assert.Equal(t, "ORY", a.Airport)
		}
	}
	assert.Len(t, history(t, store, "DM2018"), 2, "nothing was stored")
}

func TestSaveErrorsLeaveTheAggregateToBeSavedAgain(t *testing.T) {
	t.Parallel()
	bus := &recorder{}
	spy := newSpyStore().script(failed, replyLost, replyLost, requestLost)
	repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
	a := repo.New("DM2018")
	evsourcing.Record(a, TakenOff{}, Landed{Airport: "CDG"})
	for i, want := range []error{errDisk, evsourcing.ErrUncertain, evsourcing.ErrUncertain, evsourcing.ErrUncertain} {
		err := repo.Save(t.Context(), a)
		require.ErrorIs(t, err, want, i)
		require.ErrorContains(t, err, "save aircraft/DM2018")
		assert.Len(t, a.Changes(), 2)
		assert.Zero(t, a.Version())
		assert.Zero(t, a.Position())
		assert.Empty(t, bus.got(), "nothing is published that is not known to be stored")
	}
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Equal(t, uint64(2), a.Version())
	assert.Equal(t, uint64(2), a.Position())
	assert.Len(t, history(t, spy, "DM2018"), 2, "stored once")
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Equal(t, []uint64{1, 2}, bus.versions(), "published once")
	assert.Equal(t, int64(5), spy.appends.Load())
}

func TestSaveAfterALostRequest(t *testing.T) {
	t.Parallel()
	bus := &recorder{}
	spy := newSpyStore().script(requestLost)
	repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
	a := repo.New("DM2018")
	evsourcing.Record(a, TakenOff{})
	require.ErrorIs(t, repo.Save(t.Context(), a), evsourcing.ErrUncertain)
	evsourcing.Record(a, Landed{Airport: "CDG"}) // and more to it
	require.NoError(t, repo.Save(t.Context(), a))
	assert.Equal(t, []string{"taken_off", "landed"}, topicsOf(history(t, spy, "DM2018")))
	assert.Equal(t, []uint64{1, 2}, bus.versions())
}

// A store that answers nonsense has not told whether it has stored anything.
func TestSaveDoesNotTrustAnAnswerThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]evsourcing.AppendResult{
		"no versions":       {Position: 2},
		"a version short":   {Position: 2, Versions: []uint64{1}},
		"a version beyond":  {Position: 3, Versions: []uint64{3}},
		"too many versions": {Position: 2, Versions: []uint64{2, 2}},
		"no position":       {Versions: []uint64{2}},
		"a position short":  {Position: 1, Versions: []uint64{2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := &recorder{}
			spy := newSpyStore().script(func(func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
				return wrong, nil
			})
			repo := newAircraft(spy, &evsourcing.RepositoryOptions{Bus: bus})
			a := repo.New("DM2018")
			evsourcing.Record(a, TakenOff{}, Landed{Airport: "CDG"})
			require.ErrorIs(t, repo.Save(t.Context(), a), evsourcing.ErrUncertain)
			assert.Len(t, a.Changes(), 2)
			assert.Zero(t, a.Version())
			assert.Empty(t, bus.got())
			require.NoError(t, repo.Save(t.Context(), a))
			assert.Equal(t, []uint64{1, 2}, bus.versions())
		})
	}
}

func TestSaveOfAnotherRepositorysAggregate(t *testing.T) {
	t.Parallel()
	spy := newSpyStore()
	planes := evsourcing.NewRepository[Aircraft]("plane", spy, newCodec(), nil)
	aircraft := newAircraft(spy, nil)
	a := planes.New("DM2018")
	require.ErrorContains(t, aircraft.Save(t.Context(), a), `the aggregate is of a repository for "plane"`)
	evsourcing.Record(a, TakenOff{})
	require.ErrorContains(t, aircraft.Save(t.Context(), a), `the aggregate is of a repository for "plane"`)
	assert.Zero(t, spy.appends.Load())
	require.NoError(t, planes.Save(t.Context(), a))
	assert.Empty(t, history(t, spy, "DM2018"))

	literal := &Aircraft{}
	evsourcing.Record(literal, TakenOff{})
	require.NoError(t, aircraft.Save(t.Context(), literal))
	evsourcing.Record(literal, Landed{Airport: "CDG"})
	require.ErrorContains(t, planes.Save(t.Context(), literal), "the aggregate is of a repository for", "a literal belongs to who saved it")

	other := newAircraft(spy, nil) // of the same type: repositories have no state that matters
	require.NoError(t, other.Save(t.Context(), literal))
}

// Bad input gets an error of its own, nothing is stored, and the aggregate
// keeps its changes.
func TestSaveRefusesBadInput(t *testing.T) {
	t.Parallel()
	withMeta := func(key, value string) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context {
			return evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{key: value})
		}
	}
	cancelled := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx
	}
	for _, test := range []struct {
		name  string
		id    string
		event evsourcing.EventOf[*Aircraft]
		ctx   func(context.Context) context.Context
		is    error
		says  []string
	}{
		{"an ID that is too long", longName, TakenOff{}, nil, evsourcing.ErrInvalidStream, []string{"the ID has 513 bytes"}},
		{"an ID with a NUL byte", "DM\x00", TakenOff{}, nil, evsourcing.ErrInvalidStream, []string{"the ID has a NUL byte"}},
		{"an ID that is not UTF-8", "DM\xff", TakenOff{}, nil, evsourcing.ErrInvalidStream, []string{"the ID is not valid UTF-8"}},
		{"an unknown topic", "DM2018", Repainted{}, nil, evsourcing.ErrUnknownTopic, []string{`"aircraft.repainted"`, "aircraft/DM2018"}},
		{"another type under a topic", "DM2018", Crashed{}, nil, nil, []string{`"aircraft.landed"`, "evsourcing_test.Crashed"}},
		{"an event that does not encode", "DM2018", Refuelled{Tons: math.NaN()}, nil, nil, []string{`"aircraft.refuelled"`, "NaN"}},
		{"a tag that is empty", "DM2018", untagged{}, nil, nil, []string{"the tag", "is empty", `"aircraft.untagged"`}},
		{"a reserved metadata key", "DM2018", TakenOff{}, withMeta("es.command_id", "x"), nil, []string{`"es.command_id" is reserved`, "aircraft/DM2018"}},
		{"an empty metadata key", "DM2018", TakenOff{}, withMeta("", "x"), nil, []string{"the metadata key", "is empty"}},
		{"a metadata value with a NUL byte", "DM2018", TakenOff{}, withMeta("key", "\x00"), nil, []string{`the metadata value of "key" has a NUL byte`}},
		{"a cancelled context", "DM2018", TakenOff{}, cancelled, context.Canceled, []string{"aircraft/DM2018"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store, bus := evsourcing.NewMemoryStore(), &recorder{}
			codec := newCodec()
			require.NoError(t, codec.Register(untagged{}))
			repo := evsourcing.NewRepository[Aircraft]("aircraft", store, codec, &evsourcing.RepositoryOptions{Bus: bus, Logger: quiet})
			ctx := t.Context()
			if test.ctx != nil {
				ctx = test.ctx(ctx)
			}
			a := repo.New(test.id)
			evsourcing.Record(a, TakenOff{}, test.event) // the first alone would be fine
			_, txErr := repo.Create(ctx, test.id, record(TakenOff{}, test.event))
			for _, err := range []error{repo.Save(ctx, a), txErr} {
				require.Error(t, err)
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				for _, s := range test.says {
					require.ErrorContains(t, err, s)
				}
				require.ErrorContains(t, err, "evsourcing: ")
			}
			assert.Len(t, a.Changes(), 2)
			assert.Zero(t, headOf(t, store))
			assert.Empty(t, bus.got())
		})
	}
}

// untagged has an invalid tag.
type untagged struct{}

func (untagged) Topic() string     { return "aircraft.untagged" }
func (untagged) Tags() []string    { return []string{""} }
func (untagged) ApplyTo(*Aircraft) {}

func TestSaveOfNil(t *testing.T) {
	t.Parallel()
	require.EqualError(t, newAircraft(evsourcing.NewMemoryStore(), nil).Save(t.Context(), nil),
		"evsourcing: save: the *evsourcing_test.Aircraft is nil")
}

func TestSaveWhenNewIDIsEmpty(t *testing.T) {
	t.Parallel()
	repo := newAircraft(evsourcing.NewMemoryStore(), &evsourcing.RepositoryOptions{NewID: func() string { return "" }})
	a := &Aircraft{}
	evsourcing.Record(a, TakenOff{})
	require.ErrorIs(t, repo.Save(t.Context(), a), evsourcing.ErrInvalidStream)
	_, err := repo.Create(t.Context(), "", record(TakenOff{}))
	require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
}

// A conflict that a store reports as the bare sentinel is one too.
func TestSaveOnAStoreWithBareErrors(t *testing.T) {
	t.Parallel()
	spy := newSpyStore().always(func(func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
		return evsourcing.AppendResult{}, evsourcing.ErrConflict
	})
	repo := newAircraft(spy, nil)
	a := repo.New("DM2018")
	evsourcing.Record(a, TakenOff{})
	require.ErrorIs(t, repo.Save(t.Context(), a), evsourcing.ErrConflict)
}

// What a store is passed is its caller's; the memory is used again, but not for
// what is not yet known to be stored.
func TestAppendsOfOneRepositoryDoNotMix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 8
		memory := evsourcing.NewMemoryStore()
		hold := make(chan struct{})
		spy := &spyStore{EventStore: memory}
		spy.answer = func(n int, next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
			<-hold // everybody has passed their events before anybody's are stored
			return next()
		}
		repo := newAircraft(spy, nil)
		for i := range n {
			go func() {
				id := fmt.Sprint("DM", i)
				for range 3 {
					_, err := repo.CreateOrUpdate(t.Context(), id, record(Landed{Airport: id}, Landed{Airport: id}))
					assert.NoError(t, err)
				}
			}()
		}
		for range 3 {
			synctest.Wait()
			for range n {
				hold <- struct{}{}
			}
		}
		synctest.Wait()
		for i := range n {
			id := fmt.Sprint("DM", i)
			events := history(t, memory, id)
			assert.Len(t, events, 6)
			for _, e := range events {
				assert.JSONEq(t, fmt.Sprintf(`{"airport":%q}`, id), string(e.Data))
			}
		}
	})
}

// A large append does not stay in memory, and does not disturb the next.
func TestSaveOfManyChangesAndThenFew(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	for _, n := range []int{1, 1000, 1, 256, 257, 2} {
		a := &Aircraft{}
		for i := range n {
			evsourcing.Record(a, Landed{Airport: fmt.Sprint(i)})
		}
		require.NoError(t, repo.Save(t.Context(), a))
		events := history(t, store, a.ID())
		require.Len(t, events, n)
		assert.JSONEq(t, fmt.Sprintf(`{"airport":"%d"}`, n-1), string(events[n-1].Data))
	}
}
