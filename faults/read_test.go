package faults

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// A reading is one way to read events, and what it should yield.
type reading struct {
	what   string
	seq    func(ctx context.Context) iter.Seq2[evsourcing.StoredEvent, error]
	want   func() []evsourcing.StoredEvent // by the model, at the time of the call
	stream evsourcing.StreamID             // one that is read
	r      evsourcing.Range
}

// drawLoad draws a reading of a stream.
func (m *machine) drawLoad(t *rapid.T) reading {
	s, id := m.store(t), pick(t, "stream", streams)
	r := drawRange(t, m.model.streams[id], versionOf)
	return reading{
		what:   fmt.Sprintf("Load of %.40q in %+v", id, r),
		seq:    func(ctx context.Context) iter.Seq2[evsourcing.StoredEvent, error] { return s.Load(ctx, id, r) },
		want:   func() []evsourcing.StoredEvent { return selected(m.model.streams[id], versionOf, r) },
		stream: id,
		r:      r,
	}
}

// drawReading draws a reading of a stream or of the log.
func (m *machine) drawReading(t *rapid.T) reading {
	if rapid.Bool().Draw(t, "of a stream") {
		return m.drawLoad(t)
	}
	s := m.store(t)
	r := drawRange(t, m.model.log, positionOf)
	return reading{
		what: fmt.Sprintf("Events in %+v", r),
		seq: func(ctx context.Context) iter.Seq2[evsourcing.StoredEvent, error] {
			return s.Events(ctx, r, evsourcing.Filter{})
		},
		want:   func() []evsourcing.StoredEvent { return selected(m.model.log, positionOf, r) },
		stream: pick(t, "stream", streams),
		r:      r,
	}
}

// load reads parts of streams.
func (m *machine) load(t *rapid.T) {
	for range upTo(t, "readings", 4) {
		r := m.drawLoad(t)
		m.within(t, r.what, func() error {
			list, err := collect(r.seq(m.ctx))
			if err != nil {
				return err
			}
			return compare(list, r.want())
		})
	}
}

// readTwice ranges over one iterator twice, the first time perhaps not to its
// end.
func (m *machine) readTwice(t *rapid.T) {
	r := m.drawReading(t)
	first := upTo(t, "events at first", 100)
	m.within(t, r.what+", twice", func() error {
		seq := r.seq(m.ctx)
		n := 0
		for _, err := range seq {
			if err != nil {
				return err
			}
			if n++; n == first {
				break
			}
		}
		if want := min(first, len(r.want())); n != want {
			return fmt.Errorf("got %d events at first, want %d", n, want)
		}
		list, err := collect(seq)
		if err != nil {
			return err
		}
		return compare(list, r.want())
	})
}

// readEvents reads parts of the log.
func (m *machine) readEvents(t *rapid.T) {
	for range upTo(t, "readings", 4) {
		m.readFiltered(t, m.store(t), drawRange(t, m.model.log, positionOf), drawFilter(t))
	}
}

// readFiltered reads a part of the log through a filter, which may let pass more
// than it should.
func (m *machine) readFiltered(t *rapid.T, s store, r evsourcing.Range, f evsourcing.Filter) {
	m.within(t, fmt.Sprintf("Events in %+v through %q", r, f), func() error {
		got, err := collect(s.Events(m.ctx, r, f))
		if err != nil {
			return err
		}
		if r.Limit > 0 && len(got) > r.Limit {
			return fmt.Errorf("got %d events, more than the limit", len(got))
		}
		unlimited := r
		unlimited.Limit = 0
		next := 0
		for _, e := range selected(m.model.log, positionOf, unlimited) {
			switch {
			case next < len(got) && got[next].ID == e.ID:
				if d := difference(got[next], e); d != "" {
					return fmt.Errorf("event %d: %s", next+1, d)
				}
				next++
			case next == len(got) && r.Limit > 0 && next == r.Limit:
				return nil
			case f.Match(e):
				return fmt.Errorf("position %d is missing, which the filter lets pass (topic %q, type %q)", e.Position, e.Topic, e.Stream.Type)
			}
		}
		if next < len(got) {
			return fmt.Errorf("event %d, at position %d, is out of range or out of order", next+1, got[next].Position)
		}
		return nil
	})
}

// readAndAppend appends from a loop body, which no iterator may hinder. The
// iterator may go on to what is new, if it reads upwards.
func (m *machine) readAndAppend(t *rapid.T) {
	r := m.drawReading(t)
	before := r.want()
	if len(before) == 0 {
		t.Skip("there is nothing to read")
	}
	s := m.store(t)
	at := rapid.IntRange(1, min(len(before), 300)).Draw(t, "at event")
	batches := []evsourcing.Batch{m.drawBatch(t, r.stream, upTo(t, "events", 3))}
	leave := chance(t, "leave the loop", 4)
	m.within(t, fmt.Sprintf("%s, and at event %d %s", r.what, at, describe(batches)), func() error {
		var got []evsourcing.StoredEvent
		for e, err := range r.seq(m.ctx) {
			if err != nil {
				return err
			}
			if got = append(got, clone(e)); len(got) != at {
				continue
			}
			result, err, changed := call(m.ctx, s, batches)
			if err := errors.Join(changed, m.take(batches, result, err)); err != nil {
				return err
			}
			if leave {
				break
			}
		}
		after := r.want()
		switch {
		case leave:
			return compare(got, before[:at])
		case r.r.Backward:
			return compare(got, before)
		case len(got) < len(before):
			return compare(got, before)
		}
		return compare(got, after[:min(len(got), len(after))])
	})
}

// readAndCancel cancels a context in the loop body, or before it.
func (m *machine) readAndCancel(t *rapid.T) {
	r := m.drawReading(t)
	at := 0
	if want := r.want(); len(want) > 0 {
		at = rapid.IntRange(0, len(want)).Draw(t, "at event")
	}
	m.within(t, fmt.Sprintf("%s, cancelled at event %d", r.what, at), func() error {
		ctx, cancel := context.WithCancel(m.ctx)
		defer cancel()
		seq := r.seq(ctx)
		if at == 0 {
			cancel()
		}
		n := 0
		list, err := collect(func(yield func(evsourcing.StoredEvent, error) bool) {
			for e, err := range seq {
				if n++; n == at {
					cancel()
				}
				if !yield(e, err) {
					return
				}
			}
		})
		want := r.want()
		switch {
		case err != nil && !errors.Is(err, context.Canceled):
			return err
		case err == nil && at == 0:
			return errors.New("it ended without an error")
		case err != nil && len(list) < at, at == 0 && len(list) > 0:
			return fmt.Errorf("got %d events before the error", len(list))
		case err == nil: // what is left was on the page that was read
			return compare(list, want)
		}
		return compare(list, want[:min(len(list), len(want))])
	})
}

// find looks an event up, in its own stream or in another.
func (m *machine) find(t *rapid.T) {
	s, id := m.store(t), pick(t, "stream", streams)
	event := uuid.UUID{0: 0xff, 15: byte(upTo(t, "unknown", 2))}
	if len(m.model.log) > 0 && !chance(t, "not stored", 4) {
		e := m.model.log[rapid.IntRange(0, len(m.model.log)-1).Draw(t, "event")]
		event = e.ID
		if rapid.Bool().Draw(t, "its own stream") {
			id = e.Stream
		}
	}
	m.within(t, fmt.Sprintf("Find of %v in %.40q", event, id), func() error {
		version, ok, err := s.Find(m.ctx, id, event)
		if err != nil {
			return err
		}
		p, stored := m.model.places[event]
		if want := stored && p.stream == id; ok != want || (want && version != p.version) {
			return fmt.Errorf("it returned %d, %t, and the event is at version %d of %.40q", version, ok, p.version, p.stream)
		}
		return nil
	})
}
