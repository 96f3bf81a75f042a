package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const moduleRoot = "../../.."

// The document, its plots and the README's figures are what the results amount to:
// nobody typed them.
func TestDocumentIsGenerated(t *testing.T) {
	files, err := generated(moduleRoot)
	if err != nil {
		t.Error(err)
	}
	t.Attr("figure", fmt.Sprintf("%d files are what bench/results amount to, byte for byte", files))
}

// Other results make another document: the comparison would notice.
func TestDocumentIsGeneratedControl(t *testing.T) {
	names := []string{"README.md", document}
	for _, dir := range []string{plotDir, resultDir} {
		entries, err := os.ReadDir(filepath.Join(moduleRoot, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, dir+"/"+e.Name())
		}
	}
	damages := 0
	for _, damaged := range names {
		if damaged == "README.md" || damaged == resultFile("", checkName) {
			continue
		}
		root := t.TempDir()
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(moduleRoot, name))
			if err != nil {
				t.Fatal(err)
			}
			if name == damaged {
				text = tamper(text)
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		damages++
		if _, err := generated(root); err == nil {
			t.Errorf("a changed figure in %s was not noticed", damaged)
		}
	}
	t.Attr("figure", fmt.Sprintf("figures changed by hand in one of %d files of results, plots and text: noticed each time", damages))
}

// measured finds the times of results.
var measured = regexp.MustCompile(`([0-9.]+ (ns/op|p50-ms))`)

// tamper changes the times of results, or the last digit of a text.
func tamper(text []byte) []byte {
	if measured.Match(text) {
		return measured.ReplaceAll(text, []byte("9$1"))
	}
	i := bytes.LastIndexAny(text, "0123456789")
	text[i] = '0' + (text[i]-'0'+5)%10
	return text
}

// generated returns how many files the results amount to, and an error that names
// those which are not that, and plots of nothing.
func generated(root string) (int, error) {
	files, err := render(root)
	if err != nil {
		return 0, err
	}
	again, err := render(root)
	if err != nil {
		return 0, err
	}
	var wrong []error
	for name, want := range files {
		if !bytes.Equal(want, again[name]) {
			wrong = append(wrong, fmt.Errorf("%s: rendered twice, it differs", name))
		}
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			wrong = append(wrong, err)
		} else if !bytes.Equal(got, want) {
			wrong = append(wrong, fmt.Errorf("%s is not what bench/results amount to: run go run ./bench/cmd/report -render", name))
		}
	}
	plots, err := os.ReadDir(filepath.Join(root, plotDir))
	if err != nil {
		return 0, err
	}
	for _, p := range plots {
		if name := plotDir + "/" + p.Name(); files[name] == nil {
			wrong = append(wrong, fmt.Errorf("%s is a plot of nothing", name))
		}
	}
	return len(files), errors.Join(wrong...)
}

// sample has a row of two rounds, with a floor.
const sample = `go: go1.26
BenchmarkSave/case=alone/floor-2 100 1000 ns/op 3 allocs/op
BenchmarkSave/case=alone/ours-2 100 2000 ns/op 4 allocs/op
BenchmarkSave/case=alone/ours-2 100 4000 ns/op 4 allocs/op
BenchmarkSave/case=alone/floor-2 100 1000 ns/op 3 allocs/op
BenchmarkLoad/engine=memory/events=10/floor-2 100 1000 ns/op 10 events/op 30 allocs/op
BenchmarkLoad/engine=memory/events=10/ours-2 100 2000 ns/op 10 events/op 30 allocs/op
`

func parse(t *testing.T, text string) map[string]*row {
	t.Helper()
	r, err := parseResults("sample", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]*row{}
	for _, row := range r.rows {
		rows[row.key()] = row
	}
	return rows
}

// Floor and subject are compared round by round, and an event counts, not the
// operation.
func TestRows(t *testing.T) {
	rows := parse(t, sample)
	if got := rows["Save/case=alone"].ratios("ours"); !slices.Equal(got, []float64{0.5, 0.25}) {
		t.Errorf("ratios %v", got)
	}
	load := rows["Load/engine=memory/events=10"]
	if got := load.sides["ours"].time(); len(got) != 1 || duration(got[0]) != "200 ns" {
		t.Errorf("nanoseconds %v", got)
	}
	if got := load.label(); got != "memory, 10 events" {
		t.Errorf("label %q", got)
	}
	if got := load.sides["ours"].allocs(); !slices.Equal(got, []float64{3}) {
		t.Errorf("allocations %v", got)
	}
}

// No row of the results lacks its floor.
func TestNoFloorIsMissing(t *testing.T) {
	total := 0
	for i := range groups {
		r, err := readResults(moduleRoot, groups[i].name)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			continue
		}
		rows := map[string]*row{}
		for _, row := range r.rows {
			rows[row.key()] = row
		}
		total += len(rows)
		if missing := missingFloors(rows); len(missing) > 0 {
			t.Errorf("%s: without a floor: %v", groups[i].name, missing)
		}
	}
	t.Attr("figure", fmt.Sprintf("%s rows of benchmarks, 0 without their floor", thousands(total)))
}

func TestNoFloorIsMissingControl(t *testing.T) {
	kept := strings.Split(sample, "\n")
	kept = slices.DeleteFunc(kept, func(line string) bool {
		return strings.HasPrefix(line, "BenchmarkLoad") && strings.Contains(line, "floor")
	})
	if got := missingFloors(parse(t, strings.Join(kept, "\n"))); !slices.Equal(got, []string{"Load/engine=memory/events=10"}) {
		t.Errorf("missing: %v", got)
	}
}

// Targets, checks and the README name rows that there are, of some size, in groups
// that were run.
func TestNamesAreOfRows(t *testing.T) {
	pattern := func(key string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, key)
	}
	known, run := map[string]bool{}, map[string]bool{}
	for i := range groups {
		r, err := readResults(moduleRoot, groups[i].name)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			continue
		}
		for _, row := range r.rows {
			known[pattern(row.key())] = true
			run[row.bench] = true
		}
	}
	var names []string
	for _, target := range targets {
		names = append(names, target.row)
		if target.than != "" {
			names = append(names, target.than)
		}
	}
	for _, c := range checked {
		names = append(names, c.row)
	}
	for _, r := range readmeRows {
		names = append(names, r.row)
	}
	for _, name := range names {
		if bench, _, _ := strings.Cut(name, "/"); run[bench] && !known[pattern(name)] {
			t.Errorf("there is no row %s", name)
		}
	}
}

func TestTargets(t *testing.T) {
	rows := parse(t, strings.ReplaceAll(sample, "events=10/", "events=1000/"))
	for _, c := range []struct {
		target  target
		verdict string
	}{
		{target{row: "Save/case=alone", kind: ratio, most: 0.2}, "met"},
		{target{row: "Save/case=alone", kind: ratio, most: 0.3}, "met, within the spread"},
		{target{row: "Save/case=alone", kind: ratio, most: 0.8}, "**missed**"},
		{target{row: "Save/case=alone", kind: nanoseconds, most: 900}, "**missed**"},
		{target{row: "Save/case=alone", kind: allocations, most: 4}, "met"},
		{target{row: "Load/engine=memory/events=1000", kind: rate, most: 4e6}, "met"},
		{target{row: "Load/engine=memory/events=1000", kind: times, most: 0.06, than: "Save/case=alone"}, "**missed**, within the spread"},
		{target{row: "Load/engine=tape/events=1000", kind: rate, most: 4e6}, "not measured"},
	} {
		if _, got, verdict := c.target.judge(rows); verdict != c.verdict {
			t.Errorf("%+v: %s: %s, want %s", c.target, got, verdict, c.verdict)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{duration(839), "839 ns"}, {duration(999.7), "1.00 µs"}, {duration(35.04), "35.0 ns"}, {duration(20.1e6), "20.1 ms"}, {duration(3e9), "3.00 s"},
		{count(68123), "68.1k"}, {count(2.04e6), "2.04M"}, {count(5398), "5,398"},
		{number(0.853), "0.85"}, {number(18.04), "18"}, {number(1234567), "1,234,567"}, {number(0.0049), "0.0049"}, {number(2), "2"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}

const mixedSample = `
BenchmarkMixed/sqlite/floor-2 1 0.5 p50-ms 1 p90-ms 2 p99-ms 3 p99.9-ms 4 max-ms
BenchmarkMixed/sqlite/saturation-2 1 2981 ops/s
BenchmarkMixed/sqlite/update-2 1 1 p50-ms 1.5 p90-ms 2 p99-ms 3 p99.9-ms 4 max-ms 1789 ops/s 4 x-floor
BenchmarkMixed/sqlite-unsynced/update-2 1 1 p50-ms 1.5 p90-ms 2 p99-ms 3 p99.9-ms 4 max-ms 1789 ops/s 40 x-floor
`

// Latencies have lines of their own, and not a floor beside each.
func TestMixed(t *testing.T) {
	r, err := parseResults("mixed", []byte(mixedSample))
	if err != nil {
		t.Fatal(err)
	}
	rows := parse(t, mixedSample)
	var doc bytes.Buffer
	renderMixed(&doc, r, rows)
	for _, want := range []string{
		"| sqlite, floor | 500 µs | 1.00 ms | 2.00 ms | 3.00 ms | 4.00 ms |  |  |",
		"| sqlite, saturation |  |  |  |  |  |  | 2,981 |",
		"| sqlite, update | 1.00 ms | 1.50 ms | 2.00 ms | 3.00 ms | 4.00 ms | 4; p99 of an update at most 5 times the floor's p50: met | 1,789 |",
		"| sqlite unsynced, update | 1.00 ms | 1.50 ms | 2.00 ms | 3.00 ms | 4.00 ms | 40 | 1,789 |",
	} {
		if !strings.Contains(doc.String(), want+"\n") {
			t.Errorf("%s\nis not in\n%s", want, doc.String())
		}
	}
	if missing := missingFloors(rows); len(missing) > 0 {
		t.Error(missing)
	}
	curves := latencyCurves(r)
	if len(curves) != 3 || len(curves[0].points) != 4 {
		t.Errorf("%+v", curves)
	}
	svg, err := plotsOf(&groups[len(groups)-1])[0].draw(r)
	if err != nil || !bytes.Contains(svg, []byte("p99.9")) {
		t.Error(len(svg), err)
	}
}
