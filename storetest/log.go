package storetest

import (
	"fmt"

	"github.com/evsourcing/evsourcing"
)

func logCases() []testCase {
	log := []capability{hasLog}
	return []testCase{
		{"a filter yields all that it lets pass", ruleFilter, log, checkFilters},
		{"a filter of nothing known is no error", ruleFilter, log, checkFilterUnknown},
		{"head is the last event", ruleHead, log, checkHead},
	}
}

// checkFilter compares what Events yields with the log as it should be, of
// which events that the filter does not let pass may be left out.
func (s *suite) checkFilter(log []evsourcing.StoredEvent, r evsourcing.Range, f evsourcing.Filter) {
	s.t.Helper()
	what := fmt.Sprintf("Events in %+v through %.200q", r, f)
	got := s.events(r, f)
	if r.Limit > 0 && len(got) > r.Limit {
		s.errorf("%s yields %d events, more than the limit", what, len(got))
	}
	unlimited := r
	unlimited.Limit = 0
	next := 0
	for _, e := range selected(log, positionOf, unlimited) {
		if next < len(got) && got[next].ID == e.ID {
			if d := difference(got[next], e); d != "" {
				s.errorf("%s: event %d: %s", what, next+1, d)
			}
			next++
			continue
		}
		if next == len(got) && r.Limit > 0 && next >= r.Limit {
			break
		}
		if f.Match(e) {
			s.errorf("%s lacks position %d, which the filter lets pass (topic %.100q, type %.100q)", what, e.Position, e.Topic, e.Stream.Type)
			return
		}
	}
	if next < len(got) {
		s.errorf("%s yields position %d, out of range or out of order", what, got[next].Position)
	}
}

func checkFilters(s *suite) {
	s.fill(s.size(700, 300))
	log := s.model.log()
	middle := log[len(log)/2].Position
	for _, f := range []evsourcing.Filter{
		{},
		{Topics: []string{}, Types: []string{}},
		{Topics: []string{"storetest.topic-0"}},
		{Topics: []string{"storetest.topic-2", "storetest.topic-1"}},
		{Topics: []string{"storetest.topic-1", "storetest.topic-1", "no such topic"}},
		{Types: []string{"type-0"}},
		{Types: []string{"type-0", "type-1", "no such type"}},
		{Topics: []string{"storetest.topic-2"}, Types: []string{"type-1"}},
		{Topics: []string{"storetest.topic-2", "storetest.topic-0"}, Types: []string{"type-1", "type-0"}},
		{Topics: []string{"storetest.topic-1"}, Types: []string{"no such type"}},
	} {
		for _, r := range []evsourcing.Range{
			{}, {After: middle}, {Until: middle}, {After: middle - 1, Until: middle}, {After: middle - 60, Until: middle + 60},
			{Limit: 1}, {Limit: 10}, {After: middle, Limit: 100}, {Limit: 255}, {Limit: 1000},
		} {
			s.checkFilter(log, r, f)
			r.Backward = true
			s.checkFilter(log, r, f)
		}
		s.stopIfFailed()
	}
}

// checkFilterUnknown reads through filters that let nothing pass, when the
// store knows no name yet and when it does.
func checkFilterUnknown(s *suite) {
	for range 2 {
		log := s.model.log()
		s.checkFilter(log, evsourcing.Range{}, evsourcing.Filter{Topics: []string{"unknown"}})
		s.checkFilter(log, evsourcing.Range{Backward: true}, evsourcing.Filter{Types: []string{"unknown"}})
		s.checkFilter(log, evsourcing.Range{Limit: 3}, evsourcing.Filter{Types: []string{""}, Topics: []string{"", "unknown"}})
		s.fill(50)
	}
}

func checkHead(s *suite) {
	if mark := s.head(); mark != (evsourcing.Mark{}) {
		s.errorf("Head of an empty store is %+v, want the zero Mark", mark)
	}
	want := func(b evsourcing.Batch, position uint64) {
		mark := evsourcing.Mark{Position: position, EventID: b.Events[len(b.Events)-1].ID}
		if got := s.head(); got != mark {
			s.errorf("Head is %+v, want %+v", got, mark)
		}
	}
	a, b := newBatch(stream("b"), 0, 1), newBatch(stream("a"), 0, 3)
	want(a, s.put(a).Position)
	first := s.put(b).Position
	want(b, first)
	// The head is the last event of the last batch, and stays when nothing is
	// stored.
	c, d := newBatch(stream("z"), 0, 2), newBatch(stream("a"), 3, 2)
	last := s.put(c, d).Position
	want(d, last)
	if _, err := s.append(s.ctx, newBatch(stream("z"), 0, 1)); err == nil {
		s.errorf("an append that expects a new stream at version 2 was accepted")
	}
	want(d, last)
	s.wantRepeated("an earlier append", evsourcing.AppendResult{Position: first, Versions: []uint64{3}}, b)
	want(d, last)
}
