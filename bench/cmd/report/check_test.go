package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// measurer returns what compare asks for: ratios of 1/slower to the floor by both
// times, on a machine that takes crowded times as long as by itself.
func measurer(slower, crowded float64, asked *int) func(map[string]bool) (*results, error) {
	return func(rows map[string]bool) (*results, error) {
		*asked++
		var text strings.Builder
		for row := range rows {
			for range checkRounds {
				fmt.Fprintf(&text, "Benchmark%s/floor 1 %f ns/op 1000 cpu-ns/op\n", row, 1000*crowded)
				fmt.Fprintf(&text, "Benchmark%s/ours 1 %f ns/op %f cpu-ns/op\n", row, 1000*slower*crowded, 1000*slower)
			}
		}
		return parseResults("check", []byte(text.String()))
	}
}

func items() []*item {
	return []*item{
		{row: canary, unit: cpuTime, ratio: 1, noise: 0.01},
		{row: canary, unit: wallTime, ratio: 1, noise: 0.01},
		{row: "Save/case=bus", unit: cpuTime, ratio: 1, noise: 0.01},
	}
}

// A check passes what is as fast as the baseline or a little slower, and measures
// nothing again.
func TestCheckPasses(t *testing.T) {
	for _, slower := range []float64{0.5, 1, 1.3} {
		asked := 0
		if err := compare(items(), 0.25, measurer(slower, 1, &asked)); err != nil || asked != 1 {
			t.Errorf("%v times slower: %d times measured, %v", slower, asked, err)
		}
	}
}

// It refuses what is slower, but not before it was so each time; on a busy machine
// by the time of processors alone.
func TestCheckPassesControl(t *testing.T) {
	for _, crowded := range []float64{1, 5} {
		asked := 0
		err := compare(items(), 0.25, measurer(1.5, crowded, &asked))
		if err == nil || asked != checkTries || strings.Contains(err.Error(), canary+" by time") == (crowded > 1) {
			t.Errorf("crowded %v: %d times measured, %v", crowded, asked, err)
		}
	}
	if err := compare(nil, 0.25, nil); err == nil {
		t.Error("a check of nothing passed")
	}
}

// The baseline that is written is the one that is read, and the noise of an item is
// how far one process was from all.
func TestBaseline(t *testing.T) {
	var base bytes.Buffer
	for _, slower := range []float64{1.9, 2, 2.2} {
		asked := 0
		r, err := measurer(slower, 1, &asked)(map[string]bool{canary: true})
		if err != nil {
			t.Fatal(err)
		}
		writeRatios(&base, r)
	}
	r, err := parseResults("check", base.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	list := itemsOf(r)
	if len(list) != 2 || list[0].unit != cpuTime || list[1].unit != wallTime {
		t.Fatal(list)
	}
	for _, i := range list {
		if i.row != canary || number(i.ratio) != "0.5" || percent(i.noise) != "9 %" {
			t.Error(i)
		}
	}
}
