package main

import (
	"fmt"
	"slices"

	"golang.org/x/perf/benchfmt"
)

// A target is a bound that a figure was meant to keep before it was measured.
type target struct {
	row  string
	kind kind
	most float64 // or at least, for speeds
	than string  // the row it is compared with
}

type kind int

const (
	ratio       kind = iota // times the floor's speed, at least
	nanoseconds             // at most
	allocations             // at most
	rate                    // events a second, at least
	times                   // times the time of another row, at most
	latency                 // the p99 in times of the floor's p50, at most
)

var targets = []target{
	{row: "Save/case=alone", kind: nanoseconds, most: 900},
	{row: "Save/case=alone", kind: allocations, most: 7},
	{row: "SaveStream/events=1000000", kind: times, most: 1.3, than: "SaveStream/events=1000"},
	{row: "ScaleStreams/streams=1000000", kind: times, most: 1.3, than: "ScaleStreams/streams=1000"},
	{row: "Load/engine=memory/events=1000", kind: ratio, most: 1 / 1.25},
	{row: "Read/engine=sqlite/stream=together", kind: rate, most: 750e3},
	{row: "Read/engine=sqlite/log=all", kind: rate, most: 2e6},
	{row: "Read/engine=postgres/stream=together", kind: rate, most: 600e3},
	{row: "Publish/reactors=1/streams=1", kind: nanoseconds, most: 250},
	{row: "Publish/reactors=1/streams=1", kind: allocations, most: 2},
	{row: "Publish/reactors=1/streams=64", kind: nanoseconds, most: 250},
	{row: "Publish/reactors=8/streams=1", kind: times, most: 8, than: "Publish/reactors=1/streams=1"},
	{row: "Publish/reactors=8/streams=64", kind: times, most: 8, than: "Publish/reactors=1/streams=64"},
	{row: "PublishSubscriptions/subscriptions=1000", kind: times, most: 1.3, than: "PublishSubscriptions/subscriptions=10"},
	{row: "CatchUp/engine=memory/case=all", kind: ratio, most: 1 / 1.4},
	{row: "CatchUp/engine=memory/case=filtered-99%", kind: nanoseconds, most: 60},
	{row: "Projection/engine=postgres", kind: rate, most: 100e3},
	{row: "Snapshot/snapshots=on/events=100999", kind: times, most: 1.2, than: "Snapshot/snapshots=off/events=1000"},
	{row: "Append/engine=sqlite/writers=1", kind: ratio, most: 0.85},
	{row: "Append/engine=sqlite/writers=64", kind: ratio, most: 10},
	{row: "Append/engine=sqlite/writers=256", kind: ratio, most: 18},
	{row: "Append/engine=postgres/writers=1", kind: ratio, most: 0.75},
	{row: "Append/engine=postgres/writers=16", kind: ratio, most: 1},
	{row: "Append/engine=postgres/writers=64", kind: ratio, most: 2.5},
	{row: "Append/engine=postgres/writers=256", kind: ratio, most: 3.5},
	{row: "Scale/engine=sqlite/events=10000000/op=append", kind: times, most: 1.3, than: "Scale/engine=sqlite/events=10000/op=append"},
	{row: "Scale/engine=sqlite/events=10000000/op=load", kind: times, most: 1.3, than: "Scale/engine=sqlite/events=10000/op=load"},
	{row: "Scale/engine=postgres/events=10000000/op=append", kind: times, most: 1.3, than: "Scale/engine=postgres/events=10000/op=append"},
	{row: "Scale/engine=postgres/events=10000000/op=load", kind: times, most: 1.3, than: "Scale/engine=postgres/events=10000/op=load"},
	{row: "Mixed/sqlite", kind: latency, most: 5},
	{row: "Mixed/postgres", kind: latency, most: 8},
}

// judge says what the target is, what was measured, and whether that meets it. If
// the rows are not there, nothing was measured.
func (t target) judge(rows map[string]*row) (what, got, verdict string) {
	format := number
	switch t.kind {
	case ratio:
		what = fmt.Sprintf("at least %s times the floor's speed", number(t.most))
	case nanoseconds:
		what, format = fmt.Sprintf("at most %s", duration(t.most)), duration
	case allocations:
		what = fmt.Sprintf("at most %s allocations", number(t.most))
	case rate:
		what, format = fmt.Sprintf("at least %s events/s", count(t.most)), count
	case times:
		what = fmt.Sprintf("at most %s times the time of %s", number(t.most), labelOf(rows, t.than))
	case latency:
		what = fmt.Sprintf("p99 of an update at most %s times the floor's p50", number(t.most))
	}
	s, ok := t.measure(rows)
	if !ok {
		return what, "", "not measured"
	}
	met := s.median <= t.most
	if t.kind == ratio || t.kind == rate {
		met = s.median >= t.most
	}
	verdict = "**missed**"
	if met {
		verdict = "met"
	}
	if s.low < t.most && t.most < s.high {
		verdict += ", within the spread"
	}
	return what, format(s.median), verdict
}

func (t target) measure(rows map[string]*row) (summary, bool) {
	r := rows[t.row]
	if r == nil {
		return summary{}, false
	}
	if t.kind == latency {
		if update := r.sides["update"]; update != nil {
			return summarize(update.metrics["x-floor"])
		}
		return summary{}, false
	}
	ours := r.sides["ours"]
	if ours == nil {
		return summary{}, false
	}
	switch t.kind {
	case ratio:
		return summarize(r.ratios("ours"))
	case allocations:
		return summarize(ours.allocs())
	}
	s, ok := summarize(ours.time())
	switch t.kind {
	case rate:
		s = summary{1e9 / s.median, 1e9 / s.high, 1e9 / s.low}
	case times:
		other := rows[t.than]
		if other == nil || other.sides["ours"] == nil {
			return summary{}, false
		}
		var than summary
		than, ok = summarize(other.sides["ours"].time())
		s = summary{s.median / than.median, s.low / than.high, s.high / than.low}
	}
	return s, ok
}

// targetsOf returns the targets of a row.
func targetsOf(r *row) []target {
	return slices.Collect(func(yield func(target) bool) {
		for _, t := range targets {
			if t.row == r.key() && !yield(t) {
				return
			}
		}
	})
}

func labelOf(rows map[string]*row, key string) string {
	if r := rows[key]; r != nil {
		return r.label()
	}
	r, _, err := parseName(benchfmt.Name(key + "/ours"))
	if err != nil {
		return key
	}
	return r.label()
}
