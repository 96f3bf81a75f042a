package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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
		board:    newDelayBoard(),
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

// What the boards show is what the file says, for any file.
func TestBoardsAgreeWithTheFile(t *testing.T) {
	for seed := range uint64(20) {
		text, want := file(rand.New(rand.NewPCG(seed, 0)), int(seed)*10)
		r, stdout, _ := newReplay(evsourcing.NewMemoryStore())
		require.NoError(t, r.run(t.Context(), strings.NewReader(text)))
		assert.Equal(t, want, r.sums)
		assert.Contains(t, stdout.String(), "both boards agree with the file\n")
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
	assert.Contains(t, stdout.String(), "left out 2 malformed rows\nboth boards agree with the file\n")
}

// Whichever board is wrong, the report names it, and says where.
func TestReplayBoardDiffers(t *testing.T) {
	right := delayTable{"DTW": {1, 66, 1}}
	wrong := delayTable{"DTW": {2, 70, 1}}
	const (
		busDiffers = "DTW: the bus's board has 2 departures, 70 minutes, 1 late; the file has 1 departures, 66 minutes, 1 late\n"
		logDiffers = "DTW: the log's board has 2 departures, 70 minutes, 1 late; the file has 1 departures, 66 minutes, 1 late\n"
	)
	for _, tt := range []struct {
		ofBus, ofLog delayTable
		want         string
	}{
		{wrong, right, busDiffers},
		{right, wrong, logDiffers},
		{wrong, wrong, busDiffers + logDiffers}, // that they agree is not enough
	} {
		r, stdout, _ := newReplay(evsourcing.NewMemoryStore())
		r.sums, r.flown = right, right
		assert.ErrorIs(t, r.report(tt.ofBus, tt.ofLog, true, time.Second), errDiffers)
		_, rest, _ := strings.Cut(stdout.String(), "\n\n")
		assert.Equal(t, "saved 0 rows, 0 events\n"+tt.want, rest)
	}
}

// A take-off that the subscription misses is noticed: here because the log calls
// it something else. (An event that is not there at all would be ErrDiverged.)
func TestReplayLogHidesATakeOff(t *testing.T) {
	store := storeWithLog{evsourcing.NewMemoryStore(), func(_ context.Context, events iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
		return func(yield func(evsourcing.StoredEvent, error) bool) {
			for e, err := range events {
				if e.Position == 2 {
					e.Topic = "aircraft.landed"
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}}
	r, stdout, _ := newReplay(store)
	err := r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n"+row2+"\n"))
	assert.ErrorIs(t, err, errDiffers)
	assert.Regexp(t, `\nsaved 2 rows, 6 events in .+\n`+
		`DTW: the log's board has 0 departures, 0 minutes, 0 late; the file has 1 departures, 66 minutes, 1 late\n$`, stdout.String())
}

// So is one that is not in the file, and that somebody else has stored.
func TestReplayTakeOffOfSomebodyElse(t *testing.T) {
	store := &interruptedStore{MemoryStore: evsourcing.NewMemoryStore(), n: 5}
	store.before = func(context.Context) error {
		takeOff(t, store.MemoryStore, "DAILY2018", "HNL", 5)
		return nil
	}
	r, stdout, _ := newReplay(store)
	err := r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n"+row2+"\n"))
	assert.ErrorIs(t, err, errDiffers)
	assert.Regexp(t, `\nsaved 2 rows, 6 events in .+\n`+
		`HNL: the log's board has 2 departures, 100 minutes, 1 late; the file has 1 departures, 95 minutes, 1 late\n$`, stdout.String())
}

// A log that is slow is waited for, also when the program is interrupted.
func TestReplayOfASlowLog(t *testing.T) {
	for _, tt := range []struct {
		interrupt bool
		want      string
	}{
		{false, "both boards agree with the file\n"},
		{true, "both boards agree with what was saved\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// It is read twice at most: what is stored meanwhile comes at once.
			store := storeWithLog{evsourcing.NewMemoryStore(), func(_ context.Context, events iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
				<-time.After(closeTimeout / 3)
				return events
			}}
			r, stdout, _ := newReplay(store)
			file := io.MultiReader(strings.NewReader(header+"\n"+row1+"\n"), readerFunc(func() error {
				if tt.interrupt {
					cancel()
				}
				return io.EOF
			}), strings.NewReader(row2+"\n"))
			require.ErrorIs(t, r.run(ctx, file), ctx.Err())
			assert.Contains(t, stdout.String(), tt.want)
		})
	}
}

// Without a log there is no second board, and so nothing is stored.
func TestReplayStoreWithoutLog(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	r, stdout, _ := newReplay(storeOnly{store})
	err := r.run(t.Context(), strings.NewReader(header+"\n"+row1))
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Empty(t, stdout.String())
	assert.Empty(t, stored(t, store))
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
		assert.Contains(t, stdout.String(), "both boards agree with what was saved\n")
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
		assert.Contains(t, stdout.String(), "both boards agree with what was saved\n")
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
	assert.Contains(t, stdout.String(), "both boards agree with what was saved\n")
}

// lastingBoard is a board that is still there when a replay runs again.
type lastingBoard struct{ *delayBoard }

func (lastingBoard) lasts() bool { return true }

// Whichever append was the last, the next replay stores the rest and no more.
func TestReplayIsResumed(t *testing.T) {
	const rows = 5
	text, want := file(rand.New(rand.NewPCG(0, 0)), rows)
	died := errors.New("the program was killed")
	for n := 1; n <= 3*rows; n++ {
		store := evsourcing.NewMemoryStore()
		board := lastingBoard{newDelayBoard()}
		r, _, _ := newReplay(&interruptedStore{MemoryStore: store, n: n, before: func(context.Context) error { return died }})
		r.board = board
		require.ErrorIs(t, r.run(t.Context(), strings.NewReader(text)), died)

		r, stdout, _ := newReplay(store)
		r.board = board
		require.NoError(t, r.run(t.Context(), strings.NewReader(text)))
		assert.Len(t, stored(t, store), 3*rows)
		assert.Equal(t, want, board.snapshot())
		assert.Contains(t, stdout.String(), fmt.Sprintf("saved %d rows, %d events in", rows, 3*rows-n+1))
		if n > 1 {
			assert.Contains(t, stdout.String(), fmt.Sprintf("\nfound %d events of an earlier replay\n", n-1))
		}
		assert.Contains(t, stdout.String(), "both boards agree with the file\n")
	}
}

// A board in memory shows the flights of its own replay.
func TestReplayIsResumedWithAnEmptyBoard(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	r, _, _ := newReplay(store)
	require.NoError(t, r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n")))
	r, stdout, _ := newReplay(store)
	require.NoError(t, r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n"+row2+"\n")))
	assert.Contains(t, stdout.String(), "found 3 events of an earlier replay\nboth boards agree with the file\n")
	assert.NotContains(t, stdout.String(), "DTW")
}

// An interrupted replay does not judge what it has not read.
func TestReplayInterruptedAmongTheRowsOfAnEarlierOne(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	board := lastingBoard{newDelayBoard()}
	r, _, _ := newReplay(store)
	r.board = board
	require.NoError(t, r.run(t.Context(), strings.NewReader(header+"\n"+row1+"\n"+row2+"\n")))
	ctx, cancel := context.WithCancel(t.Context())
	r, stdout, _ := newReplay(store)
	r.board = board
	require.ErrorIs(t, r.run(ctx, io.MultiReader(strings.NewReader(header+"\n"+row1+"\n"), readerFunc(func() error {
		cancel()
		return io.EOF
	}), strings.NewReader(row2+"\n"))), context.Canceled)
	assert.Contains(t, stdout.String(), "it is not compared\n")
}
