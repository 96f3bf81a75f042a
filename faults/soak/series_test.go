package soak

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A series is what a gauge has shown over time.
type series struct {
	name   string
	gauge  func() (float64, error)
	least  float64 // in a short run, what the mean counts as if it is less
	values []float64
	times  []time.Duration
}

// sample asks the gauge.
func (s *series) sample(at time.Duration) error {
	v, err := s.gauge()
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.values, s.times = append(s.values, v), append(s.times, at)
	return nil
}

// A line is the straight one that fits a series best, by least squares.
type line struct {
	mean, slope float64
	unsure      float64 // the standard error of the slope
}

// blocks is how many samples the line is drawn through, each the mean of many: so that
// it does not matter that samples that follow one another are alike.
const blocks = 20

func (s *series) line() (l line) {
	n := min(blocks, len(s.values))
	x, y := make([]float64, n), make([]float64, n)
	for i := range n {
		from, to := i*len(s.values)/n, (i+1)*len(s.values)/n
		for j := from; j < to; j++ {
			x[i] += s.times[j].Seconds() / float64(to-from)
			y[i] += s.values[j] / float64(to-from)
		}
	}
	var middle, xy, xx, rest float64
	for i := range n {
		middle += x[i] / float64(n)
		l.mean += y[i] / float64(n)
	}
	for i := range n {
		xy += (x[i] - middle) * (y[i] - l.mean)
		xx += (x[i] - middle) * (x[i] - middle)
	}
	if xx == 0 {
		return l
	}
	l.slope = xy / xx
	for i := range n {
		d := y[i] - l.mean - l.slope*(x[i]-middle)
		rest += d * d
	}
	l.unsure = math.Sqrt(rest / float64(n-2) / xx)
	return l
}

// window returns how long the samples go on.
func (s *series) window() time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	return s.times[len(s.times)-1] - s.times[0]
}

const (
	period    = 10 * time.Minute
	mostFull  = 0.01   // growth in ten minutes
	mostShort = 1. / 3 // growth within a run that is shorter
)

// growth returns by which part of its mean a series grows in ten minutes, or if it is
// shorter, from its beginning to its end; how unsure that is, and how much it may be.
func (s *series) growth() (growth, unsure, most float64) {
	l := s.line()
	over, most, mean := period, mostFull, l.mean
	if w := s.window(); w < period {
		over, most, mean = w, mostShort, max(mean, s.least)
	}
	if mean == 0 {
		return 0, 0, most
	}
	return l.slope * over.Seconds() / mean, l.unsure * over.Seconds() / mean, most
}

// check returns an error if the series grows: by more than it may, and twice the error.
func (s *series) check() error {
	if len(s.values) < blocks {
		return fmt.Errorf("%s: %d samples are not enough", s.name, len(s.values))
	}
	growth, unsure, most := s.growth()
	if math.IsNaN(growth) || growth-2*unsure >= most {
		return fmt.Errorf("%v is too much", s)
	}
	return nil
}

// String says how the series grows.
func (s *series) String() string {
	growth, unsure, most := s.growth()
	over := period
	if s.window() < over {
		over = s.window().Round(100 * time.Millisecond)
	}
	return fmt.Sprintf("%s %+.2f %% ± %.2f in %v (may be %.2g %%), mean %.4g", s.name, 100*growth, 100*unsure, over, 100*most, s.line().mean)
}

// samples returns a series over a time, by a function of seconds.
func samples(d time.Duration, f func(x float64) float64) *series {
	s := &series{name: "it"}
	for at := time.Duration(0); at <= d; at += d / 1000 {
		s.times, s.values = append(s.times, at), append(s.values, f(at.Seconds()))
	}
	return s
}

// A series that grows is found in noise that is much larger than what it grows by in a
// minute, and one that does not grow is not.
func TestSlope(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return 100 + 5*random.NormFloat64() }
	for _, c := range []struct {
		name  string
		s     *series
		grows bool
	}{
		{"flat", samples(25*time.Minute, func(float64) float64 { return 7 }), false},
		{"zero", samples(25*time.Minute, func(float64) float64 { return 0 }), false},
		{"noise", samples(25*time.Minute, func(float64) float64 { return noise() }), false},
		{"shrinks", samples(25*time.Minute, func(x float64) float64 { return 100 - x/100 }), false},
		{"saw", samples(25*time.Minute, func(x float64) float64 { return math.Mod(x, 20) }), false},
		{"leak of 2 % in ten minutes", samples(25*time.Minute, func(x float64) float64 { return noise() + 2*x/600 }), true},
		{"leak of 1.1 % without noise", samples(25*time.Minute, func(x float64) float64 { return 100 + 1.1*x/600 }), true},
		{"short, doubles", samples(4*time.Second, func(x float64) float64 { return noise() + 25*x }), true},
		{"few of something", samples(25*time.Minute, func(float64) float64 { return float64(random.IntN(10)) }), false},
		{"short, noise", samples(4*time.Second, func(float64) float64 { return noise() }), false},
		{"too few", &series{name: "it"}, true},
	} {
		if err := c.s.check(); (err != nil) != c.grows {
			t.Errorf("%s: %v (%v)", c.name, err, c.s)
		}
	}
}
