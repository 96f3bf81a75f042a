package linear

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/evsourcing/evsourcing"
)

// What a history has to have at least.
const (
	leastOperations = 300
	leastAmbiguous  = 0.05 // of the operations
)

// A history is what the clients of a store did and were told.
type history struct {
	least int          // operations that it has to have
	clock atomic.Int64 // counts calls and returns: the order that porcupine is given

	mu                     sync.Mutex // guards what follows
	operations             []porcupine.Operation
	answered, ambiguous    int
	conflicts, repetitions int
}

// record does an operation and notes it. Reads without an answer are left out, for
// they tell nothing.
func (h *history) record(client int, q Request, do func() Response) Response {
	called := h.clock.Add(1)
	p := do()
	returned := h.clock.Add(1)
	if p.Outcome == Refused && q.Kind != Append {
		return p
	}
	if p.Outcome == Ambiguous {
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{
		ClientId: client, Input: q, Output: p, Call: called, Return: returned,
	})
	switch {
	case p.Outcome == Ambiguous:
		h.ambiguous++
	case p.Outcome != Refused:
		h.answered++
	}
	if p.Outcome == Conflict {
		h.conflicts++
	}
	if p.Result.Repeated {
		h.repetitions++
	}
	return p
}

// size returns how many operations count, which those that were refused do not, and
// which share of them is ambiguous.
func (h *history) size() (operations int, ambiguous float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	operations = h.answered + h.ambiguous
	return operations, float64(h.ambiguous) / float64(max(1, operations))
}

// whole reports whether there is enough for a history. While clients still run, some
// more has to be ambiguous, for those under way may all get an answer.
func (h *history) whole(margin float64) bool {
	operations, ambiguous := h.size()
	return operations >= h.least && ambiguous >= leastAmbiguous*margin
}

// await returns true when so many operations are done, and false when ctx ends first.
func (h *history) await(ctx context.Context, operations int) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if n, _ := h.size(); n >= operations {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// String describes the operations in a form for a human reader of a failure.
func (h *history) String() string {
	var text []byte
	for _, o := range h.operations {
		text = fmt.Appendf(text, "%d-%d client %d: %s\n", o.Call, o.Return, o.ClientId, describe(o.Input, o.Output))
	}
	return string(text)
}

func describe(input, output any) string {
	q, p := input.(Request), output.(Response)
	var text []byte
	switch q.Kind {
	case Append:
		for _, b := range q.Batches {
			text = fmt.Appendf(text, " %s at %s", b.Stream.ID, version(b.Expected))
			for _, id := range b.Events {
				text = fmt.Appendf(text, " %.8s", id)
			}
		}
		switch p.Outcome {
		case Done:
			text = fmt.Appendf(text, ": %+v", p.Result)
		case Conflict:
			text = fmt.Appendf(text, ": %s is at %d", p.Conflict.Stream.ID, p.Conflict.Actual)
		}
	case Find:
		text = fmt.Appendf(text, " %.8s in %s: %d", q.Event, q.Stream.ID, p.Version)
	case Head:
		text = fmt.Appendf(text, ": %d %.8s", p.Mark.Position, p.Mark.EventID)
	default:
		text = fmt.Appendf(text, " %s %+v:", q.Stream.ID, q.Range)
		for _, e := range p.Events {
			text = fmt.Appendf(text, " %.8s %s/%d@%d", e.ID, e.Stream.ID, e.Version, e.Position)
		}
	}
	return fmt.Sprintf("%s %s%s %s", q.Kind, p.Outcome, text, p.Err)
}

func version(v uint64) string {
	if v == evsourcing.AnyVersion {
		return "any"
	}
	return fmt.Sprint(v)
}
