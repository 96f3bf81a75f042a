package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/evsourcing/evsourcing"
)

func followCases() []testCase {
	log := []capability{hasLog}
	return []testCase{
		{"readers who follow the log while writers race miss nothing", ruleStable, log, checkFollow},
		{"readers who trust the head while writers race miss nothing", ruleStable, log, checkFollowHead},
		{"readers who trust a position seen elsewhere miss nothing", ruleStable, log, checkFollowSeen},
		{"readers who look back while writers race see what stays", ruleStable, log, checkLookBack},
		{"readers who follow a stream while writers race see every version", ruleSameOrder, nil, checkFollowStream},
	}
}

// writeAndRead lets writers race, and the readers read until the writers have
// ended and once more after that. Each reader is called again and again.
func (s *suite) writeAndRead(readers ...func()) {
	over := make(chan struct{})
	writers, reading := s.group(), s.group()
	for i := range 6 {
		writers.start(func() { s.write(i) })
	}
	for _, read := range readers {
		reading.start(func() {
			for last := false; !last; {
				last = isClosed(over)
				read()
				runtime.Gosched()
			}
		})
	}
	writers.wait()
	close(over)
	reading.wait()
	s.stopIfFailed()
}

// write is one racing writer: to a stream of its own, to one shared with all
// others, to both, and in conflict with the others, so that positions that a
// store has drawn already are given up.
func (s *suite) write(writer int) {
	own, shared, contended := stream(fmt.Sprint("own-", writer)), stream("shared"), stream("contended")
	version, seen := uint64(0), uint64(0)
	for i := range s.size(80, 40) {
		switch i % 4 {
		case 0:
			s.put(newBatch(own, version, 2))
			version += 2
		case 1:
			s.put(newBatch(shared, evsourcing.AnyVersion, 1+writer%3))
		case 2:
			s.put(newBatch(shared, evsourcing.AnyVersion, 1), newBatch(own, version, 1))
			version++
		case 3:
			batch := newBatch(contended, seen, 1)
			result, err := s.append(s.ctx, batch)
			var conflict *evsourcing.ConflictError
			switch {
			case err == nil:
				s.record(result, batch)
				seen++
			case errors.As(err, &conflict):
				seen = conflict.Actual
			default:
				s.fatalf("Append to %v failed: %v", contended, err)
			}
		}
	}
}

// A follower reads a log from where it has come to.
type follower struct {
	s    *suite
	name string
	seen []evsourcing.StoredEvent
}

func (f *follower) last() uint64 {
	if len(f.seen) == 0 {
		return 0
	}
	return f.seen[len(f.seen)-1].Position
}

// take adds what was read after f.last.
func (f *follower) take(list []evsourcing.StoredEvent) {
	for _, e := range list {
		if e.Position <= f.last() {
			f.s.fatalf("%s: got position %d after position %d", f.name, e.Position, f.last())
		}
		f.seen = append(f.seen, e)
	}
}

// check compares what a follower has seen with the log as it is in the end.
func (f *follower) check(log []evsourcing.StoredEvent) {
	f.s.t.Helper()
	f.s.compareSeen(f.name, f.seen, log)
}

// compareSeen says what was missed or has changed since it was seen.
func (s *suite) compareSeen(name string, seen, log []evsourcing.StoredEvent) {
	s.t.Helper()
	for i, e := range log {
		if i == len(seen) {
			s.errorf("%s: never saw position %d nor what follows, %d events", name, e.Position, len(log)-i)
			return
		}
		if seen[i].Position > e.Position {
			s.errorf("%s: missed the event at position %d: it was not there when the reader saw position %d", name, e.Position, seen[i].Position)
			return
		}
		if d := difference(seen[i], e); d != "" {
			s.errorf("%s: saw at position %d another event than stands there in the end: %s", name, seen[i].Position, d)
			return
		}
	}
	if len(seen) > len(log) {
		s.errorf("%s: saw position %d, which is not in the log in the end", name, seen[len(log)].Position)
	}
}

// checkFollow follows the log as subscriptions do: from the last position seen,
// without a limit, in pages, with a filter, and woken by Wait.
func checkFollow(s *suite) {
	all := evsourcing.Filter{}
	whole := &follower{s: s, name: "a reader without a limit"}
	paged := &follower{s: s, name: "a reader of pages of 7"}
	topics := &follower{s: s, name: "a reader with a filter"}
	readers := []func(){
		func() { whole.take(s.events(evsourcing.Range{After: whole.last()}, all)) },
		func() {
			for {
				list := s.events(evsourcing.Range{After: paged.last(), Limit: 7}, all)
				paged.take(list)
				if len(list) < 7 {
					return
				}
			}
		},
		func() {
			topics.take(s.events(evsourcing.Range{After: topics.last()}, evsourcing.Filter{Topics: []string{testTopic}}))
		},
	}
	followers := []*follower{whole, paged, topics}
	if hasWaiter.of(s.store) {
		woken := &follower{s: s, name: "a reader that Wait wakes"}
		followers = append(followers, woken)
		readers = append(readers, func() {
			// Whether Wait returns or its time is up, the next read tells.
			ctx, cancel := context.WithTimeout(s.ctx, s.patience/100)
			defer cancel()
			err := s.wait(ctx, woken.last())
			list := s.events(evsourcing.Range{After: woken.last()}, all)
			if err == nil && len(list) == 0 {
				s.fatalf("%s: nothing beyond position %d after Wait returned", woken.name, woken.last())
			}
			woken.take(list)
		})
	}
	s.writeAndRead(readers...)
	s.verify()
	log := s.model.log()
	for _, f := range followers {
		f.check(log)
	}
}

// checkFollowHead reads up to the head, which is what a reader does that saves
// the head as its checkpoint.
func checkFollowHead(s *suite) {
	f := &follower{s: s, name: "a reader up to the head"}
	s.writeAndRead(func() {
		head := s.head()
		if head.Position < f.last() {
			s.fatalf("%s: Head went back from position %d to %d", f.name, f.last(), head.Position)
		}
		f.readTo(head.Position)
		if len(f.seen) == 0 {
			return
		}
		if e := f.seen[len(f.seen)-1]; e.ID != head.EventID {
			s.fatalf("%s: Head said event %v, but event %v is at position %d", f.name, head.EventID, e.ID, e.Position)
		}
	})
	s.verify()
	f.check(s.model.log())
}

// readTo reads up to a position that is known to be in the log.
func (f *follower) readTo(position uint64) {
	if position <= f.last() {
		return
	}
	f.take(f.s.events(evsourcing.Range{After: f.last(), Until: position}, evsourcing.Filter{}))
	if f.last() != position {
		f.s.fatalf("%s: position %d was seen, but reading up to it ended at %d", f.name, position, f.last())
	}
}

// checkFollowSeen reads up to positions that others than the log have shown:
// Load, and the result of an append.
func checkFollowSeen(s *suite) {
	loaded := &follower{s: s, name: "a reader up to what Load shows"}
	appended := &follower{s: s, name: "a reader up to what it has appended"}
	version := uint64(0)
	s.writeAndRead(
		func() {
			if list := s.load(stream("shared"), evsourcing.Range{Limit: 1, Backward: true}); len(list) == 1 {
				loaded.readTo(list[0].Position)
			}
		},
		func() {
			if version < 100 {
				appended.readTo(s.put(newBatch(stream("marks"), version, 1)).Position)
				version++
			}
		},
	)
	s.verify()
	log := s.model.log()
	for _, f := range []*follower{loaded, appended} {
		f.check(log[:min(len(log), len(f.seen))])
	}
}

// checkLookBack reads the end of the log backward: nothing may later appear
// between or below what was seen.
func checkLookBack(s *suite) {
	var tails [][]evsourcing.StoredEvent
	s.writeAndRead(func() {
		tail := s.events(evsourcing.Range{Backward: true, Limit: 9}, evsourcing.Filter{})
		slices.Reverse(tail)
		tails = append(tails, tail)
	})
	s.verify()
	log := s.model.log()
	for _, tail := range tails {
		if len(tail) == 0 {
			continue
		}
		first, last := tail[0].Position, tail[len(tail)-1].Position
		between := selected(log, positionOf, evsourcing.Range{After: first - 1, Until: last})
		s.compareSeen("a reader of the last nine events", tail, between)
	}
}

// checkFollowStream follows single streams by version.
func checkFollowStream(s *suite) {
	var readers []func()
	for _, name := range []string{"shared", "contended", "own-0"} {
		last := uint64(0)
		readers = append(readers, func() {
			for _, e := range s.load(stream(name), evsourcing.Range{After: last}) {
				if e.Version != last+1 {
					s.fatalf("a reader of %v got version %d after version %d", stream(name), e.Version, last)
				}
				last = e.Version
			}
		})
	}
	s.writeAndRead(readers...)
	s.verify()
}
