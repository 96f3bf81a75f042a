package faults

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// patience is how long a call may take: far beyond what a busy machine needs.
const patience = 30 * time.Second

// stepsInCheck is about how many steps the machine makes on one site.
const stepsInCheck = 100

// wantedSteps returns how many steps are made on each store.
func wantedSteps() int { return faulttest.Scale(400, 2_000, 100_000) }

// TestModel drives each kind of store through random calls, beside a model.
func TestModel(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			prepare := k.prepare(t)
			setRapid(t, map[string]string{"checks": "5", "steps": strconv.Itoa(stepsInCheck), "shrinktime": "20s"})
			sites, steps, failed := 0, 0, false
			for started := time.Now(); steps < wantedSteps(); {
				rapid.Check(t, func(rt *rapid.T) {
					m := &machine{patience: patience}
					defer func() {
						sites, steps = sites+1, steps+m.steps
						if rt.Failed() && !failed {
							failed = true
							t.Logf("the first failure came after these calls:\n%s", strings.Join(m.history, "\n"))
						}
					}()
					m.run(rt, prepare)
				})
				if d, ok := t.Deadline(); ok && time.Until(d) < time.Since(started)/10 {
					t.Fatalf("only %d of %d steps were made before the test's time is over: give it more by -timeout", steps, wantedSteps())
				}
			}
			t.Attr("figure", fmt.Sprintf("%s random steps on %s stores, as the model does", humanize.Comma(int64(steps)), humanize.Comma(int64(sites))))
		})
	}
}

// run makes the machine's steps on a new site.
func (m *machine) run(t *rapid.T, prepare func(context.Context) (site, error)) {
	m.start(t, prepare)
	t.Repeat(m.actions())
	m.compareAll(t)
}

// userFlags are the flags that the command line gives.
var userFlags = sync.OnceValue(func() map[string]bool {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
})

// setRapid sets flags of rapid for the time of the test, unless the command line
// gives them. They are global, so such tests can't be parallel.
func setRapid(t *testing.T, values map[string]string) {
	t.Helper()
	given := userFlags()
	for name, value := range values {
		name = "rapid." + name
		if given[name] {
			continue
		}
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := flag.Set(name, old); err != nil {
				t.Error(err)
			}
		})
	}
}
