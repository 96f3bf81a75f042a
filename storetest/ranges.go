package storetest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/evsourcing/evsourcing"
)

func rangeCases() []testCase {
	return []testCase{
		{"ranges of short streams yield what they select", ruleRange, nil, checkShortRanges},
		{"ranges at the bounds of pages yield what they select", ruleRange, nil, checkPageRanges},
		{"ranges of the log yield what they select", ruleRange, []capability{hasLog}, checkLogRanges},
	}
}

// checkRange compares what Load yields in a range with the model.
func (s *suite) checkRange(id evsourcing.StreamID, events []evsourcing.StoredEvent, r evsourcing.Range) {
	s.t.Helper()
	s.compare(fmt.Sprintf("Load of %d events in %+v", len(events), r), s.load(id, r), selected(events, versionOf, r))
}

// checkShortRanges tries every range that makes a difference.
func checkShortRanges(s *suite) {
	for n := range 4 {
		id := stream(fmt.Sprint("of-", n))
		if n > 0 {
			s.put(newBatch(id, 0, n))
		}
		events := s.model.stream(id)
		for after := range uint64(n + 2) {
			for until := range uint64(n + 3) {
				for limit := -1; limit < n+2; limit++ {
					for _, backward := range []bool{false, true} {
						s.checkRange(id, events, evsourcing.Range{After: after, Until: until, Limit: limit, Backward: backward})
					}
				}
			}
		}
		s.stopIfFailed()
	}
}

// pageSizes are lengths around those that stores are likely to read at once,
// the likeliest first.
var pageSizes = []int{
	100, 255, 256, 257, 499, 500, 501, 1000,
	63, 64, 65, 99, 101, 127, 128, 129, 511, 512, 513, 999, 1001, 1023, 1024, 1025,
}

// bounds returns numbers that a range over n events may go wrong at.
func bounds(n int) []uint64 {
	list := []uint64{0, 0, 0, 1, 2, math.MaxInt32, math.MaxInt64, math.MaxUint64}
	for _, size := range pageSizes {
		list = append(list, uint64(size))
		if n > size {
			list = append(list, uint64(n-size))
		}
	}
	return append(list, uint64(n/2), uint64(n-1), uint64(n), uint64(n+1))
}

// randomRanges returns ranges whose parts are drawn from the bounds, each range
// in both directions.
func randomRanges(n, events int, number func(uint64) uint64) []evsourcing.Range {
	random := rand.New(rand.NewPCG(uint64(events), 42))
	edges := bounds(events)
	pick := func() uint64 { return edges[random.IntN(len(edges))] }
	var list []evsourcing.Range
	for range n {
		r := evsourcing.Range{After: number(pick()), Until: number(pick())}
		if limit := pick(); limit < math.MaxUint64 {
			r.Limit = int(limit)
		} else {
			r.Limit = math.MinInt
		}
		list = append(list, r)
		r.Backward = true
		list = append(list, r)
	}
	return list
}

func checkPageRanges(s *suite) {
	lengths := []int{100, 256, 257, 1000, 255, 512, 1025}
	for _, n := range lengths[:s.size(7, 4)] {
		id := stream(fmt.Sprint("of-", n))
		s.put(newBatch(id, 0, n/2))
		s.put(newBatch(id, uint64(n/2), n-n/2))
		events := s.model.stream(id)
		for _, size := range append([]int{n - 1, n, n + 1}, pageSizes[:s.size(len(pageSizes), 8)]...) {
			s.checkRange(id, events, evsourcing.Range{Limit: size})
			s.checkRange(id, events, evsourcing.Range{Limit: size, Backward: true})
			s.checkRange(id, events, evsourcing.Range{After: uint64(size)})
			s.checkRange(id, events, evsourcing.Range{Until: uint64(size), Backward: true})
		}
		for _, r := range randomRanges(s.size(100, 25), n, func(n uint64) uint64 { return n }) {
			s.checkRange(id, events, r)
		}
		s.stopIfFailed()
	}
}

// checkLogRanges does the same with positions, between which a store may leave
// gaps.
func checkLogRanges(s *suite) {
	s.fill(s.size(1100, 600))
	log := s.model.log()
	check := func(r evsourcing.Range) {
		s.compare(fmt.Sprintf("Events of %d in %+v", len(log), r), s.events(r, evsourcing.Filter{}), selected(log, positionOf, r))
	}
	for _, size := range pageSizes {
		check(evsourcing.Range{Limit: size})
		check(evsourcing.Range{Limit: size, Backward: true})
	}
	for _, r := range randomRanges(s.size(150, 50), len(log), func(n uint64) uint64 {
		if n == 0 || n > uint64(len(log)) {
			return n
		}
		return log[n-1].Position
	}) {
		check(r)
	}
	for i, e := range log[:20] {
		check(evsourcing.Range{After: e.Position - 1, Limit: 1})
		check(evsourcing.Range{After: e.Position, Until: log[i+5].Position})
		check(evsourcing.Range{Until: e.Position, Backward: true})
	}
}
