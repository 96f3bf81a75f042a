package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkName is the file of results that checks compare with.
const checkName = "check"

const (
	// checkRuns is how often a baseline is measured, by other processes: between
	// them the ratios differ more than within one.
	checkRuns   = 6
	checkRounds = 11
	// checkTries is how often a row is measured before it has failed.
	checkTries = 4
)

// checked are the rows of the quick check, and how many operations are measured at
// once: always as many, because what is cold is slower. They are measured with small
// stores, and databases in memory, if there is a place for files there: what is
// compared is what the library costs, and not the disk.
var checked = []struct {
	row        string
	operations int
}{
	{canary, 8000},
	{"Save/case=bus", 8000},
	{"Save/case=transaction", 2000},
	{"Append/engine=memory/writers=1", 8000},
	{"Publish/reactors=1/streams=64", 8000},
	{"Publish/reactors=8/streams=64", 2000},
	{"Load/engine=memory/events=1000", 10},
	{"Load/engine=sqlite/events=1000", 10},
	{"Load/engine=postgres/events=1000", 10},
	{"Snapshot/snapshots=on/events=5999", 10},
	{"CatchUp/engine=memory/case=all", 2},
	{"CatchUp/engine=memory/case=filtered-99%", 10},
	{"Projection/engine=sqlite", 2},
	{"Projection/engine=postgres", 2},
	{"Append/engine=sqlite/writers=1", 200},
	{"Append/engine=sqlite/writers=64", 2000},
	{"Append/engine=postgres/writers=1", 50},
	{"Append/engine=postgres/writers=16", 200},
}

// canary is the row whose floor shows how busy the machine is: it needs a processor
// and nothing else.
const canary = "Save/case=alone"

// measureChecked measures some of the rows, in a process for each number of
// operations. Peers are left out.
func measureChecked(ctx context.Context, t *testBinary, rows map[string]bool, out io.Writer) error {
	patterns := map[int][]string{}
	var counts []int
	for _, c := range checked {
		if rows[c.row] {
			parts := strings.Split(c.row, "/")
			parts[0] = "Benchmark" + parts[0]
			if patterns[c.operations] == nil {
				counts = append(counts, c.operations)
			}
			patterns[c.operations] = append(patterns[c.operations], "^"+strings.Join(append(parts, "(floor|ours)"), "$/^")+"$")
		}
	}
	for _, n := range counts {
		err := t.run(ctx, false, out, []string{
			"-short", "-run", "^$", "-bench", strings.Join(patterns[n], "|"), "-benchtime", strconv.Itoa(n) + "x", "-rounds", strconv.Itoa(checkRounds),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// memoryDir makes a directory in memory, or elsewhere if there is no such place.
func memoryDir() (string, error) {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp(shm, "bench-"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "bench-")
}

// makeBaseline measures the ratios to compare with.
func makeBaseline(ctx context.Context, root string) error {
	dir, err := memoryDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	machine, err := describeMachine(ctx, root, dir)
	if err != nil {
		return err
	}
	t, err := build(ctx, filepath.Join(root, "bench"), dir)
	if err != nil {
		return err
	}
	rows := map[string]bool{}
	for _, c := range checked {
		rows[c.row] = true
	}
	out := bytes.NewBuffer(header(append(machine, setting{"date", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		setting{"rounds", strconv.Itoa(checkRounds)}, setting{"command", "go run ./bench/cmd/report -check -baseline"})))
	for range checkRuns {
		var text bytes.Buffer
		if err := measureChecked(ctx, t, rows, io.MultiWriter(&text, os.Stdout)); err != nil {
			return err
		}
		r, err := parseResults(checkName, text.Bytes())
		if err != nil {
			return err
		}
		writeRatios(out, r)
	}
	if err := os.WriteFile(resultFile(root, checkName), out.Bytes(), 0o644); err != nil {
		return err
	}
	base, err := readResults(root, checkName)
	if err != nil {
		return err
	}
	for _, i := range itemsOf(base) {
		fmt.Println(i)
	}
	return nil
}

// checkBaseline measures the ratios, and returns an error that names those that have
// fallen by more than the tolerance.
func checkBaseline(ctx context.Context, root string, tolerance float64) error {
	base, err := readResults(root, checkName)
	if err != nil {
		return err
	}
	if base == nil {
		return errors.New("there is no baseline: run it with -baseline")
	}
	dir, err := memoryDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	filesystem := filesystemOf(ctx, dir)
	var items []*item
	for _, i := range itemsOf(base) {
		switch {
		case i.noise > tooNoisy:
			fmt.Printf("%v: not compared\n", i)
		case strings.Contains(i.row, "sqlite/writers") && base.get("filesystem") != filesystem:
			fmt.Printf("%v: not compared: the baseline's files were on %s, and now they are on %s\n", i, base.get("filesystem"), filesystem)
		default:
			items = append(items, i)
		}
	}
	t, err := build(ctx, filepath.Join(root, "bench"), dir)
	if err != nil {
		return err
	}
	return compare(items, tolerance, func(rows map[string]bool) (*results, error) {
		var out bytes.Buffer
		if err := measureChecked(ctx, t, rows, &out); err != nil {
			fmt.Print(out.String())
			return nil, err
		}
		return parseResults(checkName, out.Bytes())
	})
}

// compare measures the items, and those below the limit again, and returns an error
// that names those that are still below it, by all that was measured.
func compare(items []*item, tolerance float64, measure func(rows map[string]bool) (*results, error)) error {
	if len(items) == 0 {
		return errors.New("there is nothing to compare: make the baseline on a machine that is less busy")
	}
	compared, busy := 0, 0
	for try := 0; try < checkTries && len(items) > 0; try++ {
		rows := map[string]bool{canary: true}
		for _, i := range items {
			rows[i.row] = true
		}
		r, err := measure(rows)
		if err != nil {
			return err
		}
		crowded := crowding(r)
		items = slices.DeleteFunc(items, func(i *item) bool {
			if i.unit == wallTime && crowded > tooCrowded {
				busy++
				fmt.Printf("%v: not compared: the machine is busy, what needs a processor takes %s times as long\n", i, number(crowded))
				return true
			}
			now := i.ratios(r)
			i.seen = append(i.seen, now...)
			s, ok := summarize(i.seen)
			switch {
			case len(now) == 0 && strings.Contains(i.row, "engine=postgres"):
				fmt.Printf("%v: not compared: there is no PostgreSQL server\n", i)
				return true
			case len(now) == 0 || !ok:
				err = errors.Join(err, fmt.Errorf("%s was not measured: the baseline is of other benchmarks", i.row))
				return false
			}
			change := s.median/i.ratio - 1
			fmt.Printf("%v: now %s, %+.0f %%\n", i, number(s.median), 100*change)
			if change < -tolerance {
				return false
			}
			compared++
			return true
		})
		if err != nil {
			return err
		}
	}
	if len(items) > 0 {
		names := make([]string, len(items))
		for n, i := range items {
			names[n] = fmt.Sprintf("%v: now %s", i, number(median(i.seen)))
		}
		return fmt.Errorf("the ratio to the floor has fallen by more than %s, after %d tries:\n%s", percent(tolerance), checkTries, strings.Join(names, "\n"))
	}
	fmt.Printf("%d ratios to the floor are above %s of the baseline, %d were not compared on a busy machine\n", compared, percent(1-tolerance), busy)
	return nil
}
