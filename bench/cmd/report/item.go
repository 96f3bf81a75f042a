package main

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// An item is what a check compares: a row's ratio to its floor, by the time that
// passes or by that of the processors. The latter is the same on a busy machine;
// the former also shows what waits.
type item struct {
	row, unit string
	// ratio is that of the baseline, and noise how far the ratio of one process was
	// from it: the larger of what there was to either side.
	ratio, noise float64
	seen         []float64 // ratios since, of all rounds
}

const (
	// tooNoisy is the noise above which an item is not compared.
	tooNoisy = 0.2
	// tooCrowded is how many times longer than by itself something takes on a machine
	// so busy that time which passes says nothing.
	tooCrowded = 1.15
)

// The metrics of a baseline: ratios to the floor.
var ratioMetrics = map[string]string{cpuTime: "cpu-ratio", wallTime: "time-ratio"}

// writeRatios writes the ratios of one process, as lines of a benchmark.
func writeRatios(out io.Writer, r *results) {
	for _, row := range r.rows {
		fmt.Fprintf(out, "Benchmark%s/ratio %d", row.key(), checkRounds)
		for _, unit := range []string{cpuTime, wallTime} {
			if s, ok := summarize(row.ratiosBy(unit, "ours")); ok && !math.IsNaN(s.median) {
				fmt.Fprintf(out, " %.4g %s", s.median, ratioMetrics[unit])
			}
		}
		fmt.Fprintln(out)
	}
}

// itemsOf returns the items of a baseline.
func itemsOf(base *results) (list []*item) {
	for _, r := range base.rows {
		for _, unit := range []string{cpuTime, wallTime} {
			if s := r.sides["ratio"]; s != nil && len(s.metrics[ratioMetrics[unit]]) > 0 {
				list = append(list, newItem(r.key(), unit, s.metrics[ratioMetrics[unit]]))
			}
		}
	}
	return list
}

// newItem returns the item whose ratio was that in the processes of the baseline.
func newItem(row, unit string, ratios []float64) *item {
	i := &item{row: row, unit: unit, ratio: median(ratios)}
	i.noise = max(slices.Max(ratios)/i.ratio-1, 1-slices.Min(ratios)/i.ratio)
	return i
}

func median(values []float64) float64 {
	s, _ := summarize(values)
	return s.median
}

// ratios returns those of the item in other results.
func (i *item) ratios(r *results) []float64 {
	for _, row := range r.rows {
		if row.key() == i.row {
			return row.ratiosBy(i.unit, "ours")
		}
	}
	return nil
}

func (i *item) String() string {
	unit := "time"
	if i.unit == cpuTime {
		unit = "processor time"
	}
	return fmt.Sprintf("%s by %s: baseline %s ± %s", i.row, unit, number(i.ratio), percent(i.noise))
}

// crowding returns how many times longer than its processor time the floor of the
// canary took.
func crowding(r *results) float64 {
	for _, row := range r.rows {
		if row.key() == canary {
			wall, cpu := row.sides["floor"].perEvent(wallTime, 1), row.sides["floor"].perEvent(cpuTime, 1)
			for n := range wall {
				wall[n] /= cpu[n]
			}
			return median(wall)
		}
	}
	return 0
}
