package bench

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
)

// rounds is how often everything is measured. Unlike -count, which repeats one
// benchmark and then the next, each round has all of them: floor and subject
// take turns, so that a machine whose speed changes changes both.
var rounds = flag.Int("rounds", 1, "measure everything so often, in turn")

// round is the round that is on.
var round int

func TestMain(m *testing.M) {
	flag.Parse()
	code := 0
	for round = range *rounds {
		code = max(code, m.Run())
	}
	for _, end := range slices.Backward(ends) {
		end()
	}
	os.Exit(code)
}

var (
	kept = map[string]any{}
	ends []func()
)

// keep returns what open has made for that key, in this round or an earlier one:
// for stores that take longer to fill than to measure. The function that open
// returns, unless nil, is called at the end of the process.
func keep[T any](key string, open func() (T, func())) T {
	if v, ok := kept[key]; ok {
		return v.(T)
	}
	v, end := open()
	kept[key] = v
	if end != nil {
		ends = append(ends, end)
	}
	return v
}

// compare measures the floor, which is what the work costs without the library,
// and the library, one directly after the other, as the sub-benchmarks floor and
// ours of the current one. An operation must be the same amount of work in both.
// Beside the time that has passed stands the time that the process was running,
// which other processes disturb less.
func compare(b *testing.B, floor, ours func(b *testing.B)) {
	sides := []struct {
		name string
		f    func(b *testing.B)
	}{{"floor", floor}, {"ours", ours}}
	if round%2 == 1 { // what one leaves behind, the other does not always inherit
		slices.Reverse(sides)
	}
	for _, side := range sides {
		b.Run(side.name, func(b *testing.B) {
			b.ReportAllocs()
			began := cpuTime()
			side.f(b)
			// With what f does before and after, so not for those that prepare a lot.
			b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// many says that an operation handles n events: reports divide by it.
func many(b *testing.B, n int) { b.ReportMetric(float64(n), "events/op") }

// warn prints what went wrong when a store was put away.
func warn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
