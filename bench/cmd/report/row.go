package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// A row is what is compared: the sides of one case of a benchmark.
type row struct {
	bench  string // "Load"
	params []param
	sides  map[string]*side // "floor", "ours", and peers
	order  []string         // of the sides in the file
}

// A param is a part of a row's name: engine=sqlite.
type param struct{ key, value string }

// A side is what was measured, a value for each round. Each metric has as many
// values, but one that was not reported, which has none.
type side struct {
	metrics map[string][]float64
}

// key is the row's name, without the side.
func (r *row) key() string {
	parts := []string{r.bench}
	for _, p := range r.params {
		if p.key == "" {
			parts = append(parts, p.value)
		} else {
			parts = append(parts, p.key+"="+p.value)
		}
	}
	return strings.Join(parts, "/")
}

// get returns the value of a parameter, or "".
func (r *row) get(key string) string {
	for _, p := range r.params {
		if p.key == key {
			return p.value
		}
	}
	return ""
}

// time returns the nanoseconds of one event or whatever else is handled.
func (s *side) time() []float64 { return s.perEvent(wallTime, 1e9) }

// allocs returns the allocations of one event.
func (s *side) allocs() []float64 { return s.perEvent("allocs/op", 1) }

func (s *side) perEvent(unit string, scale float64) []float64 {
	list := slices.Clone(s.metrics[unit])
	for i := range list {
		list[i] *= scale
		if events := s.metrics["events/op"]; i < len(events) {
			list[i] /= events[i]
		}
	}
	return list
}

// ratios returns how many times as fast as the floor a side was, in each round.
func (r *row) ratios(name string) []float64 { return r.ratiosBy(wallTime, name) }

// Units of time, as benchfmt names them.
const (
	wallTime = "sec/op"
	cpuTime  = "cpu-sec/op"
)

func (r *row) ratiosBy(unit, name string) []float64 {
	floor, other := r.sides["floor"], r.sides[name]
	if floor == nil || other == nil {
		return nil
	}
	a, b := floor.perEvent(unit, 1), other.perEvent(unit, 1)
	list := make([]float64, min(len(a), len(b)))
	for i := range list {
		list[i] = a[i] / b[i]
	}
	return list
}

// A summary is the median of some values, and its 95 % confidence interval; of
// fewer than six, for which there is none, all of their range.
type summary struct{ median, low, high float64 }

func summarize(values []float64) (summary, bool) {
	if len(values) == 0 {
		return summary{}, false
	}
	s := benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds), 0.95)
	if len(values) < 6 {
		return summary{s.Center, slices.Min(values), slices.Max(values)}, true
	}
	return summary{s.Center, s.Lo, s.Hi}, true
}

// results is what a group has printed.
type results struct {
	rows     []*row
	settings []setting // those that are the same for all of it
	commands []string
}

// readResults reads the results of a group. Those that are not there are nil.
func readResults(root, name string) (*results, error) {
	file := resultFile(root, name)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseResults(filepath.Base(file), text)
}

func parseResults(file string, text []byte) (*results, error) {
	var list results
	rows := map[string]*row{}
	reader := benchfmt.NewReader(bytes.NewReader(text), file)
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, record
		case *benchfmt.Result:
			r, name, err := parseName(record.Name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if known := rows[r.key()]; known != nil {
				r = known
			} else {
				rows[r.key()] = r
				list.rows = append(list.rows, r)
			}
			r.add(name, record.Values)
			list.configure(record.Config)
		}
	}
	return &list, reader.Err()
}

// parseName takes a benchmark's name apart: its last part is the side.
func parseName(full benchfmt.Name) (*row, string, error) {
	base, parts := full.Parts()
	var names []string
	for _, p := range parts {
		if p[0] == '/' { // and not the number of processors
			names = append(names, string(p[1:]))
		}
	}
	if len(names) == 0 {
		return nil, "", fmt.Errorf("%s: there is no side in the name", full)
	}
	last := len(names) - 1
	r := &row{bench: string(base), sides: map[string]*side{}}
	for _, name := range names[:last] {
		key, value, ok := strings.Cut(name, "=")
		if !ok {
			key, value = "", name
		}
		r.params = append(r.params, param{key, value})
	}
	return r, names[last], nil
}

func (r *row) add(name string, values []benchfmt.Value) {
	s := r.sides[name]
	if s == nil {
		s = &side{metrics: map[string][]float64{}}
		r.sides[name] = s
		r.order = append(r.order, name)
	}
	for _, v := range values {
		s.metrics[v.Unit] = append(s.metrics[v.Unit], v.Value)
	}
}

func (l *results) configure(config []benchfmt.Config) {
	for _, c := range config {
		s := setting{c.Key, string(c.Value)}
		switch {
		case c.Key == "command":
			if !slices.Contains(l.commands, s.value) {
				l.commands = append(l.commands, s.value)
			}
		case !slices.Contains(l.settings, s):
			l.settings = append(l.settings, s)
		}
	}
}

// get returns a setting, or "".
func (l *results) get(key string) string {
	for _, s := range l.settings {
		if s.key == key {
			return s.value
		}
	}
	return ""
}
