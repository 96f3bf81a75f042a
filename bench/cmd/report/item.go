package main

import (
	"fmt"
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
	seen         []float64 // ratios since
}

const (
	// tooNoisy is the noise above which an item is not compared.
	tooNoisy = 0.125
	// tooCrowded is how many times longer than by itself something takes on a machine
	// so busy that time which passes says nothing.
	tooCrowded = 1.15
)

// itemsOf returns the items of a baseline.
func itemsOf(base *results) (list []*item) {
	for _, r := range base.rows {
		for _, unit := range []string{cpuTime, wallTime} {
			i := &item{row: r.key(), unit: unit}
			i.learn(r.ratiosBy(unit, "ours"))
			list = append(list, i)
		}
	}
	return list
}

// learn takes the median of the medians of the processes.
func (i *item) learn(ratios []float64) {
	var medians []float64
	for part := range slices.Chunk(ratios, checkRounds) {
		s, _ := summarize(part)
		medians = append(medians, s.median)
	}
	all, ok := summarize(medians)
	i.ratio, i.noise = all.median, math.Inf(1)
	if !ok || i.ratio == 0 || math.IsNaN(i.ratio) {
		return // no figures of processors on this system
	}
	i.noise = max(slices.Max(medians)/i.ratio-1, 1-slices.Min(medians)/i.ratio)
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
			s, _ := summarize(wall)
			return s.median
		}
	}
	return 0
}
