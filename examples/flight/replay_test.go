package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newReplay returns a replay whose progress line goes where its errors go, as on
// a terminal.
func newReplay(store evsourcing.EventStore) (r *replay, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &replay{
		store:    store,
		logger:   slog.New(slog.DiscardHandler),
		stdout:   stdout,
		stderr:   stderr,
		progress: &progress{w: stderr},
	}, stdout, stderr
}

// stored returns the store's events, each as the ID of its aircraft and its
// topic.
func stored(t *testing.T, store *evsourcing.MemoryStore) []string {
	t.Helper()
	var events []string
	for e, err := range store.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		require.NoError(t, err)
		events = append(events, e.Stream.ID+" "+e.Topic)
	}
	return events
}

// file returns a file of n random flights, and what a board should make of it.
func file(random *rand.Rand, n int) (string, delayTable) {
	airports := []string{"AMS", "ATL", "CDG", "DTW", "LAS", "ZRH"}
	var b strings.Builder
	b.WriteString(header + "\n")
	want := delayTable{}
	for range n {
		from, to := airports[random.IntN(len(airports))], airports[random.IntN(len(airports))]
		delay := random.IntN(80) - 30
		fmt.Fprintf(&b, "2001/01/%02d %02d:%02d,%s,%s,%d,%d\n",
			1+random.IntN(31), random.IntN(24), random.IntN(60), from, to, 1+random.IntN(5000), delay)
		d := want[from]
		d.departures++
		d.minutes += delay
		if delay > 15 {
			d.late++
		}
		want[from] = d
	}
	return b.String(), want
}

// What the board shows is what the file says, for any file.
func TestBoardAgreesWithTheFile(t *testing.T) {
	for seed := range uint64(20) {
		text, want := file(rand.New(rand.NewPCG(seed, 0)), int(seed)*10)
		r, stdout, _ := newReplay(evsourcing.NewMemoryStore())
		require.NoError(t, r.run(t.Context(), strings.NewReader(text)))
		assert.Equal(t, want, r.sums)
		assert.Contains(t, stdout.String(), "board agrees with the file\n")
		assert.Contains(t, stdout.String(), fmt.Sprintf("saved %d rows, %d events", seed*10, seed*30))
	}
}

func TestReplayStoresRowsInOrder(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	r, _, stderr := newReplay(store)
	require.NoError(t, r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n"+row2+"\n")))
	assert.Equal(t, []string{
		"20010101-DTW-LAS-0002 aircraft.scheduled",
		"20010101-DTW-LAS-0002 aircraft.taken_off",
		"20010101-DTW-LAS-0002 aircraft.landed",
		"20010101-HNL-SFO-0003 aircraft.scheduled",
		"20010101-HNL-SFO-0003 aircraft.taken_off",
		"20010101-HNL-SFO-0003 aircraft.landed",
	}, stored(t, store))
	assert.Equal(t, "\rreplaying: 1 rows, 3 events\r\x1b[K", stderr.String())

	fleet := aircraft.NewRepository(store, nil)
	planned, err := fleet.LoadAt(t.Context(), "20010101-DTW-LAS-0002", 1)
	require.NoError(t, err)
	assert.Equal(t, aircraft.Plan{
		Origin: "DTW", Destination: "LAS", Departure: time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC), Distance: 1750,
	}, planned.Plan)
}

func TestReplayMalformedRows(t *testing.T) {
	r, stdout, stderr := newReplay(evsourcing.NewMemoryStore())
	err := r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n\"oops\n"+row2+"\n2001/01/01 01:20,HNL,SFO,2399,late\n"))
	assert.ErrorIs(t, err, errMalformed)
	assert.Equal(t, "\rreplaying: 1 rows, 3 events\r\x1b[K"+
		"flight: line 3: column 6: extraneous or missing \" in quoted-field\n"+
		"\rreplaying: 2 rows, 6 events\r\x1b[K"+
		"flight: line 5: delay_min \"late\" is not a whole number\n", stderr.String())
	assert.Contains(t, stdout.String(), "saved 2 rows, 6 events")
	assert.Contains(t, stdout.String(), "left out 2 malformed rows\nboard agrees with the file\n")
}

// A board that is wrong is noticed: here because an aircraft takes off that is
// not in the file.
func TestReplayBoardDiffers(t *testing.T) {
	r, stdout, _ := newReplay(evsourcing.NewMemoryStore())
	r.sums = delayTable{}
	r.sums.add("DTW", 66)
	err := r.report(delayTable{"DTW": {2, 70, 1}}, time.Second)
	assert.ErrorIs(t, err, errDiffers)
	assert.Contains(t, stdout.String(), "DTW: the board has 2 departures, 70 minutes, 1 late; the file has 1 departures, 66 minutes, 1 late\n")
	assert.NotContains(t, stdout.String(), "agrees")
}

func TestReplayCannotPrint(t *testing.T) {
	r, _, _ := newReplay(evsourcing.NewMemoryStore())
	pipe, w := io.Pipe()
	require.NoError(t, pipe.Close())
	r.stdout = w
	assert.ErrorIs(t, r.run(t.Context(), strings.NewReader(header+"\n"+row1)), io.ErrClosedPipe)
}

// A readerFunc is called when a reader gets to it.
type readerFunc func() error

func (f readerFunc) Read([]byte) (int, error) { return 0, f() }

// Whenever the replay is interrupted, it has saved what it says, and those are
// the file's first rows.
func TestReplayInterrupted(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		text, _ := file(random, 400)
		ctx, cancel := context.WithCancelCause(t.Context())
		interrupt := errors.New("interrupt signal received")
		at := len(header) + 1 + random.IntN(len(text)-len(header)-1)
		in := io.MultiReader(strings.NewReader(text[:at]), readerFunc(func() error {
			cancel(interrupt)
			return io.EOF
		}), strings.NewReader(text[at:]))

		store := evsourcing.NewMemoryStore()
		r, stdout, _ := newReplay(store)
		require.ErrorIs(t, r.run(ctx, in), interrupt)

		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")[1:]
		var want []string
		for i, line := range lines[:r.rows] {
			parsed, err := parseRow(line)
			require.NoError(t, err)
			parsed.line = i + 2
			for _, topic := range []string{" aircraft.scheduled", " aircraft.taken_off", " aircraft.landed"} {
				want = append(want, parsed.id()+topic)
			}
		}
		assert.Less(t, r.rows, len(lines))
		assert.Equal(t, want, stored(t, store))
		assert.Contains(t, stdout.String(), fmt.Sprintf("saved %d rows, %d events", r.rows, len(want)))
		assert.Contains(t, stdout.String(), "board agrees with what was saved\n")
	}
}

// interruptedStore has something happen before its nth append.
type interruptedStore struct {
	*evsourcing.MemoryStore
	n      int
	before func(ctx context.Context) error
}

func (s *interruptedStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	if s.n--; s.n == 0 {
		if err := s.before(ctx); err != nil {
			return evsourcing.AppendResult{}, err
		}
	}
	return s.MemoryStore.Append(ctx, batches...)
}

// The row that is under way is finished.
func TestReplayInterruptedWithinARow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	store := &interruptedStore{MemoryStore: evsourcing.NewMemoryStore(), n: 5, before: func(context.Context) error {
		cancel()
		return nil
	}}
	r, stdout, _ := newReplay(store)
	text, _ := file(rand.New(rand.NewPCG(0, 0)), 10)
	require.ErrorIs(t, r.run(ctx, strings.NewReader(text)), context.Canceled)
	assert.Len(t, stored(t, store.MemoryStore), 6)
	assert.Contains(t, stdout.String(), "saved 2 rows, 6 events")
}

// A store that hangs does not hold up an interrupted program for ever.
func TestReplayInterruptedWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := &interruptedStore{MemoryStore: evsourcing.NewMemoryStore(), n: 5, before: func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}}
		r, stdout, _ := newReplay(store)
		text, _ := file(rand.New(rand.NewPCG(0, 0)), 10)
		start := time.Now()
		err := r.run(ctx, strings.NewReader(text))
		require.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "line 3: ")
		assert.Equal(t, closeTimeout, time.Since(start))
		assert.Contains(t, stdout.String(), "saved 1 rows, 4 events")
		assert.Contains(t, stdout.String(), "board agrees with what was saved\n")
	})
}

func TestReplayStoreFails(t *testing.T) {
	full := errors.New("no space left")
	store := &interruptedStore{MemoryStore: evsourcing.NewMemoryStore(), n: 6, before: func(context.Context) error { return full }}
	r, stdout, _ := newReplay(store)
	text, _ := file(rand.New(rand.NewPCG(0, 0)), 10)
	err := r.run(t.Context(), strings.NewReader(text))
	require.ErrorIs(t, err, full)
	assert.ErrorContains(t, err, "line 3: ")
	assert.Contains(t, stdout.String(), "saved 1 rows, 5 events")
	assert.Contains(t, stdout.String(), "board agrees with what was saved\n")
}
