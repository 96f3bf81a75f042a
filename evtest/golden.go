package evtest

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// UpdateVariable names the environment variable that makes [Golden] add to its
// files, when it is set and not 0.
const UpdateVariable = "EVTEST_UPDATE"

// Golden keeps in a file every form in which events were ever stored, and fails
// the test when one of them is not read as it used to be:
//
//	func TestStoredEvents(t *testing.T) {
//		evtest.Golden(t, registry, "testdata/events.json")
//	}
//
// The file is a list of entries. Each has an event as it is stored (topic,
// content type, data, tags) and what it was read as when the entry was made (the
// topic and the event's JSON). It belongs under version control. The test fails
//
//   - when an entry can't be read any more: its topic is unknown, or its data is
//     refused;
//   - when it is read as another event. Fields that the event's JSON has besides
//     those in the file are no difference: events may gain fields;
//   - when there is something that no entry covers: a topic, a field, or a
//     content type. Run the test once with EVTEST_UPDATE=1, and it adds an entry.
//
// Updating only ever adds. What an entry has is not changed, not even if the
// test fails for it, because it stands for events that are stored already. To
// accept that an entry is now read as something else, remove its "read_as" by
// hand, and update: it is filled in. Remove a whole entry only if no store has
// such an event any more. Add metadata to one by hand if an upcaster needs it.
//
// The events that are covered are the samples, and one of each topic that the
// codec knows, if it can list them, as a Registry can. A sample is needed where
// not every value is valid; others are made up, always the same, as are samples
// that are the zero value.
func Golden(t testing.TB, codec evsourcing.Codec, file string, samples ...evsourcing.Event) {
	t.Helper()
	g := golden{t: t, codec: codec, file: file, update: updating()}
	if err := g.load(); err != nil {
		t.Fatalf("evtest: Golden: %v", err)
	}
	for i := range g.entries {
		g.check(&g.entries[i])
	}
	for i, e := range samples {
		if isNil(e) {
			t.Fatalf("evtest: Golden: sample %d is nil", i)
		}
	}
	samples = g.complete(samples)
	for _, e := range samples {
		g.cover(e)
	}
	if err := g.save(); err != nil {
		t.Fatalf("evtest: Golden: %v", err)
	}
}

func updating() bool {
	v := os.Getenv(UpdateVariable)
	return v != "" && v != "0"
}

// golden is one call of Golden.
type golden struct {
	t       testing.TB
	codec   evsourcing.Codec
	file    string
	update  bool
	entries []entry
	changed bool
}

// check reads an entry and compares it with what it was read as before.
func (g *golden) check(e *entry) {
	g.t.Helper()
	stored, err := e.stored()
	if err != nil {
		g.t.Errorf("evtest: Golden: %s: entry %d: %v", g.file, e.number, err)
		return
	}
	event, err := g.codec.Decode(g.ctx(), &stored)
	if err == nil && isNil(event) {
		err = fmt.Errorf("the codec returned no event")
	}
	if err != nil {
		g.t.Errorf("evtest: Golden: %s: entry %d, topic %q, can't be read any more, and stores have such events: %v\n  keep the event's type, or give its topic an Alias or Upcast", g.file, e.number, e.Topic, err)
		return
	}
	now, err := newReading(stored.Topic, event)
	switch {
	case err != nil:
		g.t.Errorf("evtest: Golden: %s: entry %d, topic %q: %v", g.file, e.number, e.Topic, err)
	case e.ReadAs == nil && g.update:
		if err := e.fillIn(now); err != nil {
			g.t.Errorf("evtest: Golden: %s: entry %d: %v", g.file, e.number, err)
			return
		}
		g.changed = true
		g.t.Logf("evtest: Golden: %s: entry %d, topic %q: filled in what it is read as", g.file, e.number, e.Topic)
	case e.ReadAs == nil:
		g.t.Errorf("evtest: Golden: %s: entry %d, topic %q, does not say what it is read as: run the test once with %s=1", g.file, e.number, e.Topic, UpdateVariable)
	default:
		if diff := e.ReadAs.lost(now); diff != "" {
			g.t.Errorf("evtest: Golden: %s: entry %d, topic %q, is read as another event than before (- before, + now):%s\n  if that is right, remove the entry's \"read_as\" and run the test once with %s=1", g.file, e.number, e.Topic, diff, UpdateVariable)
		}
	}
}

// complete returns the samples, and one of each topic that has none.
func (g *golden) complete(samples []evsourcing.Event) (all []evsourcing.Event) {
	g.t.Helper()
	has := map[string]bool{}
	for _, e := range samples {
		has[e.Topic()] = true
		all = append(all, g.filled(e))
	}
	lister, ok := g.codec.(interface{ Topics() []string })
	if !ok {
		return all
	}
	for _, topic := range lister.Topics() {
		if has[topic] {
			continue
		}
		e, err := g.madeUp(topic)
		if err != nil {
			g.t.Errorf("evtest: Golden: %s needs an entry for topic %q: pass a sample of it to Golden, since none can be made up: %v", g.file, topic, err)
			continue
		}
		all = append(all, e)
	}
	return all
}

// madeUp returns an event of the topic. It has no other source of one than the
// codec, which may refuse an event without content, or one with any content.
func (g *golden) madeUp(topic string) (evsourcing.Event, error) {
	empty := envelope(goldenStream, 0)
	empty.Topic, empty.ContentType, empty.Data = topic, evsourcing.JSON{}.ContentType(), []byte("{}")
	e, err := g.codec.Decode(g.ctx(), &empty)
	if err == nil && !isNil(e) {
		// An event without content need not be the zero value: its type may have
		// defaults.
		return g.fill(e), nil
	}
	for _, known := range slices.Backward(g.entries) {
		if stored, err := known.stored(); err == nil && known.Topic == topic {
			if e, err := g.codec.Decode(g.ctx(), &stored); err == nil && !isNil(e) {
				return e, nil
			}
		}
	}
	return nil, err
}

// filled returns e, or if that is the zero value, one with something in it.
func (g *golden) filled(e evsourcing.Event) evsourcing.Event {
	if !reflect.Indirect(reflect.ValueOf(e)).IsZero() {
		return e
	}
	return g.fill(e)
}

// fill returns an event of e's type with something in it, or e if the codec does
// not take that.
func (g *golden) fill(e evsourcing.Event) evsourcing.Event {
	v := reflect.New(valueType(e))
	gen := generator{full: true}
	gen.fill("", v.Elem())
	if reflect.TypeOf(e).Kind() != reflect.Pointer {
		v = v.Elem()
	}
	filled, _ := v.Interface().(evsourcing.Event)
	if _, err := newEntry(g.ctx(), g.codec, filled); err != nil {
		return e
	}
	return filled
}

// cover sees that there is an entry with everything that the event has.
func (g *golden) cover(e evsourcing.Event) {
	g.t.Helper()
	fresh, err := newEntry(g.ctx(), g.codec, e)
	if err != nil {
		g.t.Errorf("evtest: Golden: a sample of topic %q: %v", e.Topic(), err)
		return
	}
	missing, covered := fresh.missing(g.entries)
	switch {
	case covered:
	case g.update:
		fresh.number = len(g.entries) + 1
		g.entries = append(g.entries, fresh)
		g.changed = true
		g.t.Logf("evtest: Golden: %s: added an entry for topic %q", g.file, e.Topic())
	default:
		g.t.Errorf("evtest: Golden: %s has no entry for topic %q%s: run the test once with %s=1 to add one like this:\n    %s  %s",
			g.file, e.Topic(), missing, UpdateVariable, fresh.Topic, strings.TrimSpace(string(fresh.Data)+fresh.Base64))
	}
}

func (g *golden) ctx() context.Context { return g.t.Context() }
