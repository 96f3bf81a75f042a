package storetest

import (
	"errors"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func raceCases() []testCase {
	return []testCase{
		{"one of many racers wins each round", ruleOneWinner, nil, checkOneWinner},
		{"one of many racers creates a stream", ruleOneWinner, nil, checkOneCreator},
		{"one of the racers for overlapping streams wins", ruleOneWinner, nil, checkOverlapping},
		{"racers for distinct streams all win", ruleAllWin, nil, checkDistinctStreams},
		{"racers that expect any version all win", ruleAllWin, nil, checkAnyVersionRace},
		{"racers for streams in opposite orders all win", ruleAllWin, nil, checkOppositeOrders},
	}
}

const racers = 16

// An attempt is what came of one racer's append.
type attempt struct {
	batches []evsourcing.Batch
	result  evsourcing.AppendResult
	err     error
}

// race lets n racers append at once what next returns for each.
func (s *suite) race(n int, next func(i int) []evsourcing.Batch) []attempt {
	list := make([]attempt, n)
	for i := range list {
		list[i].batches = next(i)
	}
	s.together(n, func(i int) {
		a := &list[i]
		a.result, a.err = s.append(s.ctx, a.batches...)
	})
	return list
}

// wantOneWinner checks a round of attempts of which exactly one could succeed,
// and returns its index. Until the round all streams were at the version.
func (s *suite) wantOneWinner(what string, attempts []attempt, version uint64) int {
	s.t.Helper()
	winner, winners := -1, 0
	for i, a := range attempts {
		if a.err == nil {
			winner = i
			winners++
		}
	}
	if winners != 1 {
		for _, a := range attempts {
			if a.err != nil && !errors.Is(a.err, evsourcing.ErrConflict) {
				s.errorf("%s: an append failed: %v", what, a.err)
			}
		}
		s.fatalf("%s: %d of %d appends that expect version %d were accepted, want 1", what, winners, len(attempts), version)
	}
	won := attempts[winner]
	if won.result.Repeated {
		s.errorf("%s: the append that won says Repeated", what)
	}
	s.record(won.result, won.batches...)
	for _, a := range attempts {
		if a.err == nil {
			continue
		}
		var conflict *evsourcing.ConflictError
		if !errors.Is(a.err, evsourcing.ErrConflict) || !errors.As(a.err, &conflict) {
			s.errorf("%s: an append that lost got the error %v, want a *ConflictError that is ErrConflict", what, a.err)
			continue
		}
		// The conflict must be on a stream that the loser and the winner share.
		want := evsourcing.ConflictError{Expected: version}
		for _, lost := range a.batches {
			for j, b := range won.batches {
				if lost.Stream == b.Stream && conflict.Stream == b.Stream {
					want.Stream, want.Actual = b.Stream, won.result.Versions[j]
				}
			}
		}
		if *conflict != want {
			s.errorf("%s: an append that lost got %+v, want %+v", what, *conflict, want)
		}
	}
	s.stopIfFailed()
	return winner
}

func checkOneWinner(s *suite) {
	id := stream("contended")
	version := uint64(0)
	for round := range s.size(60, 20) {
		attempts := s.race(racers, func(i int) []evsourcing.Batch {
			return []evsourcing.Batch{newBatch(id, version, 1+i%3)}
		})
		winner := s.wantOneWinner(fmt.Sprintf("round %d", round), attempts, version)
		version = attempts[winner].result.Versions[0]
	}
	s.verify()
}

func checkOneCreator(s *suite) {
	for round := range s.size(60, 20) {
		id := stream(fmt.Sprint("new-", round))
		attempts := s.race(racers, func(int) []evsourcing.Batch {
			return []evsourcing.Batch{newBatch(id, 0, 2)}
		})
		s.wantOneWinner(fmt.Sprintf("round %d", round), attempts, 0)
	}
	s.verify()
}

// checkOverlapping races appends to two streams each, of which any two share
// one, in every order: a store that locks streams must not deadlock.
func checkOverlapping(s *suite) {
	for round := range s.size(40, 15) {
		names := []string{"a", "b", "c"}
		attempts := s.race(racers, func(i int) []evsourcing.Batch {
			first, second := i%3, (i+1)%3
			if i%2 == 1 {
				first, second = second, first
			}
			return []evsourcing.Batch{
				newBatch(stream(fmt.Sprint(names[first], round)), 0, 1),
				newBatch(stream(fmt.Sprint(names[second], round)), 0, 2),
			}
		})
		s.wantOneWinner(fmt.Sprintf("round %d", round), attempts, 0)
		for _, name := range names {
			s.verifyStream(stream(fmt.Sprint(name, round)))
		}
	}
	s.verify()
}

// wantAllWin checks a round of attempts of which none could fail.
func (s *suite) wantAllWin(attempts []attempt) {
	s.t.Helper()
	for _, a := range attempts {
		if a.err != nil {
			s.errorf("Append to %v failed, though no other expected the same version: %v", a.batches[0].Stream, a.err)
			continue
		}
		s.record(a.result, a.batches...)
	}
	s.stopIfFailed()
}

func checkDistinctStreams(s *suite) {
	for round := range s.size(40, 15) {
		s.wantAllWin(s.race(racers, func(i int) []evsourcing.Batch {
			return []evsourcing.Batch{newBatch(stream(fmt.Sprint("own-", i)), uint64(2*round), 2)}
		}))
	}
	s.verify()
}

func checkAnyVersionRace(s *suite) {
	for range s.size(40, 15) {
		s.wantAllWin(s.race(racers, func(i int) []evsourcing.Batch {
			return []evsourcing.Batch{newBatch(stream("shared"), evsourcing.AnyVersion, 1+i%3)}
		}))
	}
	s.verify()
}

func checkOppositeOrders(s *suite) {
	for round := range s.size(40, 15) {
		s.wantAllWin(s.race(racers, func(i int) []evsourcing.Batch {
			list := []evsourcing.Batch{
				newBatch(stream("x"), evsourcing.AnyVersion, 1),
				newBatch(stream("y"), evsourcing.AnyVersion, 2),
				newBatch(stream(fmt.Sprintf("own-%d-%d", round, i)), 0, 1),
			}
			if i%2 == 1 {
				list[0], list[2] = list[2], list[0]
			}
			return list
		}))
	}
	s.verify()
}
