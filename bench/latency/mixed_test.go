package latency

import (
	"context"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/internal/mixed"
)

// An engine is a store to measure.
type engine struct {
	store   mixed.Store
	handler evsourcing.Handler
	floor   func(b *testing.B) // what a durable save can't beat; nil for none
}

// BenchmarkMixed is described in the package's comment.
func BenchmarkMixed(b *testing.B) {
	for _, e := range []struct {
		name string
		open func(b *testing.B) engine
	}{{"memory", openMemory}, {"sqlite", openSQLite}, {"postgres", openPostgres}} {
		b.Run(e.name, func(b *testing.B) { measure(b, e.open(b)) })
	}
}

func openMemory(*testing.B) engine {
	return engine{store: evsourcing.NewMemoryStore(), handler: &mixed.Fold{}}
}

const (
	clients = 64
	load    = 0.6 // of saturation
)

// durations returns how long the closed and the open loop last, and one measurement of the
// floor.
func durations() (closed, open, floor time.Duration) {
	short := testing.Short() || strings.HasSuffix(flag.Lookup("test.benchtime").Value.String(), "x")
	switch {
	case faulttest.Full():
		return 10 * time.Second, time.Minute, 3 * time.Second
	case short:
		return 500 * time.Millisecond, time.Second, 100 * time.Millisecond
	}
	return 5 * time.Second, 20 * time.Second, time.Second
}

// A recorder keeps latencies.
type recorder struct {
	mu    sync.Mutex // guards hists
	hists [mixed.Kinds]*hdrhistogram.Histogram
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Nanoseconds(), 3)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.hists {
		r.hists[i] = newHistogram()
	}
}

func (r *recorder) observe(k mixed.Kind, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.hists[k].RecordValue(max(1, min(d, time.Minute).Nanoseconds())) // it is in range
}

// measure runs the loops and reports what came of them.
func measure(b *testing.B, e engine) {
	closed, open, floorTime := durations()
	ctx := b.Context()
	var r recorder
	r.reset()
	s, err := mixed.Start(ctx, e.store, &mixed.Options{Clients: clients, Handler: e.handler, Observe: r.observe})
	if err != nil {
		b.Fatal(err)
	}
	floor := newHistogram()
	sample := func() {
		if e.floor != nil {
			for end := time.Now().Add(floorTime); time.Now().Before(end); {
				began := time.Now()
				e.floor(b)
				_ = floor.RecordValue(time.Since(began).Nanoseconds())
			}
		}
	}
	catchUp := func() {
		if err := s.CatchUp(ctx); err != nil {
			b.Fatal(err)
		}
	}
	check := func(r mixed.Result) mixed.Result {
		if r.Failed+r.Uncertain+r.Cancelled > 0 || r.Updates == 0 || r.Loads == 0 {
			b.Errorf("%+v", r)
		}
		return r
	}
	sample()
	check(s.Closed(ctx, closed/5)) // to warm up
	saturation := check(s.Closed(ctx, closed))
	catchUp()
	sample()
	r.reset()
	result := check(s.Open(ctx, load*saturation.Rate(), open))
	catchUp()
	sample()
	if err := s.Stop(ctx); err != nil {
		b.Fatal(err)
	}

	if e.floor != nil {
		report(b, "floor", func(b *testing.B) { percentiles(b, floor) })
	}
	report(b, "saturation", func(b *testing.B) {
		b.ReportMetric(saturation.Rate(), "ops/s")
		b.ReportMetric(float64(saturation.Projection), "projection-lag-events")
		b.ReportMetric(float64(saturation.Reactor), "reactor-lag-events")
		b.ReportMetric(100*float64(saturation.Conflicts)/float64(saturation.Updates), "%-gave-up")
	})
	for k, h := range r.hists {
		report(b, mixed.Kind(k).String(), func(b *testing.B) {
			percentiles(b, h)
			switch k := mixed.Kind(k); {
			case k == mixed.Update:
				b.ReportMetric(result.Rate(), "ops/s")
				b.ReportMetric(float64(result.Backlog), "backlog")
				b.ReportMetric(100*float64(result.Conflicts)/float64(result.Updates), "%-gave-up")
				fallthrough
			case k == mixed.Append:
				if e.floor != nil {
					b.ReportMetric(float64(h.ValueAtQuantile(99))/float64(floor.ValueAtQuantile(50)), "x-floor")
				}
			}
		})
	}
}

// report makes a line of the output, of what was measured before.
func report(b *testing.B, name string, f func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		b.ReportMetric(0, "ns/op") // leaves it out
		f(b)
	})
}

// percentiles reports those of latencies in nanoseconds.
func percentiles(b *testing.B, h *hdrhistogram.Histogram) {
	for _, p := range []struct {
		unit     string
		quantile float64
	}{{"p50-ms", 50}, {"p90-ms", 90}, {"p99-ms", 99}, {"p99.9-ms", 99.9}, {"max-ms", 100}} {
		b.ReportMetric(float64(h.ValueAtQuantile(p.quantile))/1e6, p.unit)
	}
}

// closing closes a store after the benchmark.
func closing(b *testing.B, store interface{ Close(context.Context) error }) {
	b.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
}
