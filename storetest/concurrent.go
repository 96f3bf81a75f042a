package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func concurrentCases() []testCase {
	return []testCase{{"everything is used at once", ruleConcurrent, nil, checkEverything}}
}

// checkEverything calls all methods from many goroutines, on the same few
// streams and names. What each call has to return is the business of other
// cases; this one looks for crashes, deadlocks and, under the race detector,
// data races.
func checkEverything(s *suite) {
	ids := []evsourcing.StreamID{stream("a"), stream("b"), stream("c")}
	for _, id := range ids {
		s.put(newBatch(id, 0, 20))
	}
	s.together(8, func(worker int) {
		for i := range s.size(60, 25) {
			id := ids[(i+worker)%len(ids)]
			s.useStreams(id, i)
			if hasLog.of(s.store) {
				s.useLog(id)
			}
			if hasSnapshots.of(s.store) {
				s.saveSnapshot(newSnapshot(id, uint64(i)))
				if snapshot, ok := s.loadSnapshot(id); !ok || snapshot.Stream != id {
					s.fatalf("LoadSnapshot of %v, for which one was saved, returned %v, %t", id, snapshot.Stream, ok)
				}
			}
			name := fmt.Sprint("name-", i%3)
			if hasCheckpoints.of(s.store) {
				c := evsourcing.Checkpoint{Position: uint64(i + 1), EventID: uuid.New()}
				if err := s.saveCheckpoint(name, c); err != nil && !errors.Is(err, evsourcing.ErrFenced) {
					s.fatalf("SaveCheckpoint failed: %v", err)
				}
				s.checkpoint(name)
			}
			if hasClaimer.of(s.store) {
				_, err := s.claim(name, fmt.Sprint("owner-", worker), time.Duration(i%2)*time.Minute)
				if err != nil && !errors.Is(err, evsourcing.ErrFenced) {
					s.fatalf("Claim failed: %v", err)
				}
			}
		}
	})
	s.verify()
}

// useStreams appends to a stream and reads it back.
func (s *suite) useStreams(id evsourcing.StreamID, i int) {
	batch := newBatch(id, evsourcing.AnyVersion, 1+i%3)
	result := s.put(batch)
	if i%5 == 0 {
		s.wantRepeated("a repetition", result, batch)
	}
	if _, err := s.append(s.ctx, newBatch(id, 1, 1)); !errors.Is(err, evsourcing.ErrConflict) {
		s.fatalf("Append that expects an old version returned %v, want ErrConflict", err)
	}
	last := result.Versions[0]
	list := s.load(id, evsourcing.Range{After: last - 2, Until: last})
	if len(list) != 2 || list[1].ID != batch.Events[len(batch.Events)-1].ID {
		s.fatalf("Load of the last 2 events up to version %d, just appended, yields %d others", last, len(list))
	}
	if hasFinder.of(s.store) {
		s.wantFound(id, list[0].ID, list[0].Version)
	}
}

// useLog reads the end of the log, and its beginning through a filter.
func (s *suite) useLog(id evsourcing.StreamID) {
	head := s.head()
	list := s.events(evsourcing.Range{Until: head.Position, Limit: 10, Backward: true}, evsourcing.Filter{})
	if len(list) != 10 || list[0].ID != head.EventID {
		s.fatalf("Events backward from position %d, the head, yields %d events and not the head's first", head.Position, len(list))
	}
	s.events(evsourcing.Range{Limit: 30}, evsourcing.Filter{Types: []string{id.Type}, Topics: []string{testTopic, "none"}})
	if hasWaiter.of(s.store) {
		if err := s.wait(s.ctx, head.Position-1); err != nil {
			s.fatalf("Wait for position %d, the head, failed: %v", head.Position, err)
		}
	}
}
