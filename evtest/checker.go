package evtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// checker is one call of Check.
type checker[T any] struct {
	codec      evsourcing.Codec
	opts       CheckOptions[T]
	repo       *evsourcing.Repository[T]
	record     func(a *T, e evsourcing.EventOf[*T])
	prototypes []reflect.Type
	values     map[reflect.Type]reflect.Value
	found      map[string]bool // kinds of failures that were reported
	streams    int             // that were stored
}

// A plan says how to make an event; carrying it out again makes an equal one
// that shares no memory with the first.
type plan struct {
	prototype reflect.Type
	seed      uint64
	zero      bool // the zero value
}

// A finding is a rule broken.
type finding struct {
	kind   string   // rule and topic; one of a kind is reported
	text   string   // what is wrong
	events []string // that led to it, the last included
}

// stop is what the check of a sequence panics with, to get out of it.
type stop struct{ finding }

func (c *checker[T]) run(t testing.TB) {
	t.Helper()
	for run := range c.opts.Runs {
		r := rand.New(rand.NewPCG(c.opts.Seed, uint64(run)))
		var f *finding
		if c.opts.Next != nil {
			f = c.follow(t.Context(), r)
		} else {
			f = c.shorten(t.Context(), c.draw(r, run))
		}
		if f == nil {
			continue
		}
		c.found[f.kind] = true
		t.Errorf("evtest: Check[%v]: %s\n  found with Seed %d by:%s", reflect.TypeFor[T](), f.text, c.opts.Seed, indent(f.events))
	}
}

func indent(lines []string) string {
	if len(lines) == 0 {
		return "\n    (no event)"
	}
	return "\n    " + strings.Join(lines, "\n    ")
}

// draw plans a sequence. The first ones are the zero value of each event.
func (c *checker[T]) draw(r *rand.Rand, run int) []plan {
	if run < len(c.prototypes) {
		return []plan{{prototype: c.prototypes[run], zero: true}}
	}
	plans := make([]plan, 1+r.IntN(c.opts.Events))
	for i := range plans {
		plans[i] = plan{prototype: c.prototypes[r.IntN(len(c.prototypes))], seed: r.Uint64()}
	}
	return plans
}

// follow checks the sequence that Next makes.
func (c *checker[T]) follow(ctx context.Context, r *rand.Rand) *finding {
	n := 1 + r.IntN(c.opts.Events)
	return c.check(ctx, func(i int, a *T) evsourcing.EventOf[*T] {
		if i == n {
			return nil
		}
		e := c.opts.Next(r, a)
		if isNil(e) {
			return nil
		}
		return e
	})
}

// shorten checks a planned sequence, and what remains of it while it fails in
// the same way.
func (c *checker[T]) shorten(ctx context.Context, plans []plan) *finding {
	f := c.carryOut(ctx, plans)
	if f == nil {
		return nil
	}
	better := func(shorter []plan) bool {
		g := c.carryOut(ctx, shorter)
		if g == nil || g.kind != f.kind {
			return false
		}
		f, plans = g, shorter
		return true
	}
	for again := true; again; {
		again = false
		for i := len(plans) - 1; i >= 0; i-- {
			if i < len(plans) && better(slices.Delete(slices.Clone(plans), i, i+1)) {
				again = true
			}
		}
	}
	for i := range plans { // are there events that are shorter to read?
		simple := slices.Clone(plans)
		simple[i].zero = true
		if better(simple) {
			continue
		}
		for seed := range uint64(20) {
			simple := slices.Clone(plans)
			simple[i].seed = seed
			if g := c.carryOut(ctx, simple); g != nil && g.kind == f.kind && length(g.events) < length(f.events) {
				f, plans = g, simple
			}
		}
	}
	return f
}

func length(lines []string) (n int) {
	for _, line := range lines {
		n += len(line)
	}
	return n
}

func (c *checker[T]) carryOut(ctx context.Context, plans []plan) *finding {
	return c.check(ctx, func(i int, _ *T) evsourcing.EventOf[*T] {
		if i == len(plans) {
			return nil
		}
		return c.build(plans[i])
	})
}

// build makes the event of a plan.
func (c *checker[T]) build(p plan) evsourcing.EventOf[*T] {
	t := p.prototype
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := reflect.New(t)
	if !p.zero {
		g := &generator{rand: rand.New(rand.NewPCG(p.seed, 0)), values: c.values, pkg: t.PkgPath()}
		g.fill("", v.Elem())
		for _, field := range g.cannot {
			c.fail("values "+t.String(), nil, fmt.Sprintf("there are no values for the field %s of %v: give CheckOptions.Values a function that makes some", field, t))
		}
	}
	if p.prototype.Kind() != reflect.Pointer {
		v = v.Elem()
	}
	e, _ := v.Interface().(evsourcing.EventOf[*T])
	return e
}

// fail ends the check of a sequence, unless the failure is known.
func (c *checker[T]) fail(kind string, events []string, text string) {
	if !c.found[kind] {
		panic(stop{finding{kind, text, events}})
	}
}

// check applies the events that next returns to an aggregate, stores and replays
// them. It returns the first rule broken.
func (c *checker[T]) check(ctx context.Context, next func(i int, a *T) evsourcing.EventOf[*T]) (f *finding) {
	defer func() {
		if r := recover(); r != nil {
			s, ok := r.(stop)
			if !ok {
				panic(r)
			}
			if f = &s.finding; c.found[f.kind] {
				f = nil
			}
		}
	}()
	c.streams++
	a := c.repo.New(strconv.Itoa(c.streams))
	s := &sequence[T]{checker: c, a: a, states: [][]string{describe(a, c.opts.DistinguishNil)}}
	for i := 0; ; i++ {
		e := next(i, a)
		if e == nil {
			break
		}
		s.add(ctx, e)
	}
	s.replay(ctx)
	return nil
}

// caught runs fn and returns what it panicked with, and where.
func caught(fn func()) (value any, stack string) {
	defer func() {
		if value = recover(); value != nil {
			stack = userFrames(string(debug.Stack()))
		}
	}()
	fn()
	return nil, ""
}

// userFrames returns the part of a stack between the panic and this package.
func userFrames(stack string) string {
	if _, after, ok := strings.Cut(stack, "\npanic("); ok {
		if _, frames, ok := strings.Cut(after, "\n\t"); ok {
			_, stack, _ = strings.Cut(frames, "\n")
		}
	}
	if before, _, ok := strings.Cut(stack, "\ngithub.com/evsourcing/evsourcing.Record"); ok {
		stack = before
	}
	return strings.ReplaceAll("\n"+strings.TrimSpace(stack), "\n", "\n    ")
}
