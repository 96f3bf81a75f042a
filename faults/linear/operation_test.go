package linear

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// A store is what clients use.
type store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Finder
}

// A Kind is a method of a store.
type Kind string

// The kinds of operations.
const (
	Append Kind = "append"
	Load   Kind = "load"
	Find   Kind = "find"
	Head   Kind = "head"
	Events Kind = "events"
)

// A Request is an operation's input. It travels to other processes.
type Request struct {
	Kind      Kind
	Batches   []Batch             // of Append
	Stream    evsourcing.StreamID // of Load and Find
	Range     evsourcing.Range    // of Load and Events
	Event     uuid.UUID           // of Find
	Impatient bool                // the caller may leave before there is an answer
	Last      bool                // it reads all, when everybody else has ended
}

// A Batch is an [evsourcing.Batch] with nothing but the events' IDs.
type Batch struct {
	Stream   evsourcing.StreamID
	Expected uint64
	Events   []uuid.UUID
}

// An Outcome is what is known after an operation.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"
	Conflict  Outcome = "conflict"
	Duplicate Outcome = "duplicate event"
	Refused   Outcome = "refused" // an append has stored nothing; a read has no answer
	Ambiguous Outcome = "ambiguous"
)

// A Response is an operation's output.
type Response struct {
	Outcome  Outcome
	Result   evsourcing.AppendResult  // of Append
	Conflict evsourcing.ConflictError // of Append with a conflict
	Events   []Seen                   // of Load and Events
	Mark     evsourcing.Mark          // of Head
	Version  uint64                   // of Find; 0 if there is no such event
	Unsure   bool                     // of Append: what was stored before may count as stored by it
	Err      string
}

// Seen is a stored event as a reader gets it.
type Seen struct {
	ID                uuid.UUID
	Stream            evsourcing.StreamID
	Version, Position uint64
}

// An endpoint carries requests to a store.
type endpoint interface {
	do(ctx context.Context, q Request) Response
}

// local is an endpoint in the same process as the store. Who is impatient has a context
// that ends soon.
type local struct{ store }

func (l local) do(ctx context.Context, q Request) Response {
	if q.Impatient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, soon())
		defer cancel()
	}
	switch q.Kind {
	case Append:
		return l.append(ctx, q)
	case Load:
		return read(l.Load(ctx, q.Stream, q.Range))
	case Events:
		return read(l.Events(ctx, q.Range, evsourcing.Filter{}))
	case Head:
		mark, err := l.Head(ctx)
		return answer(Response{Mark: mark}, err)
	case Find:
		v, ok, err := l.Find(ctx, q.Stream, q.Event)
		if ok != (v > 0) && err == nil {
			err = fmt.Errorf("Find returned version %d and %t", v, ok)
		}
		return answer(Response{Version: v}, err)
	}
	panic("unknown kind: " + q.Kind)
}

// soon returns a time from 30 us to 10 ms; each order of magnitude is as likely.
func soon() time.Duration {
	return time.Duration(30e3 * math.Pow(10, rand.Float64()*2.5))
}

func (l local) append(ctx context.Context, q Request) Response {
	batches := make([]evsourcing.Batch, len(q.Batches))
	for i, b := range q.Batches {
		batches[i] = evsourcing.Batch{Stream: b.Stream, Expected: b.Expected}
		for j, id := range b.Events {
			e := evsourcing.StoredEvent{ID: id, Topic: "linear.happened", Data: []byte(faulttest.Marker), Time: time.Now()}
			if b.Expected != evsourcing.AnyVersion {
				e.Version = b.Expected + uint64(j) + 1
			}
			batches[i].Events = append(batches[i].Events, e)
		}
	}
	result, err := l.Append(ctx, batches...)
	conflict, _ := errors.AsType[*evsourcing.ConflictError](err)
	switch {
	case errors.Is(err, evsourcing.ErrUncertain):
		return Response{Outcome: Ambiguous, Err: err.Error()}
	case conflict != nil:
		return Response{Outcome: Conflict, Conflict: *conflict}
	case errors.Is(err, evsourcing.ErrDuplicateEvent):
		return Response{Outcome: Duplicate, Err: err.Error()}
	}
	return answer(Response{Result: result}, err)
}

func answer(p Response, err error) Response {
	if err != nil {
		return Response{Outcome: Refused, Err: err.Error()}
	}
	p.Outcome = Done
	return p
}

func read(events func(yield func(evsourcing.StoredEvent, error) bool)) Response {
	var p Response
	for e, err := range events {
		if err != nil {
			return answer(p, err)
		}
		p.Events = append(p.Events, Seen{e.ID, e.Stream, e.Version, e.Position})
	}
	return answer(p, nil)
}

// A lossy endpoint is reached through a network that is slow and loses what the
// impatient send: the request, the answer, or both for now, for the request may arrive
// at any later time.
type lossy struct {
	endpoint
	late *late
}

func (l lossy) do(ctx context.Context, q Request) Response {
	delay()
	defer delay()
	if q.Kind != Append || !q.Impatient {
		return l.endpoint.do(ctx, q)
	}
	q.Impatient = false // the store answers, but nobody hears it
	switch rand.IntN(3) {
	case 0:
	case 1:
		l.endpoint.do(ctx, q)
	case 2:
		l.late.deliver(ctx, func() { l.endpoint.do(ctx, q) })
	}
	return Response{Outcome: Ambiguous, Err: "lost on the way"}
}

// delay takes up to 200 us.
func delay() { <-time.After(rand.N(200 * time.Microsecond)) }
