package evtest

import (
	"context"
	"fmt"
	"reflect"

	"github.com/evsourcing/evsourcing"
)

// sequence is the events of one run of Check, as they happen to an aggregate.
type sequence[T any] struct {
	*checker[T]
	a      *T
	events []evsourcing.Event
	shown  []string   // the events, as they were
	before [][]string // descriptions of the events, as they were
	states [][]string // descriptions of the state at each version, 0 included
	lossy  bool       // a rule is broken that makes every replay differ
}

// add makes an event happen.
func (s *sequence[T]) add(ctx context.Context, e evsourcing.EventOf[*T]) {
	s.events = append(s.events, e)
	s.shown = append(s.shown, showEvent(e))
	s.before = append(s.before, describe(e, true))
	topic := s.topic(e)
	if e.Topic() == topic {
		s.codecKeeps(ctx, topic, e)
	} else {
		s.lossy = true
	}

	if value, stack := caught(func() { s.record(s.a, e) }); value != nil {
		s.fail("panic "+topic, s.shown, fmt.Sprintf("ApplyTo of %q panics, but what has happened can't fail (if the events can't follow each other so, give CheckOptions.Next): %v%s", topic, value, stack))
		panic(stop{finding{kind: "panic " + topic}}) // known; the sequence can't go on
	}
	for i, was := range s.before {
		if diff, ok := diffValues(was, describe(s.events[i], true)); !ok {
			which := "its event"
			if i < len(s.events)-1 {
				which = fmt.Sprintf("an event applied before, %q", s.events[i].Topic())
			}
			s.fail("changes "+topic, s.shown, fmt.Sprintf("ApplyTo of %q changes %s (- before, + after):%s", topic, which, diff))
			s.before[i], s.lossy = describe(s.events[i], true), true
		}
	}
	if what := shared(s.a, e); what != "" {
		s.fail("keeps "+topic, s.shown, fmt.Sprintf("ApplyTo of %q keeps memory of its event: %s", topic, what))
	}
	s.states = append(s.states, describe(s.a, s.opts.DistinguishNil))
}

// topic returns the event's topic, which must be that of the zero value.
func (s *sequence[T]) topic(e evsourcing.Event) string {
	t := valueType(e)
	zero, _ := reflect.New(t).Interface().(evsourcing.Event)
	topic := zero.Topic()
	if got := e.Topic(); got != topic {
		s.fail("topic "+topic, s.shown, fmt.Sprintf("the topic of %v varies: %q for this one, %q for the zero value", t, got, topic))
	}
	return topic
}

// codecKeeps checks that the event comes back from the codec.
func (s *sequence[T]) codecKeeps(ctx context.Context, topic string, e evsourcing.Event) {
	stored := envelope(evsourcing.StreamID{Type: "evtest", ID: "1"}, len(s.events)-1)
	back, err := roundTrip(ctx, s.codec, &stored, e)
	if err != nil {
		s.lossy = true
		s.fail("codec "+topic, s.shown, fmt.Sprintf("%q: %v", topic, err))
		return
	}
	if diff := survives(e, back, s.opts.DistinguishNil); diff != "" {
		s.lossy = true
		s.fail("codec "+topic, s.shown, fmt.Sprintf("%q does not come back from the codec as it was (- before, + after):%s", topic, diff))
	}
	if stored.Topic != topic {
		s.fail("codec "+topic, s.shown, fmt.Sprintf("%q comes back from the codec under the topic %q", topic, stored.Topic))
	}
}

// replay stores the events, and compares what they lead to then.
func (s *sequence[T]) replay(ctx context.Context) {
	id := baseOf(s.a).ID()
	if diff := s.differs(0, s.repo.New(id)); diff != "" {
		s.fail("init", nil, "a new aggregate is not always the same: Init must do the same on every call (- one, + another):"+diff)
		return
	}
	version := len(s.events)
	if version == 0 || s.lossy {
		return
	}
	if err := s.repo.Save(ctx, s.a); err != nil {
		s.fail("save", s.shown, fmt.Sprintf("the events can't be saved: %v", err))
		return
	}
	a, err := s.repo.Load(ctx, id)
	if err != nil {
		s.fail("load", s.shown, fmt.Sprintf("the events can't be loaded: %v", err))
		return
	}
	diff := s.differs(version, a)
	if diff == "" {
		return
	}
	for v := 1; v < version; v++ { // which event is it?
		if a, err := s.repo.LoadAt(ctx, id, uint64(v)); err == nil {
			if earlier := s.differs(v, a); earlier != "" {
				version, diff = v, earlier
			}
		}
	}
	topic := s.events[version-1].Topic()
	s.fail("replay "+topic, s.shown[:version], fmt.Sprintf("replaying %q leads to another state than recording it did (- recorded, + replayed):%s", topic, diff))
}

// differs returns how the state of a differs from the one recorded.
func (s *sequence[T]) differs(version int, a *T) string {
	diff, _ := diffValues(s.states[version], describe(a, s.opts.DistinguishNil))
	return diff
}
