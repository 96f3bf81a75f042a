package faults

import (
	"context"
	"errors"
	"fmt"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// call appends through s, and checks that what it passed is unchanged. Then it
// overwrites that, as a caller may.
func call(ctx context.Context, s store, batches []evsourcing.Batch) (evsourcing.AppendResult, error, error) {
	passed := cloneBatches(batches)
	result, err := s.Append(ctx, passed...)
	var changed error
	if !same(passed, batches) {
		changed = fmt.Errorf("Append changed what it was passed:\n%+v, which was\n%+v", passed, batches)
	}
	for i := range passed {
		for j := range passed[i].Events {
			spoil(&passed[i].Events[j])
		}
	}
	return result, err, changed
}

// settle makes a valid append, and compares the answer with the model's.
func (m *machine) settle(t *rapid.T, batches []evsourcing.Batch) {
	t.Helper()
	s := m.store(t)
	m.within(t, describe(batches), func() error {
		result, err, changed := call(m.ctx, s, batches)
		if changed != nil {
			return changed
		}
		return m.take(batches, result, err)
	})
}

// take compares the answer to a valid append with what it should be.
func (m *machine) take(batches []evsourcing.Batch, result evsourcing.AppendResult, err error) error {
	fresh := m.model.judge(batches).fresh()
	for _, b := range batches {
		m.touched[b.Stream] = struct{}{}
	}
	if err := m.model.settle(batches, result, err); err != nil {
		return err
	}
	if fresh {
		m.calls = append(m.calls, batches)
	}
	return nil
}

// describe says what an append is.
func describe(batches []evsourcing.Batch) string {
	text := "Append"
	for _, b := range batches {
		expected := fmt.Sprint(b.Expected)
		if b.Expected == evsourcing.AnyVersion {
			expected = "any"
		}
		text += fmt.Sprintf(" (%.40q at %s: %d events)", b.Stream, expected, len(b.Events))
	}
	return text
}

func (m *machine) append(t *rapid.T) { m.settle(t, m.drawBatches(t)) }

// appendMany appends more events than a page has.
func (m *machine) appendMany(t *rapid.T) {
	id := pick(t, "stream", streams[:2])
	n := pick(t, "events", []int{50, 64, 65, 128, 260})
	e := m.drawEvent(t, id)
	e.Data = e.Data[:min(len(e.Data), 100)]
	var list []evsourcing.StoredEvent
	for range n {
		e.ID = m.newID()
		list = append(list, clone(e))
	}
	m.settle(t, []evsourcing.Batch{batchOf(id, m.model.version(id), list...)})
}

// appendConflict expects another version than there is, of one stream or more.
func (m *machine) appendConflict(t *rapid.T) { m.settle(t, m.drawConflict(t)) }

func (m *machine) drawConflict(t *rapid.T) []evsourcing.Batch {
	batches := m.drawBatches(t)
	for range upTo(t, "conflicts", len(batches)) {
		i := rapid.IntRange(0, len(batches)-1).Draw(t, "batch")
		head := m.model.version(batches[i].Stream)
		wrong := head + uint64(upTo(t, "too high", 3))
		if head > 0 && rapid.Bool().Draw(t, "too low") {
			wrong = rapid.Uint64Range(0, head-1).Draw(t, "expected")
		}
		batches[i] = batchOf(batches[i].Stream, wrong, batches[i].Events...)
	}
	return batches
}

// appendRepetition appends what is stored: a whole append, or a run of a
// stream's events, of which only the IDs count.
func (m *machine) appendRepetition(t *rapid.T) {
	if len(m.calls) == 0 {
		t.Skip("nothing is stored")
	}
	m.settle(t, m.drawRepetition(t))
}

func (m *machine) drawRepetition(t *rapid.T) []evsourcing.Batch {
	if rapid.Bool().Draw(t, "whole") {
		batches := cloneBatches(pickAny(t, "append", m.calls))
		for i, b := range batches {
			if rapid.Bool().Draw(t, "any version") {
				batches[i] = batchOf(b.Stream, evsourcing.AnyVersion, b.Events...)
			}
		}
		return batches
	}
	var id evsourcing.StreamID
	var run []evsourcing.StoredEvent
	id, run = m.drawRun(t)
	expected := run[0].Version - 1
	if rapid.Bool().Draw(t, "any version") {
		expected = evsourcing.AnyVersion
	}
	if rapid.Bool().Draw(t, "with other data") {
		for i := range run {
			run[i].Data, run[i].Topic, run[i].Time = []byte("other"), "other", run[i].Time.AddDate(0, 0, 1)
		}
	}
	return []evsourcing.Batch{batchOf(id, expected, run...)}
}

// drawRun draws consecutive events of a stream that has some.
func (m *machine) drawRun(t *rapid.T) (evsourcing.StreamID, []evsourcing.StoredEvent) {
	id := m.model.log[rapid.IntRange(0, len(m.model.log)-1).Draw(t, "of the stream of event")].Stream
	list := m.model.streams[id]
	first := rapid.IntRange(0, len(list)-1).Draw(t, "first")
	var run []evsourcing.StoredEvent
	for _, e := range list[first:min(len(list), first+upTo(t, "length", 4))] {
		run = append(run, clone(e))
	}
	return id, run
}

// appendDuplicate appends what is stored, but not as a repetition.
func (m *machine) appendDuplicate(t *rapid.T) {
	if len(m.calls) == 0 {
		t.Skip("nothing is stored")
	}
	batches := m.drawDuplicate(t)
	if v := m.model.judge(batches); !errors.Is(v.err, evsourcing.ErrDuplicateEvent) {
		t.Skip("it would be a repetition")
	}
	m.settle(t, batches)
}

func (m *machine) drawDuplicate(t *rapid.T) []evsourcing.Batch {
	id, run := m.drawRun(t)
	expected := run[0].Version - 1
	for i := range run {
		run[i].Stream = evsourcing.StreamID{}
	}
	switch pick(t, "duplicate", []string{"moved", "elsewhere", "before new", "behind new", "beside new", "reversed", "with a hole"}) {
	case "moved":
		expected = pick(t, "expected", []uint64{0, expected + 1, m.model.version(id)})
	case "elsewhere":
		id = pick(t, "stream", streams)
		expected = pick(t, "expected", []uint64{evsourcing.AnyVersion, m.model.version(id), expected})
	case "before new":
		run = append(run, m.drawEvent(t, id))
	case "behind new":
		run = append([]evsourcing.StoredEvent{m.drawEvent(t, id)}, run...)
		expected = pick(t, "expected", []uint64{evsourcing.AnyVersion, m.model.version(id), expected})
	case "beside new":
		other := pick(t, "stream", streams)
		if other == id {
			t.Skip("the stream is the same")
		}
		return []evsourcing.Batch{m.drawBatch(t, other, upTo(t, "events", 2)), batchOf(id, expected, run...)}
	case "reversed":
		run[0], run[len(run)-1] = run[len(run)-1], run[0]
		expected = pick(t, "expected", []uint64{evsourcing.AnyVersion, expected})
	case "with a hole":
		run = append(run[:len(run)/2], run[(len(run)+1)/2:]...)
		expected = pick(t, "expected", []uint64{evsourcing.AnyVersion, expected})
	}
	if len(run) == 0 {
		t.Skip("nothing is left")
	}
	for i := range run {
		if run[i].Stream != (evsourcing.StreamID{}) {
			run[i].Stream = id
		}
	}
	return []evsourcing.Batch{batchOf(id, expected, run...)}
}

// appendDead appends under a context that has ended.
func (m *machine) appendDead(t *rapid.T) {
	s, ctx, batches := m.store(t), m.deadContext(t), m.drawBatches(t)
	for _, b := range batches {
		m.touched[b.Stream] = struct{}{}
	}
	m.within(t, describe(batches), func() error {
		if result, err := s.Append(ctx, cloneBatches(batches)...); !errors.Is(err, ctx.Err()) || errors.Is(err, evsourcing.ErrUncertain) {
			return fmt.Errorf("under a context that had ended, it returned %+v and the error %v, want %v", result, err, ctx.Err())
		}
		return nil
	})
}
