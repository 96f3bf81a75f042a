package storetest

import (
	"errors"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func appendCases() []testCase {
	return []testCase{
		{"an append that expects the right version is stored", ruleAllWin, nil, checkAppend},
		{"an append that expects any version goes to the end", ruleAllWin, nil, checkAnyVersion},
		{"an append that expects a wrong version conflicts", ruleConflict, nil, checkWrongVersion},
	}
}

func checkAppend(s *suite) {
	a, b := stream("a"), stream("b")
	s.put(newBatch(a, 0, 1))
	s.put(newBatch(a, 1, 3))
	s.put(newBatch(b, 0, 2), newBatch(a, 4, 1))
	s.put(newBatch(b, 2, 1))

	// The store fills in what is the same for a whole batch, and ignores what
	// is its own to decide.
	batch := newBatch(a, 5, 2)
	batch.Events[0].Stream = evsourcing.StreamID{}
	batch.Events[1].Position = 1 << 40
	s.put(batch)
	s.verify()
}

func checkAnyVersion(s *suite) {
	a, b, c := stream("a"), stream("b"), stream("c")
	s.put(newBatch(a, evsourcing.AnyVersion, 2))
	s.put(newBatch(a, evsourcing.AnyVersion, 1))
	s.put(newBatch(a, 3, 1))
	s.put(newBatch(b, evsourcing.AnyVersion, 1), newBatch(a, 4, 1), newBatch(c, evsourcing.AnyVersion, 3))
	result := s.put(newBatch(a, evsourcing.AnyVersion, 2), newBatch(c, evsourcing.AnyVersion, 1))
	if result.Versions[0] != 7 || result.Versions[1] != 4 {
		s.errorf("the appends ended at versions %v, want [7 4]", result.Versions)
	}
	s.verify()
}

func checkWrongVersion(s *suite) {
	a, b := stream("a"), stream("b")
	s.put(newBatch(a, 0, 3))
	for _, test := range []struct {
		what     string
		id       evsourcing.StreamID
		expected uint64
		actual   uint64
	}{
		{"of an existing stream that should be new", a, 0, 3},
		{"one behind", a, 2, 3},
		{"one ahead", a, 4, 3},
		{"far ahead", a, 1 << 62, 3},
		{"of a stream that does not exist", b, 1, 0},
	} {
		for _, n := range []int{1, 3} {
			what := fmt.Sprintf("%d events expecting a version %s", n, test.what)
			batch := newBatch(test.id, test.expected, n)
			_, err := s.append(s.ctx, batch)
			s.wantConflict(what, err, batch, test.actual)
			s.verify()
			s.wantEmpty(b)
		}
	}
}

// wantConflict checks the error of an append that expects a version which the
// stream is not at.
func (s *suite) wantConflict(what string, err error, b evsourcing.Batch, actual uint64) {
	s.t.Helper()
	if err == nil {
		s.errorf("Append of %s was accepted, want ErrConflict", what)
		return
	}
	if !errors.Is(err, evsourcing.ErrConflict) {
		s.errorf("Append of %s returned an error that is not ErrConflict: %v", what, err)
	}
	var conflict *evsourcing.ConflictError
	if !errors.As(err, &conflict) {
		s.errorf("Append of %s returned an error that has no *ConflictError: %v", what, err)
		return
	}
	if want := (evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: actual}); *conflict != want {
		s.errorf("Append of %s returned %+v, want %+v", what, *conflict, want)
	}
}

// wantEmpty checks that the stream has no events.
func (s *suite) wantEmpty(id evsourcing.StreamID) {
	s.t.Helper()
	if list := s.load(id, evsourcing.Range{}); len(list) > 0 {
		s.errorf("Load of %v yields %d events, want none", id, len(list))
	}
}
