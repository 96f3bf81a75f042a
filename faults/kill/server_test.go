package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/faults/internal/durable"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// crashes are the ways in which the server ends, and comes back.
var crashes = []struct {
	what string
	do   func(t *testing.T, c *faulttest.Cluster)
}{
	{"stopped as by a crash", func(t *testing.T, c *faulttest.Cluster) {
		c.Stop(t, "immediate")
		c.Restart(t)
	}},
	{"first process killed", func(t *testing.T, c *faulttest.Cluster) {
		c.Kill(t)
		c.Restart(t)
	}},
	{"connection's process killed", func(t *testing.T, c *faulttest.Cluster) { c.KillBackend(t) }},
	{"killed again while it recovered", func(t *testing.T, c *faulttest.Cluster) {
		c.Kill(t)
		c.Launch(t)
		pause(t.Context(), rand.N(60*time.Millisecond))
		c.Kill(t)
		c.Restart(t)
	}},
}

// TestKilledServer: when PostgreSQL's server is killed under writers that go on, nothing
// that was acknowledged is lost, no append is there by half or twice, no conflict is
// reported that is none, and a projection that runs all the while is exact.
func TestKilledServer(t *testing.T) {
	s := newService(t, whole)
	killed := make([]int, len(crashes))
	for n := range faulttest.Scale(4, 4, 500) {
		kind := n % len(crashes)
		s.cycle(t, crashes[kind].do)
		killed[kind]++
		if s.sum() > 0 {
			t.Fatalf("cycle %d: %v; first: %s", n, &s.findings, s.first)
		}
		if n%50 == 49 {
			t.Logf("%d cycles, %d events, %v", n+1, s.events, time.Since(s.began).Round(time.Second))
		}
	}
	var kinds []string
	total := 0
	for i, c := range crashes {
		kinds = append(kinds, fmt.Sprint(humanize.Comma(int64(killed[i])), " ", c.what))
		total += killed[i]
	}
	all := s.finish(t)
	t.Attr("figure", fmt.Sprintf("%s server crashes (%s): %s acknowledged appends, %s events, %s rows of the projection: %v, 0 false conflicts",
		humanize.Comma(int64(total)), strings.Join(kinds, ", "), humanize.Comma(int64(len(all.acked))), humanize.Comma(int64(all.events)), humanize.Comma(int64(all.rows)), &all.findings))
}

// TestKilledServerControl: with a protection taken away, the audit finds what comes of
// that. A projection which survives the server saves its checkpoint in the end, wherever it
// does, so that control is one of clients.
func TestKilledServerControl(t *testing.T) {
	for _, control := range controls {
		if control.mode == outside {
			continue
		}
		t.Run(string(control.mode), func(t *testing.T) {
			s := newService(t, control.mode)
			n := 0
			for ; control.found(s.audit) == 0; n++ {
				if n == 30 {
					t.Fatalf("nothing was found in %d cycles that should be: %v", n, &s.findings)
				}
				s.cycle(t, crashes[2*(n%2)].do)
			}
			t.Attr("figure", fmt.Sprintf("control, postgres: %s after %d server crashes: %v", control.what, n, &s.findings))
		})
	}
}

// A service is what runs while its server is killed: writers and a projection.
type service struct {
	*audit
	cluster  *faulttest.Cluster
	store    durable.Store
	mode     mode
	began    time.Time
	stop     func() error
	caughtUp func(position uint64) error
}

func newService(t *testing.T, m mode) *service {
	s := &service{audit: newAudit(), cluster: faulttest.SharedCluster(t), mode: m, began: time.Now()}
	place := s.cluster.Database(t)
	var err error
	if s.store, err = durable.Open(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	if err := createRows(t.Context(), s.store, place); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed
	var failed error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	for i := range 8 {
		w := &writer{who: fmt.Sprint("w", i), append: m.appending(ctx, s.store)}
		wg.Go(func() { fail(w.run(ctx, m != split, s.acknowledged)) })
	}
	p := projection(s.store, m, nil)
	projected, endProjection := context.WithCancel(t.Context())
	var projecting sync.WaitGroup
	projecting.Go(func() { fail(p.Run(projected)) })
	s.caughtUp = func(position uint64) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return p.WaitFor(ctx, position)
	}
	s.stop = sync.OnceValue(func() error {
		cancel()
		wg.Wait()
		mu.Lock()
		defer mu.Unlock()
		return failed
	})
	t.Cleanup(func() {
		_ = s.stop()
		endProjection()
		projecting.Wait()
		if err := s.store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// cycle kills the server in the middle of the work, and audits what was stored before and
// after.
func (s *service) cycle(t *testing.T, crash func(t *testing.T, c *faulttest.Cluster)) {
	t.Helper()
	before := s.acknowledgements()
	for deadline := time.Now().Add(time.Minute); s.acknowledgements() < before+50; pause(t.Context(), 5*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no 50 appends within a minute: %v", s.stop())
		}
	}
	pause(t.Context(), rand.N(30*time.Millisecond))
	crash(t, s.cluster)
	for deadline := time.Now().Add(time.Minute); ; pause(t.Context(), 10*time.Millisecond) {
		err := s.look(t.Context(), s.store, s.caughtUp)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// acknowledgements returns how many appends were acknowledged so far.
func (a *audit) acknowledgements() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.acks) + len(a.acked)
}

// finish stops the writers, and audits everything again.
func (s *service) finish(t *testing.T) *audit {
	t.Helper()
	if err := s.stop(); err != nil { // a false conflict, for one
		t.Fatal(err)
	}
	all, err := s.again(t.Context(), s.store, s.caughtUp)
	if err != nil {
		t.Fatal(err)
	}
	if all.sum() > 0 {
		t.Errorf("everything, again: %v; first: %s", &all.findings, all.first)
	}
	if len(all.acked) == 0 || all.rows != all.events {
		t.Errorf("%d appends acknowledged, %d events, %d rows", len(all.acked), all.events, all.rows)
	}
	return all
}
