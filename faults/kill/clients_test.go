package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/faults/internal/durable"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// engines names the engines, and makes an empty place for each.
var engines = []struct {
	name   string
	cycles int // of 1,000
	place  func(t *testing.T) string
}{
	{"sqlite", 1000, func(t *testing.T) string { return filepath.Join(t.TempDir(), "events.db") }},
	{"postgres", 500, func(t *testing.T) string { return faulttest.SharedCluster(t).Database(t) }},
}

// TestKilledClients: programs that are killed at any moment lose nothing that was
// acknowledged, leave no append by half, and their projection is exact. Of PostgreSQL's
// 1,000 cycles half are those of TestKilledServer.
func TestKilledClients(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			c := newCase(t, e.place(t), whole)
			cycles := faulttest.Scale(6, 12, e.cycles)
			for n := range cycles {
				c.cycle(t, n)
				if c.sum() > 0 {
					t.Fatalf("cycle %d: %v; first: %s", n, &c.findings, c.first)
				}
			}
			c.report(t, cycles)
		})
	}
}

// TestKilledClientsControl: with a protection taken away, the audit finds what comes of
// that.
func TestKilledClientsControl(t *testing.T) {
	for _, e := range engines {
		for _, control := range controls {
			t.Run(fmt.Sprint(e.name, "/", control.mode), func(t *testing.T) {
				c := newCase(t, e.place(t), control.mode)
				for n := 0; control.found(c.audit) == 0; n++ {
					if n == 50 {
						t.Fatalf("nothing was found in %d cycles that should be: %v", n, &c.findings)
					}
					c.cycle(t, n)
				}
				t.Attr("figure", fmt.Sprintf("control, %s: %s after %d killed clients: %v", e.name, control.what, c.kills(), &c.findings))
			})
		}
	}
}

// controls are the modes without a protection, and what has to be found.
var controls = []struct {
	mode  mode
	what  string
	found func(a *audit) int
}{
	{early, "acknowledged before the commit", func(a *audit) int { return a.Lost }},
	{split, "an append of streams made one by one", func(a *audit) int { return a.Half }},
	{outside, "a checkpoint saved outside the transaction", func(a *audit) int { return a.Doubled }},
}

// A killing is a place whose clients are killed, and the audit of it.
type killing struct {
	*audit
	place  string
	mode   mode
	store  durable.Store // nil while nobody should have it open
	killed map[moment]int
	began  time.Time
}

func newCase(t *testing.T, place string, m mode) *killing {
	c := &killing{audit: newAudit(), place: place, mode: m, killed: map[moment]int{}, began: time.Now()}
	c.open(t)
	if err := createRows(t.Context(), c.store, place); err != nil {
		t.Fatal(err)
	}
	c.close(t)
	t.Cleanup(func() { c.close(t) })
	return c
}

func (c *killing) open(t *testing.T) {
	t.Helper()
	if c.store != nil {
		return
	}
	s, err := durable.Open(t.Context(), c.place)
	if err != nil {
		t.Fatal(err)
	}
	c.store = s
}

func (c *killing) close(t *testing.T) {
	t.Helper()
	if c.store == nil {
		return
	}
	if err := c.store.Close(context.Background()); err != nil {
		t.Error(err)
	}
	c.store = nil
}

// cycle starts clients, kills them, and audits what they have left.
func (c *killing) cycle(t *testing.T, n int) {
	t.Helper()
	sqlite := !durable.IsPostgres(c.place)
	moments := []moment{opening, working, working, inside}
	if sqlite {
		moments = append(moments, moving)
	}
	var wg sync.WaitGroup
	for i := range 1 + rand.IntN(3) {
		wg.Go(func() { c.kill(t, fmt.Sprintf("%d.%d", n, i), moments[(n+i)%len(moments)]) })
	}
	wg.Wait()
	if n%3 == 0 { // before anybody has repaired what the dead have left
		c.kill(t, fmt.Sprintf("%d.opener", n), opening)
	}
	c.open(t)
	err := c.look(t.Context(), c.store, func(position uint64) error { return catchUp(t.Context(), c.store, c.mode, position) })
	if err != nil {
		t.Fatalf("cycle %d: %v", n, err)
	}
	if n%100 == 99 {
		c.verify(t)
		t.Logf("%d cycles, %d events, %v", n+1, c.events, time.Since(c.began).Round(time.Second))
	}
	if sqlite { // which is repaired by who opens it when nobody has it open
		c.close(t)
	}
}

// verify has the engine look for damage in its file, if it can.
func (c *killing) verify(t *testing.T) {
	t.Helper()
	if s, ok := c.store.Unwrap().(interface{ Check(context.Context) error }); ok {
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

var killingMu sync.Mutex // guards killing.killed

// kill starts a client, and kills it at the moment.
func (c *killing) kill(t *testing.T, who string, when moment) {
	reached := make(chan struct{})
	announce := sync.OnceFunc(func() { close(reached) })
	child := faulttest.StartChild(t, "client", func(line string) {
		if line == string(when) {
			announce()
			return
		}
		var k ack
		if n, _ := fmt.Sscanf(line, "ack %s %d", &k.id, &k.position); n == 2 {
			c.acknowledged(k)
		}
	}, c.place, who, string(c.mode), string(when))
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Errorf("client %s is not %s after 30 s", who, when)
	}
	pause(t.Context(), when.patience())
	child.Kill()
	if err := child.Failed(); err != nil {
		t.Errorf("client %s: %v", who, err)
	}
	killingMu.Lock()
	defer killingMu.Unlock()
	c.killed[when]++
}

func (c *killing) kills() (sum int) {
	for _, n := range c.killed {
		sum += n
	}
	return sum
}

// report audits everything again, and reports the figure.
func (c *killing) report(t *testing.T, cycles int) {
	t.Helper()
	c.open(t)
	all, err := c.again(t.Context(), c.store, func(position uint64) error { return catchUp(t.Context(), c.store, c.mode, position) })
	if err != nil {
		t.Fatal(err)
	}
	if all.sum() > 0 {
		t.Errorf("everything, again: %v; first: %s", &all.findings, all.first)
	}
	if len(all.acked) == 0 || all.rows != all.events {
		t.Errorf("%d appends acknowledged, %d events, %d rows", len(all.acked), all.events, all.rows)
	}
	c.verify(t)
	var moments []string
	for _, m := range []moment{opening, working, inside, moving} {
		if n := c.killed[m]; n > 0 {
			moments = append(moments, fmt.Sprintf("%s %s", humanize.Comma(int64(n)), m))
		}
	}
	t.Attr("figure", fmt.Sprintf("%s clients killed in %s cycles (%s): %s acknowledged appends, %s events, %s rows of the projection: %v",
		humanize.Comma(int64(c.kills())), humanize.Comma(int64(cycles)), strings.Join(moments, ", "), humanize.Comma(int64(len(all.acked))), humanize.Comma(int64(all.events)), humanize.Comma(int64(all.rows)), &all.findings))
}
