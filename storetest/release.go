package storetest

import (
	"errors"
	"iter"
	"runtime"

	"github.com/evsourcing/evsourcing"
)

func releaseCases() []testCase {
	return []testCase{
		{"a loop body may append", ruleNoLock, nil, checkAppendWithin},
		{"a loop body may wait for another writer", ruleNoLock, nil, checkWaitWithin},
		{"a loop body may read", ruleNoLock, nil, checkReadWithin},
		{"iterators at rest block nobody", ruleNoLock, nil, checkAtRest},
		{"iterators abandoned half way release what they held", ruleRelease, nil, checkAbandoned},
		{"a panic in a loop body passes and releases the iterator", ruleRelease, nil, checkPanicWithin},
	}
}

// longEnough is a number of events that is likely to be more than one page.
const longEnough = 600

// eachLoop runs body in a loop over each reading of a long stream, at some of
// its events, and checks that the loop still yields all that was there before.
func (s *suite) eachLoop(id evsourcing.StreamID, body func()) {
	for _, r := range s.readings(id) {
		before, err := s.collect(r.seq(s.ctx))
		if err != nil {
			s.fatalf("%s failed: %v", r.name, err)
		}
		var list []evsourcing.StoredEvent
		for e, err := range r.seq(s.ctx) {
			if err != nil {
				s.fatalf("%s failed after %d of %d events: %v", r.name, len(list), len(before), err)
			}
			// The loop may yield what its own body appends, so that ends.
			if n := len(list); n < 2 || n == 300 || n == longEnough-1 {
				body()
			}
			list = append(list, e)
		}
		if len(list) < len(before) {
			s.fatalf("%s yields %d events, want at least %d", r.name, len(list), len(before))
		}
		s.compare(r.name+", whose loop body used the store", list[:len(before)], before)
		s.stopIfFailed()
	}
	s.verify()
}

func checkAppendWithin(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, longEnough))
	s.eachLoop(id, func() {
		s.put(newBatch(id, evsourcing.AnyVersion, 2))
		s.put(newBatch(stream("b"), evsourcing.AnyVersion, 1))
	})
}

func checkWaitWithin(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, longEnough))
	s.eachLoop(id, func() {
		done := make(chan struct{})
		g := s.group()
		g.start(func() {
			defer close(done)
			s.put(newBatch(id, evsourcing.AnyVersion, 1), newBatch(stream("b"), evsourcing.AnyVersion, 1))
		})
		s.await("an append of another goroutine, for which a loop body waits,", done)
	})
}

func checkReadWithin(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, longEnough))
	s.eachLoop(id, func() {
		for _, r := range s.readings(id) {
			if _, err := s.collect(r.seq(s.ctx)); err != nil {
				s.fatalf("%s in a loop body failed: %v", r.name, err)
			}
		}
	})
}

// checkAtRest starts more iterators than a store is likely to have connections,
// and appends while all of them are in their loop bodies.
func checkAtRest(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, longEnough))
	type resting struct {
		reading
		next func() (evsourcing.StoredEvent, error, bool)
		stop func()
		want []evsourcing.StoredEvent
	}
	var list []resting
	defer func() {
		for _, r := range list {
			r.stop()
		}
	}()
	for range 10 {
		for _, r := range s.readings(id) {
			want, err := s.collect(r.seq(s.ctx))
			if err != nil {
				s.fatalf("%s failed: %v", r.name, err)
			}
			next, stop := iter.Pull2(r.seq(s.ctx))
			list = append(list, resting{r, next, stop, want})
		}
	}
	step := func(r resting, i int) {
		e, err, ok := r.next()
		if !ok || err != nil {
			s.fatalf("%s among %d iterators at rest ended before event %d, error %v", r.name, len(list), i+1, err)
		}
		if d := difference(e, r.want[i]); d != "" {
			s.fatalf("%s among %d iterators at rest: event %d: %s", r.name, len(list), i+1, d)
		}
	}
	for _, r := range list {
		step(r, 0)
	}
	s.together(4, func(int) { s.put(newBatch(id, evsourcing.AnyVersion, 1)) })
	for _, r := range list {
		step(r, 1)
	}
	s.put(newBatch(stream("b"), 0, 1))
	for i, r := range list {
		if i%2 == 0 {
			continue // stopped at rest
		}
		for j := 2; j < len(r.want); j++ {
			step(r, j)
		}
	}
	s.verify()
}

func checkAbandoned(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, longEnough))
	before := runtime.NumGoroutine()
	abandoned := 0
	for range s.size(60, 30) {
		for _, r := range s.readings(id) {
			for _, at := range []int{1, 300} {
				count := 0
				for _, err := range r.seq(s.ctx) {
					if err != nil {
						s.fatalf("%s failed after %d iterators were abandoned: %v", r.name, abandoned, err)
					}
					if count++; count == at {
						break
					}
				}
				abandoned++
			}
		}
	}
	s.put(newBatch(id, longEnough, 1))
	s.verify()
	// Others may start goroutines meanwhile, if not that many.
	s.eventually("the end of the goroutines of abandoned iterators", func() bool {
		return runtime.NumGoroutine() < before+abandoned/2
	})
}

func checkPanicWithin(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, longEnough))
	thrown := errors.New("thrown by the loop body")
	for range 20 {
		for _, r := range s.readings(id) {
			func() {
				defer func() {
					if v := recover(); v != thrown {
						s.errorf("%s: the loop body's panic arrived as %v", r.name, v)
					}
				}()
				for range r.seq(s.ctx) {
					panic(thrown)
				}
				s.errorf("%s yields nothing", r.name)
			}()
		}
		s.stopIfFailed()
	}
	s.put(newBatch(id, longEnough, 1))
	s.verify()
}
