package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
)

// boardName is the name of what keeps a board up to date: of a subscription to
// the bus, and of one to the log, whose checkpoint it stands for.
const boardName = "delay board"

// lateAfter is the delay, in minutes, beyond which a departure counts as late.
const lateAfter = 15

// delays sums up the departures from one airport.
type delays struct {
	departures int
	minutes    int // the sum of all delays; early departures count against late ones
	late       int // departures more than lateAfter minutes late
}

func (d delays) mean() float64      { return float64(d.minutes) / float64(d.departures) }
func (d delays) lateShare() float64 { return float64(d.late) / float64(d.departures) }

// delayTable has the delays of each airport.
type delayTable map[string]delays

// add counts one departure.
func (t delayTable) add(airport string, delay int) {
	d := t[airport]
	d.departures++
	d.minutes += delay
	if delay > lateAfter {
		d.late++
	}
	t[airport] = d
}

// busiest returns the n airports with the most departures, most first.
func (t delayTable) busiest(n int) []string {
	airports := slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		return cmp.Or(cmp.Compare(t[b].departures, t[a].departures), cmp.Compare(a, b))
	})
	return airports[:min(n, len(airports))]
}

// print writes the n busiest airports as a table.
func (t delayTable) print(w io.Writer, n int) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "airport\tdepartures\tmean delay\tover %d min\t\n", lateAfter)
	for _, airport := range t.busiest(n) {
		d := t[airport]
		fmt.Fprintf(tw, "%s\t%d\t%.1f min\t%.1f %%\t\n", airport, d.departures, d.mean(), 100*d.lateShare())
	}
	return tw.Flush()
}

// differences describes where t is not what it should be, one line an airport.
// The name says whose table it is.
func (t delayTable) differences(name string, want delayTable) []string {
	all := maps.Clone(t)
	maps.Copy(all, want)
	var lines []string
	for _, airport := range slices.Sorted(maps.Keys(all)) {
		if got, want := t[airport], want[airport]; got != want {
			lines = append(lines, fmt.Sprintf(
				"%s: %s has %d departures, %d minutes, %d late; the file has %d departures, %d minutes, %d late",
				airport, name, got.departures, got.minutes, got.late, want.departures, want.minutes, want.late))
		}
	}
	return lines
}

// A board is a table of delays that a follower keeps up to date.
type board interface {
	// handler returns what tells the board of aircraft that have taken off.
	handler() evsourcing.Handler
	// read returns the table as it is now.
	read(ctx context.Context) (delayTable, error)
	// lasts reports whether the board is still there when the program runs
	// again.
	lasts() bool
}

// A delayBoard is a board in memory. What it hears of comes from a bus, or from
// the log.
type delayBoard struct {
	mu    sync.Mutex // guards table: different aircraft take off side by side
	table delayTable
}

func newDelayBoard() *delayBoard { return &delayBoard{table: delayTable{}} }

// takenOff is the board's reactor.
func (b *delayBoard) takenOff(_ context.Context, _ string, e aircraft.TakenOff) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.table.add(e.Airport, e.Delay)
	return nil
}

func (b *delayBoard) handler() evsourcing.Handler {
	return evsourcing.Each(evsourcing.On(b.takenOff))
}

func (b *delayBoard) read(context.Context) (delayTable, error) { return b.snapshot(), nil }

func (b *delayBoard) lasts() bool { return false }

// snapshot returns the table as it is now.
func (b *delayBoard) snapshot() delayTable {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.table)
}
