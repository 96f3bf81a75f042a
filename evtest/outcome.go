package evtest

import (
	"errors"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// An Outcome is what came of a [Scenario]'s When. Its methods may be called in
// any order; one of them must be, or the test fails. A failure does not end the
// test.
type Outcome[T any] struct {
	t        testing.TB
	err      error
	recorded []evsourcing.EventOf[*T]
	state    *T
	checked  bool
}

// Then fails the test unless exactly these events were recorded, in this order,
// without an error. Then() says that nothing was.
//
// Events are equal if their types and all of their fields are, unexported ones
// too. A value equals a pointer to it, a nil slice or map equals an empty one,
// and times are equal if they are the same instant.
func (o *Outcome[T]) Then(events ...evsourcing.EventOf[*T]) *Outcome[T] {
	o.t.Helper()
	o.checked = true
	if o.err != nil {
		o.t.Errorf("evtest: Then: refused: %v\n  instead of recording:%s", o.err, listEvents(events))
		return o
	}
	if diff, ok := diffEvents(events, o.recorded); !ok {
		o.t.Errorf("evtest: Then: other events were recorded (- expected, + recorded):%s", diff)
	}
	return o
}

// ThenError fails the test unless the command or function returned an error that
// wraps target, as errors.Is tells. For errors that are no such values, see
// [Outcome.Err]. What a function recorded before its error is not stored, and
// not looked at.
func (o *Outcome[T]) ThenError(target error) *Outcome[T] {
	o.t.Helper()
	o.checked = true
	switch {
	case target == nil:
		o.t.Errorf("evtest: ThenError(nil): use Then for what is not refused")
	case o.err == nil:
		o.t.Errorf("evtest: ThenError: no error, expected: %v\n  recorded:%s", target, listEvents(o.recorded))
	case !errors.Is(o.err, target):
		o.t.Errorf("evtest: ThenError: another error:\n    %s%v (%T)\n    %s%v (%T)", wanted, target, target, got, o.err, o.err)
	}
	return o
}

// Err returns what the command or function returned, for the test to look at.
func (o *Outcome[T]) Err() error {
	o.checked = true
	return o.err
}

// ThenState passes the aggregate to check, as it is once what was recorded is
// saved: its version counts that, and it has no changes. After an error it is as
// it was given. check may use t, or the test's own.
func (o *Outcome[T]) ThenState(check func(t testing.TB, a *T)) *Outcome[T] {
	o.t.Helper()
	o.checked = true
	check(o.t, o.state)
	return o
}
