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

// line returns the mean, and the slope in a second, of the straight line that fits best
// by least squares.
func (s *series) line() (mean, slope float64) {
	n := float64(len(s.values))
	var middle float64
	for i, v := range s.values {
		mean += v / n
		middle += s.times[i].Seconds() / n
	}
	var xy, xx float64
	for i, v := range s.values {
		x := s.times[i].Seconds() - middle
		xy += x * (v - mean)
		xx += x * x
	}
	if xx == 0 {
		return mean, 0
	}
	return mean, xy / xx
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
// shorter, from its beginning to its end; and how much it may be.
func (s *series) growth() (growth, most float64) {
	mean, slope := s.line()
	over, most := period, mostFull
	if w := s.window(); w < period {
		over, most, mean = w, mostShort, max(mean, s.least)
	}
	if mean == 0 {
		return 0, most
	}
	return slope * over.Seconds() / mean, most
}

// check returns an error if the series grows.
func (s *series) check() error {
	if len(s.values) < 10 {
		return fmt.Errorf("%s: %d samples are not enough", s.name, len(s.values))
	}
	growth, most := s.growth()
	if math.IsNaN(growth) || growth >= most {
		return fmt.Errorf("%s: %v", s.name, s)
	}
	return nil
}

// String says how the series grows.
func (s *series) String() string {
	growth, most := s.growth()
	mean, _ := s.line()
	over := period
	if s.window() < over {
		over = s.window().Round(100 * time.Millisecond)
	}
	return fmt.Sprintf("%s %+.2f %% in %v (may be %.2g %%), mean %.4g", s.name, 100*growth, over, 100*most, mean)
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
		{"short, noise", samples(4*time.Second, func(float64) float64 { return noise() }), false},
		{"too few", &series{name: "it"}, true},
	} {
		if err := c.s.check(); (err != nil) != c.grows {
			t.Errorf("%s: %v (%v)", c.name, err, c.s)
		}
	}
}
