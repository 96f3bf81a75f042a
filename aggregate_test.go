package evsourcing_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

func TestRecordAppliesAndRemembers(t *testing.T) {
	t.Parallel()
	a := &Aircraft{}
	evsourcing.Record(a, Scheduled{Flight: "DM2018"}, TakenOff{})
	evsourcing.Record(a, Landed{Airport: "CDG"})
	assert.Equal(t, "DM2018", a.Flight)
	assert.False(t, a.Flying)
	assert.Equal(t, "CDG", a.Airport)
	assert.Equal(t, []evsourcing.Event{Scheduled{Flight: "DM2018"}, TakenOff{}, Landed{Airport: "CDG"}}, a.Changes())
	assert.False(t, a.Saved())
	assert.Zero(t, a.Version(), "changes that are not saved do not count")
	assert.Zero(t, a.Position())
	assert.Empty(t, a.ID())
}

func TestFreshAggregateIsSaved(t *testing.T) {
	t.Parallel()
	repo := newAircraft(evsourcing.NewMemoryStore(), nil)
	for name, a := range map[string]*Aircraft{"a literal": {}, "from New": repo.New("DM2018")} {
		assert.True(t, a.Saved(), name)
		assert.Empty(t, a.Changes(), name)
		assert.Zero(t, a.Version(), name)
	}
}

func TestRecordOfNothingChangesNothing(t *testing.T) {
	t.Parallel()
	a := &Aircraft{}
	evsourcing.Record(a)
	assert.True(t, a.Saved())
	assert.Equal(t, "<unknown>", a.Airport, "but Init has run")
}

func TestChangesIsACopy(t *testing.T) {
	t.Parallel()
	a := &Aircraft{}
	evsourcing.Record(a, TakenOff{})
	changes := a.Changes()
	changes[0] = Landed{Airport: "CDG"}
	_ = append(changes, Landed{Airport: "ORY"})
	assert.Equal(t, []evsourcing.Event{TakenOff{}}, a.Changes())
}

func TestRecordPanicsOnANilEventBeforeItAppliesAny(t *testing.T) {
	t.Parallel()
	var inspected *Inspected
	var landed *Landed
	for name, none := range map[string]evsourcing.EventOf[*Aircraft]{
		"nil": nil, "a nil pointer": inspected, "a nil pointer to a value event": landed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &Aircraft{}
			assert.PanicsWithValue(t, "evsourcing: Record on *evsourcing_test.Aircraft: event 1 is nil", func() {
				evsourcing.Record(a, TakenOff{}, none)
			})
			assert.Equal(t, &Aircraft{}, a, "nothing was applied")
			assert.True(t, a.Saved())
		})
	}
}

func TestExecuteRecordsTheEvent(t *testing.T) {
	t.Parallel()
	a := &Aircraft{}
	require.NoError(t, evsourcing.Execute(a, TakeOff))
	assert.True(t, a.Flying)
	require.NoError(t, evsourcing.Execute(a, Land("CDG")))
	assert.Equal(t, []evsourcing.Event{TakenOff{}, Landed{Airport: "CDG"}}, a.Changes())
}

func TestExecuteLeavesTheAggregateUnchangedOnAnError(t *testing.T) {
	t.Parallel()
	var inspected *Inspected
	var landed *Landed
	returns := func(e evsourcing.EventOf[*Aircraft], err error) evsourcing.Command[*Aircraft] {
		return func(*Aircraft) (evsourcing.EventOf[*Aircraft], error) { return e, err }
	}
	for _, test := range []struct {
		name string
		cmd  evsourcing.Command[*Aircraft]
		want error
	}{
		{"the command refuses", Land("CDG"), ErrOnGround},
		{"the command returns an error and an event", returns(TakenOff{}, ErrOnGround), ErrOnGround},
		{"the command is nil", nil, evsourcing.ErrNoEvent},
		{"the event is nil", returns(nil, nil), evsourcing.ErrNoEvent},
		{"the event is a nil pointer", returns(inspected, nil), evsourcing.ErrNoEvent},
		{"the event is a nil pointer to a value event", returns(landed, nil), evsourcing.ErrNoEvent},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAircraft(evsourcing.NewMemoryStore(), nil).New("DM2018")
			evsourcing.Record(a, Scheduled{Flight: "DM2018"})
			before := *a
			err := evsourcing.Execute(a, test.cmd)
			require.ErrorIs(t, err, test.want)
			assert.Equal(t, before, *a)
			if errors.Is(test.want, evsourcing.ErrNoEvent) {
				assert.ErrorContains(t, err, "*evsourcing_test.Aircraft")
			} else {
				assert.Same(t, test.want, err, "the command's own error, as it is")
			}
		})
	}
}

func TestInitRunsOnceBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", TakenOff{}, &Inspected{Hours: 1})
	repo := newAircraft(store, nil)
	for _, test := range []struct {
		name string
		make func(t *testing.T) *Aircraft
	}{
		{"New", func(*testing.T) *Aircraft { return repo.New("") }},
		{"Load", func(t *testing.T) *Aircraft {
			a, err := repo.Load(t.Context(), "DM2018")
			require.NoError(t, err)
			return a
		}},
		{"LoadAt", func(t *testing.T) *Aircraft {
			a, err := repo.LoadAt(t.Context(), "DM2018", 1)
			require.NoError(t, err)
			return a
		}},
		{"a literal", func(*testing.T) *Aircraft { return &Aircraft{} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := test.make(t)
			if test.name != "a literal" {
				assert.Equal(t, "<unknown>", a.Airport)
			}
			err := evsourcing.Execute(a, func(a *Aircraft) (evsourcing.EventOf[*Aircraft], error) {
				assert.Equal(t, "<unknown>", a.Airport, "a command sees the initial state")
				return &Inspected{Hours: 1}, nil
			})
			require.NoError(t, err)
			evsourcing.Record(a, TakenOff{})
			evsourcing.Record(a, Landed{Airport: "CDG"})
			assert.Equal(t, "CDG", a.Airport, "Init did not run again")
			assert.Equal(t, 1, a.Inits)
		})
	}
	t.Run("a literal that is recorded on", func(t *testing.T) {
		t.Parallel()
		a := &Aircraft{}
		evsourcing.Record(a, Landed{Airport: "CDG"})
		assert.Equal(t, "CDG", a.Airport)
		assert.Equal(t, 1, a.Inits)
	})
	t.Run("an aggregate without Init", func(t *testing.T) {
		t.Parallel()
		h := &Hangar{}
		evsourcing.Record(h, Swept{})
		assert.True(t, h.Clean)
	})
}

func TestLiteralAndLoadedAggregateAgree(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	a := &Aircraft{}
	evsourcing.Record(a, TakenOff{}, &Inspected{Hours: 3, Findings: []string{"a dent"}})
	require.NoError(t, repo.Save(t.Context(), a))
	loaded, err := repo.Load(t.Context(), a.ID())
	require.NoError(t, err)
	a.Base, loaded.Base = evsourcing.Base{}, evsourcing.Base{}
	assert.Equal(t, a, loaded)
}

func TestEventIDsAreTimeOrderedUUIDs(t *testing.T) {
	t.Parallel()
	const n = 2000
	store := evsourcing.NewMemoryStore()
	repo := newAircraft(store, nil)
	a := repo.New("DM2018")
	start := time.Now()
	for range n {
		evsourcing.Record(a, TakenOff{})
	}
	require.NoError(t, repo.Save(t.Context(), a))
	events := history(t, store, "DM2018")
	require.Len(t, events, n)
	seen := map[uuid.UUID]bool{}
	for i, e := range events {
		require.Equal(t, uuid.Version(7), e.ID.Version())
		require.Equal(t, uuid.RFC4122, e.ID.Variant())
		require.False(t, seen[e.ID], "event %d has the ID of another", i)
		seen[e.ID] = true
		sec, nsec := e.ID.Time().UnixTime()
		require.Equal(t, e.Time.UnixMilli(), time.Unix(sec, nsec).UnixMilli(), "an ID begins with the event's millisecond")
		require.WithinDuration(t, start, e.Time, time.Minute)
		if i > 0 && events[i-1].Time.UnixMicro() != e.Time.UnixMicro() {
			require.Less(t, events[i-1].ID.String(), e.ID.String(), "IDs of different times have their order")
		}
	}
}

func TestEventIDsOfOddTimes(t *testing.T) {
	t.Parallel()
	for _, now := range []time.Time{
		time.Unix(0, 0), time.UnixMicro(-1), time.UnixMilli(-1500), time.UnixMicro(999), time.Unix(1<<33, 999_999_999),
	} {
		store := evsourcing.NewMemoryStore()
		repo := newAircraft(store, &evsourcing.RepositoryOptions{Now: func() time.Time { return now }})
		_, err := repo.Create(t.Context(), "DM2018", record(TakenOff{}, TakenOff{}))
		require.NoError(t, err, now)
		for _, e := range history(t, store, "DM2018") {
			assert.Equal(t, uuid.Version(7), e.ID.Version(), now)
			assert.Equal(t, now.UnixMicro(), e.Time.UnixMicro(), now)
		}
	}
}

func TestEventTimesAreUTCAndMicroseconds(t *testing.T) {
	t.Parallel()
	now := time.Date(2018, 7, 1, 12, 0, 0, 123456789, time.FixedZone("CEST", 2*3600))
	spy := newSpyStore()
	repo := newAircraft(spy, &evsourcing.RepositoryOptions{Now: func() time.Time { return now }})
	clocked, literal := repo.New(""), &Aircraft{}
	evsourcing.Record(clocked, TakenOff{})
	evsourcing.Record(literal, TakenOff{}) // by time.Now, for want of a repository
	require.NoError(t, repo.Save(t.Context(), clocked))
	require.NoError(t, repo.Save(t.Context(), literal))

	at := spy.batches[0].Events[0].Time
	assert.Equal(t, "2018-07-01T10:00:00.123456Z", at.Format(time.RFC3339Nano))
	for _, b := range spy.batches {
		assert.Equal(t, time.UTC, b.Events[0].Time.Location())
		assert.Zero(t, b.Events[0].Time.Nanosecond()%1000)
	}
	assert.WithinDuration(t, time.Now(), spy.batches[1].Events[0].Time, time.Minute)
	assert.Equal(t, spy.batches[0].Events[0].Time, history(t, spy, clocked.ID())[0].Time)
}

func TestEventIDAndTimeAreFixedByRecord(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	spy := newSpyStore().script(failed, replyLost)
	repo := newAircraft(spy, &evsourcing.RepositoryOptions{Now: func() time.Time { return now }})
	a := repo.New("DM2018")
	evsourcing.Record(a, TakenOff{}, Landed{Airport: "CDG"})
	now = now.Add(time.Hour)
	for _, want := range []error{errDisk, evsourcing.ErrUncertain, nil} {
		require.ErrorIs(t, repo.Save(t.Context(), a), want)
	}
	require.Len(t, spy.batches, 3)
	for _, b := range spy.batches {
		assert.Equal(t, spy.batches[0], b, "every save is the same append")
		assert.Equal(t, int64(1_000_000), b.Events[0].Time.Unix())
	}
}

func TestStreamIDValidate(t *testing.T) {
	t.Parallel()
	for name, what := range badNames() {
		for part, s := range map[string]evsourcing.StreamID{
			"type": {Type: name, ID: "DM2018"}, "ID": {Type: "aircraft", ID: name},
		} {
			err := s.Validate()
			require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
			assert.ErrorContains(t, err, "the "+part+" "+what)
			assert.Less(t, len(err.Error()), 300, "a hostile name does not fill the message")
		}
	}
	for _, name := range goodNames() {
		require.NoError(t, evsourcing.StreamID{Type: name, ID: name}.Validate())
	}
	assert.Equal(t, "aircraft/DM2018", fmt.Sprint(aircraftStream("DM2018")))
}
