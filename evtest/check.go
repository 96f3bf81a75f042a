package evtest

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// CheckOptions change the defaults of [Check].
type CheckOptions[T any] struct {
	// Seed begins the random numbers. A failure names the seed that it was found
	// with. If zero, another one every time.
	Seed uint64
	// Runs is the number of sequences. If zero, 100.
	Runs int
	// Events is the number of events in a sequence, at most. If zero, 10.
	Events int
	// Values are functions of the form func(*rand.Rand) X, of math/rand/v2. They
	// make the values of type X, which may be that of an event, of a field, or
	// of something in it: a currency's code, say. If nil, every value is
	// possible.
	Values []any
	// Next returns an event that may happen to a next, or nil to end the
	// sequence; it may run a random command. It must not change a. If nil, events
	// follow each other in any order.
	Next func(r *rand.Rand, a *T) evsourcing.EventOf[*T]
	// DistinguishNil tells nil slices and maps from empty ones, in events that
	// were stored and states that were replayed. If false, they are equal.
	DistinguishNil bool
}

// Check tests whether an aggregate and its events keep the rules on which the
// library relies. The prototypes say which events there are; each is filled at
// random, its unexported fields too, and random sequences of them happen to
// aggregates:
//
//	func TestAccount(t *testing.T) {
//		evtest.Check[Account](t, registry, nil, Opened{}, Deposited{}, Withdrawn{})
//	}
//
// The rules:
//
//   - An event's topic is the same whatever is in the event.
//   - An event comes back from the codec as it was.
//   - ApplyTo does not panic: what has happened can't fail.
//   - ApplyTo changes nothing in its event, nor in one applied before.
//   - ApplyTo keeps none of the event's slices and maps, but copies of them; nor
//     of the spare room behind a slice, into which an append would write. What
//     is behind a type without exported fields that marshals itself as text, a
//     decimal number say, may be shared.
//   - Replaying the stored events leads to the state that recording them led to.
//     So it depends on them alone: not on the clock, on chance, or on the order
//     of a map.
//
// Equality is that of [Outcome.Then], and includes all fields of the state but
// [evsourcing.Base].
//
// Check reports each rule that is broken once an event type, with the seed and a
// shortest sequence of events that it could find. It can't see what a function
// or channel in the state refers to. Fields of an interface type with methods
// need CheckOptions.Values. opts may be nil.
func Check[T any, P interface {
	*T
	evsourcing.Aggregate
}](t testing.TB, codec evsourcing.Codec, opts *CheckOptions[T], prototypes ...evsourcing.EventOf[P]) {
	t.Helper()
	if codec == nil {
		t.Fatalf("evtest: Check: the codec is nil")
	}
	c := &checker[T]{
		codec: codec,
		repo:  evsourcing.NewRepository[T, P]("evtest", evsourcing.NewMemoryStore(), codec, nil),
		record: func(a *T, e evsourcing.EventOf[*T]) {
			of, _ := e.(evsourcing.EventOf[P]) // the same type
			evsourcing.Record(P(a), of)
		},
		found: map[string]bool{},
	}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Seed == 0 {
		c.opts.Seed = 1 + rand.Uint64N(1<<32) // short enough to copy
	}
	if c.opts.Runs <= 0 {
		c.opts.Runs = 100
	}
	if c.opts.Events <= 0 {
		c.opts.Events = 10
	}
	var err error
	if c.values, err = makers(c.opts.Values); err != nil {
		t.Fatal(err)
	}
	for i, e := range prototypes {
		if e == nil {
			t.Fatalf("evtest: Check: prototype %d is nil", i)
		}
		c.prototypes = append(c.prototypes, reflect.TypeOf(e))
	}
	if len(prototypes) == 0 && c.opts.Next == nil {
		t.Fatalf("evtest: Check: there are no prototypes of events, and no Next")
	}
	c.run(t)
}
