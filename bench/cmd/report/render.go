package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	document = "docs/benchmarks.md"
	plotDir  = "docs/benchmarks"
)

// render returns the files that the results in bench/results amount to, by their
// names. The same results give the same bytes.
func render(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	all := map[string]*results{}
	rows := map[string]*row{}
	for i := range groups {
		g := &groups[i]
		r, err := readResults(root, g.name)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		all[g.name] = r
		for _, row := range r.rows {
			rows[row.key()] = row
		}
	}
	if missing := missingFloors(rows); len(missing) > 0 {
		return nil, fmt.Errorf("without a floor: %s", strings.Join(missing, ", "))
	}
	var doc bytes.Buffer
	doc.WriteString(preface)
	for _, r := range all {
		if r.get("form") == "short" {
			doc.WriteString("**Some of these figures are of a short form, and say little: see [where and how](#where-and-how).**\n\n")
			break
		}
	}
	renderTargets(&doc, rows)
	renderRuns(&doc, all)
	for i := range groups {
		g := &groups[i]
		if all[g.name] == nil {
			fmt.Fprintf(&doc, "\n## %s\n\nNot run.\n", g.title)
			continue
		}
		if err := renderGroup(&doc, files, g, all[g.name], rows); err != nil {
			return nil, err
		}
	}
	files[document] = doc.Bytes()
	return files, renderReadme(root, files, rows)
}

const preface = `<!-- Generated from bench/results by "go run ./bench/cmd/report -render". Do not edit. -->

# Benchmarks

` + "`make bench`" + ` makes this page anew. Each figure stands beside its floor, which is what
the same work costs without the library: the bare driver, channel or encoder. Both
were measured directly one after the other, in turn with everything else, so their
ratio is of the same moment. **Compare ratios**: times differ between machines, and on a
shared one from minute to minute.

- Times are medians of all rounds, for one event unless the text says otherwise.
- ± is the 95 % confidence interval of the median, halved; with fewer than six
  rounds, half of the range of all.
- *speed* is how many times as fast as the floor, the median of the ratios of the
  rounds. It can be above 1: many writers share what one commit costs.
- *allocations* are ours for one event, and in brackets the floor's.

`

// missingFloors returns the rows that have a subject and no floor.
func missingFloors(rows map[string]*row) (missing []string) {
	for key, r := range rows {
		if r.sides["ours"] != nil && r.sides["floor"] == nil {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	return missing
}

func renderTargets(doc *bytes.Buffer, rows map[string]*row) {
	doc.WriteString("## Targets\n\nWhat each figure was meant to be, before it was measured.\n\n")
	doc.WriteString("| what | target | measured | |\n| --- | --- | --- | --- |\n")
	for _, t := range targets {
		what, got, verdict := t.judge(rows)
		bench, _, _ := strings.Cut(t.row, "/")
		label := strings.TrimSuffix(bench+": "+labelOf(rows, t.row), ": ")
		fmt.Fprintf(doc, "| %s | %s | %s | %s |\n", label, what, got, verdict)
	}
}

func renderRuns(doc *bytes.Buffer, all map[string]*results) {
	doc.WriteString("\n## Where and how\n\n| | |\n| --- | --- |\n")
	for _, key := range []string{
		"cpu", "cores", "memory", "kernel", "goos", "goarch", "filesystem", "go", "sqlite", "sqlite-durability", "postgres", "postgres-durability",
	} {
		var values []string
		for i := range groups {
			if r := all[groups[i].name]; r != nil {
				if v := r.get(key); v != "" && !slices.Contains(values, v) {
					values = append(values, v)
				}
			}
		}
		fmt.Fprintf(doc, "| %s | %s |\n", key, strings.Join(values, "; "))
	}
	doc.WriteString("\nThe databases are on the filesystem named, and the PostgreSQL server on the same machine.\n" +
		"The load is the mean number of running processes in the minute before; above 0, the machine was not quiet.\n\n" +
		"| group | commit | date | form | rounds | took | load |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i := range groups {
		if r := all[groups[i].name]; r != nil {
			fmt.Fprintf(doc, "| [%s](../%s/%s.txt) | %s | %s | %s | %s | %s | %s |\n", groups[i].name, resultDir, groups[i].name,
				r.get("commit"), r.get("date"), r.get("form"), r.get("rounds"), r.get("duration"), r.get("load-before"))
		}
	}
}

func renderGroup(doc *bytes.Buffer, files map[string][]byte, g *group, r *results, rows map[string]*row) error {
	fmt.Fprintf(doc, "\n## %s\n", g.title)
	if g.about != "" {
		fmt.Fprintf(doc, "\n%s\n", g.about)
	}
	for _, t := range g.tables {
		if t.about != "" {
			fmt.Fprintf(doc, "\n**%s.** %s\n", t.benchmark, t.about)
		}
		doc.WriteString("\n")
		if t.benchmark == mixedBench {
			renderMixed(doc, r, rows)
		} else {
			renderTable(doc, t, r, rows)
		}
	}
	for _, p := range plotsOf(g) {
		svg, err := p.draw(r)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if svg != nil {
			name := filepath.ToSlash(filepath.Join(plotDir, p.name+".svg"))
			files[name] = svg
			fmt.Fprintf(doc, "\n![%s](benchmarks/%s.svg)\n", p.title, p.name)
		}
	}
	doc.WriteString("\n```sh\n")
	for _, c := range r.commands {
		fmt.Fprintln(doc, c)
	}
	doc.WriteString("```\n")
	return nil
}

func renderTable(doc *bytes.Buffer, t table, r *results, rows map[string]*row) {
	doc.WriteString("| what | floor | evsourcing | speed | events/s | allocations | target |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, row := range r.rows {
		if row.bench != t.benchmark {
			continue
		}
		label := row.label()
		if label == "" {
			label = t.benchmark
		}
		fmt.Fprintf(doc, "| %s | %s | %s | %s |\n", label, timeCell(row.sides["floor"]), figureCells(row, "ours"), verdicts(row, rows))
		for _, name := range row.order {
			if name != "floor" && name != "ours" {
				fmt.Fprintf(doc, "| &nbsp;&nbsp;*%s* | | %s | |\n", peer(name), figureCells(row, name))
			}
		}
	}
}

// timeCell is a time and its spread.
func timeCell(s *side) string {
	if s == nil {
		return ""
	}
	sum, ok := summarize(s.time())
	if !ok {
		return ""
	}
	return duration(sum.median) + sum.spread()
}

// figureCells are the cells of a side: time, speed, events/s, allocations.
func figureCells(r *row, name string) string {
	s := r.sides[name]
	if s == nil {
		return " | | |"
	}
	t, _ := summarize(s.time())
	speed := ""
	if sum, ok := summarize(r.ratios(name)); ok {
		speed = number(sum.median) + sum.spread()
	}
	allocs := ""
	if a, ok := summarize(s.allocs()); ok {
		allocs = number(a.median)
		if f := r.sides["floor"]; f != nil && name == "ours" {
			if sum, ok := summarize(f.allocs()); ok {
				allocs += fmt.Sprintf(" (%s)", number(sum.median))
			}
		}
	}
	rate := count(1e9 / t.median)
	if heap, ok := summarize(s.metrics["peak-heap-MiB"]); ok {
		rate += fmt.Sprintf(", heap at most %s MiB", number(heap.high))
	}
	return fmt.Sprintf("%s | %s | %s | %s", timeCell(s), speed, rate, allocs)
}

// verdicts says of each target of the row whether it is met.
func verdicts(r *row, rows map[string]*row) string {
	var list []string
	for _, t := range targetsOf(r) {
		what, got, verdict := t.judge(rows)
		if t.kind == times && got != "" {
			verdict += " (" + got + ")"
		}
		list = append(list, what+": "+verdict)
	}
	return strings.Join(list, "; ")
}

// The part of the README that is made of the results stands between these.
const (
	readmeBegin = "<!-- benchmarks: made of bench/results by `go run ./bench/cmd/report -render`; do not edit -->\n"
	readmeEnd   = "<!-- /benchmarks -->\n"
)

// readmeRows are the ones that the README has.
var readmeRows = []struct{ what, row string }{
	{"save one event, in memory", "Save/case=alone"},
	{"load 1,000 events, one of them", "Load/engine=memory/events=1000"},
	{"publish to one reactor", "Publish/reactors=1/streams=1"},
	{"publish to 8 reactors", "Publish/reactors=8/streams=1"},
	{"a subscription that catches up, an event", "CatchUp/engine=memory/case=all"},
	{"the same, with a filter that leaves out 99 %", "CatchUp/engine=memory/case=filtered-99%"},
	{"load 100,999 events by a snapshot and 999 events", "Snapshot/snapshots=on/events=100999"},
	{"sqlite, durable appends by 1 writer", "Append/engine=sqlite/writers=1"},
	{"sqlite, by 64 writers", "Append/engine=sqlite/writers=64"},
	{"sqlite, reading the log", "Read/engine=sqlite/log=all"},
	{"sqlite, an exactly-once projection", "Projection/engine=sqlite"},
	{"postgres, durable appends by 1 writer", "Append/engine=postgres/writers=1"},
	{"postgres, by 64 writers", "Append/engine=postgres/writers=64"},
	{"postgres, reading the log", "Read/engine=postgres/log=all"},
	{"postgres, an exactly-once projection", "Projection/engine=postgres"},
}

// renderReadme adds the README to the files, if it has a place for figures.
func renderReadme(root string, files map[string][]byte, rows map[string]*row) error {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(readmeBegin))
	if !ok {
		return nil
	}
	_, after, ok := bytes.Cut(rest, []byte(readmeEnd))
	if !ok {
		return fmt.Errorf("README.md: %q is missing", readmeEnd)
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(readmeBegin)
	out.WriteString("| what | floor | evsourcing | speed | events/s | allocations |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range readmeRows {
		if row := rows[r.row]; row != nil {
			fmt.Fprintf(&out, "| %s | %s | %s |\n", r.what, timeCell(row.sides["floor"]), figureCells(row, "ours"))
		}
	}
	out.WriteString(readmeEnd)
	out.Write(after)
	files["README.md"] = out.Bytes()
	return nil
}
