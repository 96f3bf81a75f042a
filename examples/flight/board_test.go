package main

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDelayTable(t *testing.T) {
	table := delayTable{}
	for _, d := range []struct {
		airport string
		delay   int
	}{{"MSP", 15}, {"MSP", 16}, {"DTW", -10}, {"DTW", 5}, {"ATL", 100}, {"ATL", 0}, {"ATL", -1}, {"ZRH", 1}} {
		table.add(d.airport, d.delay)
	}
	assert.Equal(t, []string{"ATL", "DTW", "MSP"}, table.busiest(3), "equally busy airports stand in alphabetical order")
	assert.Equal(t, []string{"ATL", "DTW", "MSP", "ZRH"}, table.busiest(10))

	var b bytes.Buffer
	require.NoError(t, table.print(&b, 3))
	assert.Equal(t, `  airport  departures  mean delay  over 15 min
      ATL           3    33.0 min       33.3 %
      DTW           2    -2.5 min        0.0 %
      MSP           2    15.5 min       50.0 %
`, b.String())
}

func TestDifferences(t *testing.T) {
	board := delayTable{"ATL": {3, 99, 1}, "DTW": {2, -5, 0}, "MSP": {1, 15, 0}}
	file := delayTable{"ATL": {3, 99, 1}, "DTW": {2, -5, 1}, "ZRH": {1, 1, 0}}
	assert.Equal(t, []string{
		"DTW: the board has 2 departures, -5 minutes, 0 late; the file has 2 departures, -5 minutes, 1 late",
		"MSP: the board has 1 departures, 15 minutes, 0 late; the file has 0 departures, 0 minutes, 0 late",
		"ZRH: the board has 0 departures, 0 minutes, 0 late; the file has 1 departures, 1 minutes, 0 late",
	}, board.differences("the board", file))
	assert.Empty(t, board.differences("the board", board))
}

// Reactors of different aircraft run side by side.
func TestDelayBoardConcurrently(t *testing.T) {
	board := newDelayBoard()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				e := aircraft.TakenOff{Airport: fmt.Sprint(i % 2), Delay: 20}
				assert.NoError(t, board.takenOff(t.Context(), "", e))
				board.snapshot()
			}
		})
	}
	wg.Wait()
	assert.Equal(t, delayTable{"0": {400, 8000, 400}, "1": {400, 8000, 400}}, board.snapshot())
}
