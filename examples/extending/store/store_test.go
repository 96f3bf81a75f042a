package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evsourcing.EventStore {
		s, err := Open(filepath.Join(t.TempDir(), "events.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}

// What the suite can't see from outside: that events are in the file.

var stream = evsourcing.StreamID{Type: "account", ID: "1/ü\n"}

// open opens a store that the test closes.
func open(t *testing.T, name string) *Store {
	t.Helper()
	s, err := Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// batch returns a batch of events that follow the stream's version.
func batch(version uint64, data ...string) evsourcing.Batch {
	b := evsourcing.Batch{Stream: stream, Expected: version}
	for i, d := range data {
		b.Events = append(b.Events, evsourcing.StoredEvent{
			ID: uuid.New(), Version: version + uint64(i) + 1, Topic: "noted", ContentType: "text/plain", Data: []byte(d),
			Tags: []string{"a"}, Metadata: evsourcing.Metadata{"k": "v"}, Time: time.Unix(1_700_000_000, 5_001).UTC(),
		})
	}
	return b
}

// all returns everything in the store.
func all(t *testing.T, s *Store) (events []evsourcing.StoredEvent) {
	t.Helper()
	for e, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		require.NoError(t, err)
		events = append(events, e)
	}
	return events
}

func TestEventsSurvive(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "events.jsonl")
	s := open(t, name)
	first := batch(0, "a", "\x00\xff", "")
	_, err := s.Append(t.Context(), first)
	require.NoError(t, err)
	want := all(t, s)
	require.NoError(t, s.Close())
	require.Equal(t, want, all(t, s), "reading goes on")
	_, err = s.Append(t.Context(), batch(3, "b"))
	require.ErrorIs(t, err, errClosed)

	again := open(t, name)
	got := all(t, again)
	require.Len(t, got, 3)
	for i := range got {
		if len(want[i].Data) == 0 {
			want[i].Data, got[i].Data = nil, nil
		}
		assert.Equal(t, want[i], got[i])
	}
	result, err := again.Append(t.Context(), first)
	require.NoError(t, err)
	assert.Equal(t, evsourcing.AppendResult{Position: 3, Versions: []uint64{3}, Repeated: true}, result)
	_, err = again.Append(t.Context(), batch(2, "c"))
	require.ErrorIs(t, err, evsourcing.ErrConflict)
	_, err = again.Append(t.Context(), batch(3, "c"))
	require.NoError(t, err)
}

// A crash leaves a part of a line, whose append was never acknowledged. It is
// gone, as a whole, and the next append is not glued to it.
func TestTornAppendIsGone(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "events.jsonl")
	s := open(t, name)
	_, err := s.Append(t.Context(), batch(0, "a"))
	require.NoError(t, err)
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	_, err = s.Append(t.Context(), batch(1, "b", "c"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	file, err := os.ReadFile(name)
	require.NoError(t, err)
	for size := len(whole); size < len(file); size += 37 {
		require.NoError(t, os.WriteFile(name, file[:size], 0o600))
		s := open(t, name)
		require.Len(t, all(t, s), 1)
		_, err = s.Append(t.Context(), batch(1, "d"))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.Len(t, all(t, open(t, name)), 2)
	}
}

// A damaged line in the middle is not skipped.
func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "events.jsonl")
	s := open(t, name)
	for version := range uint64(2) {
		_, err := s.Append(t.Context(), batch(version, "a"))
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	file, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(file), `"noted"`, `"noted`, 1)), 0o600))
	_, err = Open(name)
	require.ErrorContains(t, err, "the line at byte 0 is damaged")
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Len(t, after, len(file)-1, "and the file is as it was")
}

// Whether a write that failed is in the file is not known, and its repetition
// does not make it known.
func TestFailedWriteIsUncertain(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "events.jsonl"))
	require.NoError(t, s.file.Close())
	b := batch(0, "a")
	for range 2 {
		_, err := s.Append(t.Context(), b)
		require.ErrorIs(t, err, evsourcing.ErrUncertain)
	}
	assert.Empty(t, all(t, s))
}

// A call that is cancelled while it waits its turn is withdrawn.
func TestWaitingAppendIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "events.jsonl"))
		s.turn <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { _, err := s.Append(ctx, batch(0, "a")); result <- err }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		require.Len(t, result, 1)
		require.ErrorIs(t, <-result, context.Canceled)
		<-s.turn
		assert.Empty(t, all(t, s))
	})
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	_, err := Open(t.TempDir())
	require.Error(t, err)
}

// The wrapper keeps the promises too, and hides nothing.
func TestTimed(t *testing.T) {
	t.Run("store", func(t *testing.T) {
		if testing.Short() {
			t.Skip("-short: the whole suite takes half a minute")
		}
		storetest.Run(t, func(t *testing.T) evsourcing.EventStore {
			return &Timed{EventStore: open(t, filepath.Join(t.TempDir(), "events.jsonl")), Report: func(time.Duration, error) {}}
		})
	})
	s := open(t, filepath.Join(t.TempDir(), "events.jsonl"))
	var reports []error
	timed := &Timed{EventStore: s, Report: func(took time.Duration, err error) {
		assert.Positive(t, took)
		reports = append(reports, err)
	}}
	log, ok := evsourcing.Capability[evsourcing.Log](timed)
	require.True(t, ok)
	assert.Same(t, s, log)
	_, ok = evsourcing.Capability[evsourcing.Waiter](timed)
	assert.False(t, ok)
	for _, want := range []error{nil, evsourcing.ErrConflict} {
		_, err := timed.Append(t.Context(), batch(0, "a"))
		require.ErrorIs(t, err, want)
		assert.True(t, errors.Is(reports[len(reports)-1], want))
	}
}
