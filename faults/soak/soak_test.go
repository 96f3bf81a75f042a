package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/internal/mixed"
)

// An engine is a store that is under load and is disturbed.
type engine struct {
	name    string
	store   mixed.Store
	rate    float64 // operations a second
	payload int     // bytes
	handler evsourcing.Handler
	gauges  []*series
	// disturb makes things go wrong until ctx ends, with a pause between that is about
	// so long, and says what it did.
	disturb func(ctx context.Context, pause time.Duration) (string, error)
	// rows returns the projection.
	rows func(ctx context.Context) (map[string]mixed.Row, error)
	// check returns what is wrong with the store.
	check func(ctx context.Context) error
	// leak uses something for good.
	leak func() error

	service *mixed.Service
	result  mixed.Result
	did     string
}

// TestSoak runs the load with its faults, and looks that nothing grows and nothing is
// lost.
func TestSoak(t *testing.T) {
	run(t, duration(t, 2*time.Second, 3*time.Second, 30*time.Minute), nil)
}

// streams is how many aggregates there are.
const streams = 1000

// rate returns how many operations there are in a second: not many, for what can grow
// grows with their number and with time, and the machine should not be busy with them.
func rate(n float64) float64 {
	if faulttest.Raced {
		return n / 4
	}
	return n
}

// duration returns how long a run lasts.
func duration(t *testing.T, short, normal, full time.Duration) time.Duration {
	t.Helper()
	if text := os.Getenv("EVSOURCING_SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("EVSOURCING_SOAK: %v", err)
		}
		return d
	}
	return time.Duration(faulttest.Scale(int(short), int(normal), int(full)))
}

// run runs all engines side by side, and leaks if it is told to.
func run(t *testing.T, d time.Duration, l *leak) {
	engines := []*engine{openSQLite(t, d)}
	t.Run("postgres", func(sub *testing.T) {
		dsn := postgresDSN(sub) // which skips this, and not the rest
		engines = append(engines, openPostgres(t, dsn))
	})
	total := 0.
	for _, e := range engines {
		total += e.rate * d.Seconds()
	}
	l.begin(total)
	t.Cleanup(l.end)
	for _, e := range engines {
		service, err := mixed.Start(t.Context(), e.store, &mixed.Options{
			Name: "soak", Streams: streams, Clients: 16, Payload: e.payload, Handler: e.handler,
			Context: func(ctx context.Context) (context.Context, context.CancelFunc) {
				l.operation(e)
				return impatient(ctx)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		e.service = service
		if err := service.CatchUp(t.Context()); err != nil { // with what there was before
			t.Fatal(err)
		}
	}
	gauges := soak(t, d, engines)
	for _, e := range engines {
		if err := e.verify(t); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
	var found []string
	for _, g := range gauges {
		err := g.check()
		t.Log(g)
		switch {
		case faulttest.Raced: // the detector itself uses more and more
		case l == nil && err != nil:
			t.Errorf("grows: %v", err)
		case l != nil && err == nil:
			l.missed = append(l.missed, g.String())
		}
		growth, unsure, _ := g.growth()
		found = append(found, fmt.Sprintf("%s %+.2f %% ± %.2f", g.name, 100*growth, 100*unsure))
	}
	if err := l.failed(); err != nil {
		t.Error(err)
	}
	var did []string
	for _, e := range engines {
		did = append(did, fmt.Sprintf("%s %s operations with %s", e.name, humanize.Comma(e.result.Updates+e.result.Loads), e.did))
	}
	over := "in 10 minutes"
	if len(gauges) > 0 && gauges[0].window() < period {
		over = "in " + gauges[0].window().Round(time.Second).String()
	}
	t.Attr("figure", fmt.Sprintf("%v: %s; growth %s: %s", d, strings.Join(did, "; "), over, strings.Join(found, ", ")))
}

// soak runs the load and the faults for the duration, and returns the gauges, of which
// samples were taken.
func soak(t *testing.T, d time.Duration, engines []*engine) []*series {
	gauges := processGauges()
	for _, e := range engines {
		gauges = append(gauges, e.gauges...)
	}
	warm, every := d/6, max(20*time.Millisecond, min(time.Second, d/200))
	for _, g := range gauges { // what is measured must not grow because of the measuring
		n := int(2*d/every) + 100
		g.values, g.times = make([]float64, 0, n), make([]time.Duration, 0, n)
	}
	var load, faults sync.WaitGroup
	disturbing, stop := context.WithCancel(t.Context())
	defer stop()
	// A machine that is too slow gets half the time more, and then leaves out the rest.
	loading, end := context.WithTimeout(t.Context(), d+d/2+30*time.Second)
	defer end()
	for _, e := range engines {
		faults.Go(func() {
			did, err := e.disturb(disturbing, min(3*time.Second, d/10))
			if err != nil {
				t.Errorf("%s: making things go wrong: %v", e.name, err)
			}
			e.did = did
		})
		load.Go(func() { e.result = e.service.Open(loading, e.rate, d) })
	}
	done := make(chan struct{})
	go func() {
		load.Wait()
		close(done)
	}()
	start, told := time.Now(), time.Duration(0)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for more := true; more; {
		select {
		case <-tick.C:
		case <-done: // later than d on a machine that is too slow
			more = false
		}
		at := time.Since(start)
		if at-told > max(d/10, 10*time.Second) {
			told = at
			t.Logf("after %v: %v", at.Round(time.Second), gauges)
		}
		if at < warm {
			continue
		}
		for _, g := range gauges {
			if err := g.sample(at); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	faults.Wait()
	return gauges
}

// verify stops the load and returns what is wrong with what it has left.
func (e *engine) verify(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := e.result
	t.Logf("%s: %+v", e.name, r)
	if err := e.service.Stop(ctx); err != nil {
		return err
	}
	log, err := mixed.Read(ctx, e.store)
	if err != nil {
		return err
	}
	rows, err := e.rows(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if n := log.Differ(rows); n > 0 {
		errs = append(errs, fmt.Errorf("%d accounts of the projection are not what the log says", n))
	}
	if n := log.By("soak"); n < r.Updates || n > r.Updates+r.Uncertain {
		errs = append(errs, fmt.Errorf("the log has %d events of %d acknowledged updates and %d uncertain ones", n, r.Updates, r.Uncertain))
	}
	if n := r.Updates + r.Loads; r.Updates == 0 || r.Loads == 0 || n > 1000 && r.Cancelled+r.Uncertain == 0 {
		errs = append(errs, fmt.Errorf("the load is not what it should be: %+v", r))
	}
	return errors.Join(append(errs, e.check(ctx))...)
}

// impatient returns the context of an operation: one in fifty ends within milliseconds.
func impatient(ctx context.Context) (context.Context, context.CancelFunc) {
	if rand.IntN(50) > 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, rand.N(3*time.Millisecond))
}

var errHandler = errors.New("this handler fails now and then")

// flaky counts the failures of a handler.
type flaky struct{ n atomic.Int64 }

// fail fails or panics once in a hundred calls.
func (f *flaky) fail() error {
	switch rand.IntN(100) {
	case 0:
		f.n.Add(1)
		return errHandler
	case 1:
		f.n.Add(1)
		panic(errHandler)
	}
	return nil
}
