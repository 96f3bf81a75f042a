package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/evsourcing/evsourcing"
)

func waiterCases() []testCase {
	needs := []capability{hasWaiter, hasLog}
	return []testCase{
		{"wait returns at once if the head is beyond", ruleWait, needs, checkWaitAtOnce},
		{"wait returns when the head goes beyond", ruleWait, needs, checkWaitWakes},
		{"wait misses no append that races with it", ruleWait, needs, checkWaitRace},
		{"wait goes on until the head is beyond", ruleWait, needs, checkWaitGoesOn},
		{"wait ends when its context ends", ruleWaitEnds, needs, checkWaitCancelled},
	}
}

// wantWait waits for a position beyond after, and checks that the head is
// there.
func (s *suite) wantWait(after uint64) {
	s.t.Helper()
	if err := s.wait(s.ctx, after); err != nil {
		s.fatalf("Wait for a position after %d failed: %v", after, err)
	}
	if head := s.head(); head.Position <= after {
		s.errorf("Wait for a position after %d returned while the head was at %d", after, head.Position)
	}
}

func checkWaitAtOnce(s *suite) {
	head := s.put(newBatch(stream("a"), 0, 3)).Position
	for after := range head {
		s.wantWait(after)
	}
	s.together(8, func(int) { s.wantWait(head - 1) })
}

func checkWaitWakes(s *suite) {
	id := stream("a")
	head := uint64(0)
	for round := range s.size(20, 10) {
		waiting := s.group()
		// All wait for the same append, and each wakes by itself.
		for range 8 {
			waiting.start(func() { s.wantWait(head) })
		}
		if round%2 == 0 {
			// As a rule they have begun to wait after that.
			for range 200 {
				runtime.Gosched()
			}
		}
		result := s.put(newBatch(id, uint64(round), 1))
		waiting.wait()
		s.stopIfFailed()
		head = result.Position
	}
}

// checkWaitRace appends at the moment when a Wait starts, which is when a store
// may look before and listen after.
func checkWaitRace(s *suite) {
	head := uint64(0)
	for round := range s.size(300, 100) {
		s.together(4, func(i int) {
			if i == 0 {
				s.put(newBatch(stream("a"), uint64(round), 1))
			} else {
				s.wantWait(head)
			}
		})
		head = s.head().Position
	}
}

// checkWaitGoesOn waits for a position that the next appends do not reach.
func checkWaitGoesOn(s *suite) {
	head := s.put(newBatch(stream("a"), 0, 1)).Position
	goal := head + 300
	done := make(chan struct{})
	waiting := s.group()
	waiting.start(func() {
		defer close(done)
		s.wantWait(goal)
	})
	for i := uint64(1); !isClosed(done); i++ {
		s.put(newBatch(stream("a"), i, 1))
		runtime.Gosched()
	}
	waiting.wait()
}

func checkWaitCancelled(s *suite) {
	head := s.put(newBatch(stream("a"), 0, 1)).Position
	for _, after := range []uint64{head, head + 1000} {
		what := fmt.Sprintf("Wait for a position after %d, the head being %d,", after, head)
		s.wantCancelled(what, s.wait(s.cancelledContext(), after))

		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
		if err := s.wait(ctx, after); !errors.Is(err, context.DeadlineExceeded) {
			s.errorf("%s returned %v at its deadline, want an error that is context.DeadlineExceeded", what, err)
		}
		cancel()

		ctx, cancel = context.WithCancel(s.ctx)
		waiting := s.group()
		for range 4 {
			waiting.start(func() { s.wantCancelled(what, s.wait(ctx, after)) })
		}
		cancel()
		waiting.wait()
	}
	// Those who gave up take nothing from those who wait on.
	waiting := s.group()
	waiting.start(func() { s.wantWait(head) })
	s.put(newBatch(stream("a"), evsourcing.AnyVersion, 1))
	waiting.wait()
}
