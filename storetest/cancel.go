package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/evsourcing/evsourcing"
)

func cancelCases() []testCase {
	return []testCase{
		{"an append under a cancelled context stores nothing", ruleWithdrawn, nil, checkAppendCancelled},
		{"impatient writers disturb no other and leave nothing behind", ruleUndisturbed, nil, checkImpatient},
	}
}

func checkAppendCancelled(s *suite) {
	a, b := stream("a"), stream("b")
	s.put(newBatch(a, 0, 1))
	expired, cancel := context.WithTimeout(s.ctx, -time.Second)
	defer cancel()
	for _, test := range []struct {
		ctx  context.Context
		want error
	}{
		{s.cancelledContext(), context.Canceled},
		{expired, context.DeadlineExceeded},
	} {
		for _, batches := range [][]evsourcing.Batch{
			{newBatch(a, 1, 2)},
			{newBatch(a, evsourcing.AnyVersion, 1)},
			{newBatch(b, 0, 1), newBatch(a, 1, 1)},
		} {
			_, err := s.append(test.ctx, batches...)
			switch {
			case err == nil:
				s.errorf("Append was accepted although its context had ended before: %v", test.want)
			case errors.Is(err, evsourcing.ErrUncertain):
				s.errorf("Append returned ErrUncertain although its context had ended before the call: %v", err)
			case !errors.Is(err, test.want):
				s.errorf("Append returned %v, want an error that is %v", err, test.want)
			}
			s.verify()
			s.wantEmpty(b)
		}
	}
	s.stopIfFailed()
	s.put(newBatch(a, 1, 1))
	s.verify()
}

// checkImpatient lets writers whose contexts end at any moment race with
// writers who wait for their answers.
func checkImpatient(s *suite) {
	const patient, impatient = 4, 8
	rounds := s.size(60, 25)
	shared := stream("shared")
	var mu sync.Mutex
	var uncertain, failed []evsourcing.Batch
	s.together(patient+impatient, func(i int) {
		if i < patient {
			own := stream(fmt.Sprint("patient-", i))
			for round := range rounds {
				s.put(newBatch(own, uint64(round), 1), newBatch(shared, evsourcing.AnyVersion, 1))
			}
			return
		}
		random := rand.New(rand.NewPCG(uint64(i), 7))
		for range rounds {
			ctx, cancel := context.WithTimeout(s.ctx, time.Duration(random.IntN(1500))*time.Microsecond)
			batch := newBatch(shared, evsourcing.AnyVersion, 2)
			result, err := s.append(ctx, batch)
			switch {
			case err == nil:
				s.record(result, batch)
			case errors.Is(err, evsourcing.ErrUncertain):
				mu.Lock()
				uncertain = append(uncertain, batch)
				mu.Unlock()
			case errors.Is(err, context.DeadlineExceeded):
				mu.Lock()
				failed = append(failed, batch)
				mu.Unlock()
			default:
				s.errorf("Append whose context ended returned %v, want the context's error or ErrUncertain", err)
			}
			cancel()
		}
	})
	// Whatever came of the uncertain ones, repeating them stores them once.
	for _, batch := range uncertain {
		result, err := s.append(s.ctx, batch)
		if err != nil {
			s.fatalf("repeating an append that was uncertain failed: %v", err)
		}
		s.record(result, batch)
	}
	s.verify()
	s.stopIfFailed()
	// The failed ones were not in the store, so they are no repetitions.
	for _, batch := range failed {
		s.put(batch)
	}
	s.verify()
}
