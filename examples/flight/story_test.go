package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const storyText = `Scheduling flight DAILY2018 from Amsterdam to Paris.
  aircraft DAILY2018, version 1: on the ground in Amsterdam AMS, scheduled for Paris CDG
Taking off!
  aircraft DAILY2018, version 2: in the air, from Amsterdam AMS to Paris CDG
Landing in Paris CDG.
  aircraft DAILY2018, version 3: on the ground in Paris CDG
Landing again, to be sure.
  refused: aircraft: it is on the ground already
Closing the bus, which waits for its reactors.
Did we forget to pack something important?
`

func TestStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		start := time.Now()
		status := run(t.Context(), nil, &stdout, &stderr)
		assert.Equal(t, exitOK, status)
		assert.Equal(t, storyText, stdout.String())
		assert.Empty(t, stderr.String())
		assert.Equal(t, time.Second, time.Since(start), "closing waits for the thinking reactor")
	})
}

func TestStoryIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		require.NoError(t, story(t.Context(), store, io.Discard, slog.New(slog.DiscardHandler)))
		a, err := aircraft.NewRepository(store, nil).Load(t.Context(), "DAILY2018")
		require.NoError(t, err)
		assert.Equal(t, "aircraft DAILY2018, version 3: on the ground in Paris CDG", a.String())
	})
}

// Told twice in one store, the story fails, but it still closes what it opened.
func TestStoryTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		require.NoError(t, story(t.Context(), store, io.Discard, slog.New(slog.DiscardHandler)))
		err := story(t.Context(), store, io.Discard, slog.New(slog.DiscardHandler))
		assert.ErrorIs(t, err, evsourcing.ErrConflict)
	})
}

func TestStoryInterruptedWhileTheReactorThinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitInterrupted, run(ctx, nil, &stdout, &stderr))
		assert.NotContains(t, stdout.String(), "forget to pack")
		assert.Contains(t, stderr.String(), "messages undelivered: 1")
		synctest.Wait() // the reactor sees that its context has ended
	})
}
