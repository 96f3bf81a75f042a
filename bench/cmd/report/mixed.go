package main

import (
	"bytes"
	"fmt"
	"strings"
)

// mixedBench is the benchmark of package latency: its lines are not sides of a
// comparison, but latencies of different things under one load.
const mixedBench = "Mixed"

var percentiles = []struct {
	unit string
	name string
	rank float64 // the share that is slower
}{
	{"p50-ms", "p50", 0.5}, {"p90-ms", "p90", 0.1}, {"p99-ms", "p99", 0.01}, {"p99.9-ms", "p99.9", 0.001}, {"max-ms", "max", 0},
}

func renderMixed(doc *bytes.Buffer, r *results, rows map[string]*row) {
	doc.WriteString("| what | p50 | p90 | p99 | p99.9 | max | p99 in p50 of the floor | operations/s |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, row := range r.rows {
		for _, name := range row.order {
			s := row.sides[name]
			fmt.Fprintf(doc, "| %s, %s |", row.label(), name)
			for _, p := range percentiles {
				doc.WriteString(" ")
				if sum, ok := summarize(s.metrics[p.unit]); ok {
					doc.WriteString(duration(sum.median * 1e6))
				}
				doc.WriteString(" |")
			}
			verdict := ""
			if sum, ok := summarize(s.metrics["x-floor"]); ok {
				verdict = number(sum.median) + sum.spread()
				if name == "update" {
					verdict = strings.TrimSuffix(verdict+"; "+verdicts(row, rows), "; ")
				}
			}
			rate := ""
			if sum, ok := summarize(s.metrics["ops/s"]); ok {
				rate = count(sum.median)
			}
			fmt.Fprintf(doc, " %s | %s |\n", verdict, rate)
		}
	}
}
