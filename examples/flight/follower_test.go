package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// takeOff stores an aircraft that has taken off.
func takeOff(t *testing.T, store evsourcing.EventStore, id, airport string, delay int) {
	t.Helper()
	_, err := aircraft.NewRepository(store, nil).Create(t.Context(), id, aircraft.Do(
		aircraft.Schedule(aircraft.Plan{Origin: airport, Destination: "ZRH"}), aircraft.TakeOff(delay)))
	require.NoError(t, err)
}

// follow returns a follower that has started.
func follow(t *testing.T, store evsourcing.EventStore) *follower {
	t.Helper()
	f, err := newFollower(t.Context(), store, newDelayBoard(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	f.start(t.Context())
	return f
}

// storeWithLog has a log that is read by a function of the test's.
type storeWithLog struct {
	*evsourcing.MemoryStore
	read func(ctx context.Context, events iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error]
}

func (s storeWithLog) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return s.read(ctx, s.MemoryStore.Events(ctx, r, f))
}

// Whoever stores it: a bus hears nothing of these.
func TestFollower(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	f := follow(t, store)
	takeOff(t, store, "A", "DTW", 66)
	takeOff(t, store, "B", "DTW", -6)
	takeOff(t, store, "C", "ATL", 0)
	require.NoError(t, f.close(t.Context()))
	assert.Equal(t, delayTable{"DTW": {2, 60, 1}, "ATL": {1, 0, 0}}, f.board.(*delayBoard).snapshot())

	head, err := store.Head(t.Context())
	require.NoError(t, err)
	c, ok, err := store.Checkpoint(t.Context(), boardName)
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, head.Position, c.Position)
	assert.Equal(t, uint64(3), f.subscription.Status().Handled, "events of other topics are passed over")
}

// An empty board begins at the log's end, wherever an earlier one had come.
func TestFollowerOfALogWithAPast(t *testing.T) {
	for name, prepare := range map[string]func(store *evsourcing.MemoryStore) error{
		"no checkpoint": func(*evsourcing.MemoryStore) error { return nil },
		"a checkpoint": func(store *evsourcing.MemoryStore) error {
			return store.SaveCheckpoint(t.Context(), boardName, evsourcing.Checkpoint{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			takeOff(t, store, "A", "DTW", 66)
			require.NoError(t, prepare(store))
			f := follow(t, store)
			takeOff(t, store, "B", "ATL", 5)
			require.NoError(t, f.close(t.Context()))
			assert.Equal(t, delayTable{"ATL": {1, 5, 0}}, f.board.(*delayBoard).snapshot())
		})
	}
}

// Closing waits for a log that is slow, but not for ever.
func TestFollowerOfASlowLog(t *testing.T) {
	for _, tt := range []struct {
		delay, closing time.Duration
		err            error
		want           delayTable
	}{
		{closeTimeout - 1, closeTimeout - 1, nil, delayTable{"DTW": {1, 66, 1}}},
		{closeTimeout + 1, closeTimeout, context.DeadlineExceeded, delayTable{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := storeWithLog{evsourcing.NewMemoryStore(), func(ctx context.Context, events iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
				select {
				case <-time.After(tt.delay):
				case <-ctx.Done():
				}
				return events
			}}
			f := follow(t, store)
			takeOff(t, store, "A", "DTW", 66)
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), closeTimeout)
			defer cancel()
			assert.ErrorIs(t, f.close(ctx), tt.err)
			assert.Equal(t, tt.closing, time.Since(start))
			assert.Equal(t, tt.want, f.board.(*delayBoard).snapshot())
		})
	}
}

// Nor does a log that does not heed its context hold up the end of the program.
func TestFollowerOfAStuckLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		defer close(stuck)
		f := follow(t, storeWithLog{evsourcing.NewMemoryStore(), func(_ context.Context, events iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
			<-stuck
			return events
		}})
		takeOff(t, f.log.(evsourcing.EventStore), "A", "DTW", 66)
		ctx, cancel := context.WithTimeout(t.Context(), closeTimeout)
		defer cancel()
		assert.ErrorIs(t, f.close(ctx), context.DeadlineExceeded)
	})
}

// What ends the subscription is reported once, as soon as anybody waits.
func TestFollowerFails(t *testing.T) {
	store := storeWithLog{evsourcing.NewMemoryStore(), func(context.Context, iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
		return func(yield func(evsourcing.StoredEvent, error) bool) {
			yield(evsourcing.StoredEvent{}, evsourcing.ErrDiverged)
		}
	}}
	f := follow(t, store)
	takeOff(t, store, "A", "DTW", 66)
	err := f.close(t.Context())
	require.ErrorIs(t, err, evsourcing.ErrDiverged)
	assert.NotContains(t, err.Error(), "\n")
}

// fencedStore refuses to save checkpoints, but those of a beginning.
type fencedStore struct{ *evsourcing.MemoryStore }

func (s fencedStore) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if c.Position > 0 {
		return evsourcing.ErrFenced
	}
	return s.MemoryStore.SaveCheckpoint(ctx, name, c)
}

// A board that is right does not hide that its subscription has failed.
func TestFollowerCannotSaveItsCheckpoint(t *testing.T) {
	store := fencedStore{evsourcing.NewMemoryStore()}
	f := follow(t, store)
	takeOff(t, store, "A", "DTW", 66)
	assert.ErrorIs(t, f.close(t.Context()), evsourcing.ErrFenced)
	assert.Equal(t, delayTable{"DTW": {1, 66, 1}}, f.board.(*delayBoard).snapshot())

	takeOff(t, store, "B", "DTW", 0)
	_, err := newFollower(t.Context(), store, newDelayBoard(), slog.New(slog.DiscardHandler))
	assert.ErrorIs(t, err, evsourcing.ErrFenced)
}

// storeWithoutHead can't say where its log ends.
type storeWithoutHead struct {
	*evsourcing.MemoryStore
	err error // nil as long as it can
}

func (s *storeWithoutHead) Head(ctx context.Context) (evsourcing.Mark, error) {
	if s.err != nil {
		return evsourcing.Mark{}, s.err
	}
	return s.MemoryStore.Head(ctx)
}

func TestFollowerOfAStoreThatFails(t *testing.T) {
	broken := errors.New("the disk is on fire")
	_, err := newFollower(t.Context(), &storeWithoutHead{evsourcing.NewMemoryStore(), broken}, newDelayBoard(), slog.New(slog.DiscardHandler))
	assert.ErrorIs(t, err, broken)

	store := &storeWithoutHead{evsourcing.NewMemoryStore(), nil}
	f, err := newFollower(t.Context(), store, newDelayBoard(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	store.err = broken
	f.start(t.Context())
	assert.ErrorIs(t, f.close(t.Context()), broken)
}

// storeOnly hides what else a store can do.
type storeOnly struct{ evsourcing.EventStore }

// logOnly is a store that keeps no checkpoints.
type logOnly struct {
	evsourcing.EventStore
	evsourcing.Log
}

func TestFollowerOfAStoreThatCannot(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	for want, store := range map[string]evsourcing.EventStore{
		"evsourcing.Log":             storeOnly{store},
		"evsourcing.CheckpointStore": logOnly{store, store},
	} {
		_, err := newFollower(t.Context(), store, newDelayBoard(), slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, want)
	}
}
