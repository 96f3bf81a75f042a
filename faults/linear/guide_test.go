package linear

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"
)

// A guide is the model with advice about what to try next, without which the search
// takes for ever: porcupine does not know which operations change nothing. Of the many
// orders that are as good as each other, the advice leaves one:
//
//   - An operation that may be next, changes nothing, and got the right answer, is next:
//     if it fits later, it fits now. Of several such, the one that was called first.
//   - Otherwise, what comes next in the log is stored, as the last reading has found it,
//     by the append that says it has, or for lack of one, by one without an answer.
//   - What is left of those without an answer goes behind the last reading, where
//     nobody sees what they do: they have stored nothing before, or what they repeat.
//
// TestGuide compares its judgement with that of the model alone.
type guide struct {
	model
	operations []porcupine.Operation // in the order of calls
	index      map[uuid.UUID]int     // of the events in the last reading
	// storers are for each place in the log the appends that may have filled it, those
	// that say so first.
	storers map[int][]int
	// furthest is the state in which most is done, to say where the search ends.
	furthest guided
}

// newGuide returns the guide for a history whose last operation has read everything.
func newGuide(operations []porcupine.Operation) *guide {
	g := &guide{
		model: newModel(operations), operations: slices.Clone(operations),
		index: map[uuid.UUID]int{}, storers: map[int][]int{},
	}
	slices.SortFunc(g.operations, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for i, e := range g.last {
		g.index[e.ID] = i
	}
	for _, sure := range []bool{true, false} {
		for i := range g.operations {
			q, p := g.operation(i)
			if !mayStore(q, p) || mustStore(q, p) != sure {
				continue
			}
			if at, ok := g.index[q.Batches[0].Events[0]]; ok {
				g.storers[at] = append(g.storers[at], i)
			}
		}
	}
	return g
}

// mayStore reports whether an operation may have stored events, and mustStore, whether
// it says so for sure.
func mayStore(q Request, p Response) bool {
	return q.Kind == Append && (p.Outcome == Ambiguous || p.Outcome == Done && !p.Result.Repeated)
}

func mustStore(q Request, p Response) bool {
	return mayStore(q, p) && p.Outcome == Done && !p.Unsure
}

func (g *guide) operation(i int) (Request, Response) {
	return g.operations[i].Input.(Request), g.operations[i].Output.(Response)
}

// A guided state knows which operations are done, and which one is next, or -1 if none
// can be.
type guided struct {
	state
	done []bool
	next int
}

// check looks for an order of the operations that the model allows.
func (g *guide) check(patience time.Duration) porcupine.CheckResult {
	numbered := slices.Clone(g.operations)
	for i := range numbered {
		numbered[i].Input = i
	}
	return porcupine.CheckOperationsTimeout(porcupine.Model{
		Init: func() any {
			g.furthest = g.advise(state{}, make([]bool, len(g.operations)))
			return g.furthest
		},
		Equal: func(a, b any) bool { return a.(guided).equal(b.(guided).state) },
		Hash:  func(s any) uint64 { return uint64(len(s.(guided).log)) },
		Step: func(was, number, _ any) (bool, any) {
			s, i := was.(guided), number.(int)
			if i != s.next {
				return false, s
			}
			q, p := g.operation(i)
			ok, now := g.step(s.state, q, p)
			if !ok {
				return false, s
			}
			if s.end {
				now = s.state // nobody looks any more
			}
			done := slices.Clone(s.done)
			done[i] = true
			next := g.advise(now, done)
			if count(done) > count(g.furthest.done) {
				g.furthest = next
			}
			return true, next
		},
	}, numbered, patience)
}

// advise returns the state with the number of the operation that is next.
func (g *guide) advise(s state, done []bool) guided {
	first := slices.Index(done, false)
	if first < 0 {
		return guided{s, done, -1}
	}
	// Nothing may be next that was called after one that is not done had returned.
	end := int64(math.MaxInt64)
	for i := first; i < len(done) && g.operations[i].Call < end; i++ {
		if !done[i] {
			end = min(end, g.operations[i].Return)
		}
	}
	for i := first; i < len(done) && g.operations[i].Call < end; i++ {
		if q, p := g.operation(i); !done[i] && (s.end || p.Outcome != Ambiguous) {
			if ok, now := g.step(s, q, p); ok && (s.end || len(now.log) == len(s.log)) {
				return guided{s, done, i}
			}
		}
	}
	for _, i := range g.storers[len(s.log)] {
		if done[i] {
			continue
		}
		q, p := g.operation(i)
		ok, now := g.step(s, q, p)
		if g.operations[i].Call < end && ok && len(now.log) > len(s.log) && len(now.log) <= len(g.last) &&
			slices.Equal(now.log[len(s.log):], g.last[len(s.log):len(now.log)]) {
			return guided{s, done, i}
		}
		if mustStore(q, p) {
			break // nobody else can have stored it
		}
	}
	return guided{s, done, -1}
}

func count(done []bool) (n int) {
	for _, d := range done {
		if d {
			n++
		}
	}
	return n
}

// stuck describes the state beyond which the search has found nothing.
func (g *guide) stuck() string {
	text := fmt.Appendf(nil, "stuck with %d events in the log, when all of these should be next:\n", len(g.furthest.log))
	end := int64(math.MaxInt64)
	for i, o := range g.operations {
		if o.Call > end {
			break
		}
		if !g.furthest.done[i] {
			end = min(end, o.Return)
			text = fmt.Appendf(text, "%d-%d client %d: %s\n", o.Call, o.Return, o.ClientId, describe(o.Input, o.Output))
		}
	}
	return string(text)
}
