package linear

import (
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A state is the log of a store, in the model.
type state struct {
	log []Seen // never changed, only copied; events that the last reading lacks have position 0
	end bool   // the last reading is done
}

func (s state) equal(o state) bool { return s.end == o.end && slices.Equal(s.log, o.log) }

// find returns where the event stands, nil if it does not.
func (s state) find(id uuid.UUID) *Seen {
	for i := range s.log {
		if s.log[i].ID == id {
			return &s.log[i]
		}
	}
	return nil
}

// version returns the version of the stream.
func (s state) version(id evsourcing.StreamID) uint64 {
	for i := len(s.log) - 1; i >= 0; i-- {
		if s.log[i].Stream == id {
			return s.log[i].Version
		}
	}
	return 0
}

// A model is a store, as its contract says what it does. The positions of events are
// the store's choice, so the model takes them from the last reading, and holds all
// answers to them.
type model struct {
	last      []Seen               // what the last reading has found
	positions map[uuid.UUID]uint64 // the same by event
}

// newModel returns the model for a history whose last operation has read everything.
func newModel(operations []porcupine.Operation) model {
	last := operations[len(operations)-1].Output.(Response).Events
	m := model{last, map[uuid.UUID]uint64{}}
	for _, e := range last {
		m.positions[e.ID] = e.Position
	}
	return m
}

// check looks for an order of the operations that the model allows. It tries them all,
// which takes too long for histories that are not small; see guide.
func (m model) check(operations []porcupine.Operation, patience time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(porcupine.Model{
		Init:  func() any { return state{} },
		Equal: func(a, b any) bool { return a.(state).equal(b.(state)) },
		Hash:  func(s any) uint64 { return uint64(len(s.(state).log)) },
		Step: func(s, input, output any) (bool, any) {
			return m.step(s.(state), input.(Request), output.(Response))
		},
	}, operations, patience)
}

// step returns the state after the operation, and false if the answer is wrong.
func (m model) step(s state, q Request, p Response) (bool, state) {
	switch q.Kind {
	case Append:
		return m.append(s, q, p)
	case Load:
		own := make([]Seen, 0, len(s.log))
		for _, e := range s.log {
			if e.Stream == q.Stream {
				own = append(own, e)
			}
		}
		return slices.Equal(p.Events, cut(own, q.Range, Seen.version)), s
	case Events:
		ok := slices.Equal(p.Events, cut(s.log, q.Range, Seen.position))
		s.end = s.end || q.Last
		return ok, s
	case Head:
		var mark evsourcing.Mark
		if n := len(s.log); n > 0 {
			mark = evsourcing.Mark{Position: s.log[n-1].Position, EventID: s.log[n-1].ID}
		}
		return p.Mark == mark, s
	case Find:
		e := s.find(q.Event)
		if e == nil || e.Stream != q.Stream {
			return p.Version == 0, s
		}
		return p.Version == e.Version, s
	}
	panic("unknown kind: " + q.Kind)
}

func (e Seen) version() uint64  { return e.Version }
func (e Seen) position() uint64 { return e.Position }

// cut returns what the range selects of events whose numbers rise.
func cut(events []Seen, r evsourcing.Range, number func(Seen) uint64) []Seen {
	if r.Until == 0 {
		r.Until = math.MaxUint64
	}
	var out []Seen
	for _, e := range events {
		if n := number(e); n > r.After && n <= r.Until {
			out = append(out, e)
		}
	}
	if r.Backward {
		slices.Reverse(out)
	}
	if r.Limit > 0 && len(out) > r.Limit {
		out = out[:r.Limit]
	}
	return out
}

// append is [evsourcing.EventStore]'s Append, by the promises 1 to 4.
func (m model) append(s state, q Request, p Response) (bool, state) {
	want, next := m.judge(s, q.Batches)
	switch p.Outcome {
	case Ambiguous:
		return true, next // whatever it is
	case Refused:
		return true, s // at any time, and without effect
	case Conflict:
		return want.Outcome == Conflict && slices.ContainsFunc(q.Batches, func(b Batch) bool {
			return p.Conflict == evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: s.version(b.Stream)} &&
				b.Expected != evsourcing.AnyVersion && b.Expected != p.Conflict.Actual
		}), s
	case Duplicate:
		return want.Outcome == Duplicate, s
	}
	return want.Outcome == Done && slices.Equal(p.Result.Versions, want.Result.Versions) &&
		(p.Result.Repeated == want.Result.Repeated || want.Result.Repeated && p.Unsure) && p.Result.Position == want.Result.Position && !p.Result.Pending, next
}

// judge returns what comes of an append, and the state after it.
func (m model) judge(s state, batches []Batch) (Response, state) {
	result := evsourcing.AppendResult{Repeated: true}
	stored := false
	for _, b := range batches {
		next := b.Expected + 1
		for j, id := range b.Events {
			e := s.find(id)
			if e == nil {
				result.Repeated = false
				continue
			}
			stored = true
			if j == 0 && b.Expected == evsourcing.AnyVersion {
				next = e.Version
			}
			if e.Stream != b.Stream || e.Version != next+uint64(j) {
				result.Repeated = false
			}
			result.Position = max(result.Position, e.Position)
		}
		result.Versions = append(result.Versions, next+uint64(len(b.Events))-1)
	}
	switch {
	case result.Repeated:
		return Response{Outcome: Done, Result: result}, s
	case stored:
		return Response{Outcome: Duplicate}, s
	}
	return m.store(s, batches)
}

// store stores events that are not stored yet.
func (m model) store(s state, batches []Batch) (Response, state) {
	var result evsourcing.AppendResult
	log := slices.Clone(s.log)
	for _, b := range batches {
		v := s.version(b.Stream)
		if b.Expected != evsourcing.AnyVersion && b.Expected != v {
			return Response{Outcome: Conflict}, s
		}
		for _, id := range b.Events {
			v++
			log = append(log, Seen{ID: id, Stream: b.Stream, Version: v, Position: m.positions[id]})
		}
		result.Versions = append(result.Versions, v)
	}
	if !rises(log, len(s.log)) {
		// There is no such outcome: the last reading has the events elsewhere.
		return Response{}, s
	}
	result.Position = log[len(log)-1].Position
	s.log = log
	return Response{Outcome: Done, Result: result}, s
}

// rises reports whether the positions of the events from first on are consecutive, and
// beyond those before. Events that nobody has read have none.
func rises(log []Seen, first int) bool {
	for i := first; i < len(log); i++ {
		if i == 0 || log[i].Position == 0 {
			continue
		}
		before := log[i-1].Position
		if log[i].Position <= before || i > first && log[i].Position != before+1 {
			return false
		}
	}
	return true
}
