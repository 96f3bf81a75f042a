package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// An attempt is one of several appends that are made at once.
type attempt struct {
	store   store
	batches []evsourcing.Batch
	cancel  int // if not negative, its context ends about so soon
	result  evsourcing.AppendResult
	err     error
	changed error // set if the store changed what it was passed
	refuted error // why the answer can't be right, as far as it was tried; nil if it can
}

// stored reports whether the answer is that the append was stored by it.
func (a *attempt) stored() bool { return a.err == nil && !a.result.Repeated }

// drawAttempt draws how an append is made, and by which store.
func (m *machine) drawAttempt(t *rapid.T) *attempt {
	a := &attempt{store: m.store(t), cancel: -1}
	if chance(t, "cancelled", 5) {
		a.cancel = rapid.IntRange(0, 300).Draw(t, "after")
	}
	return a
}

// make makes the append.
func (a *attempt) make(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var canceller sync.WaitGroup
	defer canceller.Wait()
	if a.cancel >= 0 {
		canceller.Go(func() {
			for range a.cancel {
				runtime.Gosched()
			}
			cancel()
		})
	}
	a.result, a.err, a.changed = call(ctx, a.store, a.batches)
}

// withdrawn reports whether the answer is that the context ended before anything
// was stored.
func (a *attempt) withdrawn() bool { return a.cancel >= 0 && errors.Is(a.err, context.Canceled) }

// appendCancelled makes an append whose context ends meanwhile.
func (m *machine) appendCancelled(t *rapid.T) {
	a := m.drawAttempt(t)
	a.batches, a.cancel = m.drawBatches(t), rapid.IntRange(0, 300).Draw(t, "cancelled after")
	m.race(t, []*attempt{a})
}

// burst makes several appends of any sort at once.
func (m *machine) burst(t *rapid.T) {
	var list []*attempt
	for range rapid.IntRange(2, 6).Draw(t, "appends") {
		a := m.drawAttempt(t)
		sort := pick(t, "sort", []string{"good", "good", "same", "conflict", "stored"})
		switch {
		case sort == "same" && len(list) > 0:
			a.batches = pick(t, "as", list).batches
		case sort == "conflict":
			a.batches = m.drawConflict(t)
		case sort == "stored" && len(m.calls) > 0:
			a.batches = m.drawRepetition(t)
		default:
			a.batches = m.drawBatches(t)
		}
		list = append(list, a)
	}
	m.race(t, list)
}

// contend makes several appends to one stream at once, all of which expect the
// same version.
func (m *machine) contend(t *rapid.T) {
	id := pick(t, "stream", streams)
	expected := m.model.version(id)
	if chance(t, "any version", 3) {
		expected = evsourcing.AnyVersion
	}
	var list []*attempt
	for range rapid.IntRange(2, 8).Draw(t, "appends") {
		var events []evsourcing.StoredEvent
		for range upTo(t, "events", 2) {
			events = append(events, m.drawEvent(t, id))
		}
		a := m.drawAttempt(t)
		a.batches = []evsourcing.Batch{batchOf(id, expected, events...)}
		list = append(list, a)
	}
	m.race(t, list)
}

// race makes the appends at once, while somebody reads the log.
func (m *machine) race(t *rapid.T, list []*attempt) {
	head := m.model.head().Position
	reader := m.store(t)
	what := "at once:"
	for _, a := range list {
		what += "\n\t" + describe(a.batches)
	}
	m.within(t, what, func() error {
		start, done := make(chan struct{}), make(chan struct{})
		var writers sync.WaitGroup
		for _, a := range list {
			writers.Go(func() {
				<-start
				a.make(m.ctx)
			})
		}
		go func() {
			writers.Wait()
			close(done)
		}()
		close(start)
		seen, err := m.watch(reader, head, done)
		<-done
		if err != nil {
			return fmt.Errorf("reading meanwhile: %w", err)
		}
		before := len(m.model.log)
		if err := m.explain(m.ascertain(list)); err != nil {
			return err
		}
		for _, events := range seen {
			now := m.model.log[before:]
			if err := compare(events, now[:min(len(events), len(now))]); err != nil {
				return fmt.Errorf("what was read meanwhile is not how the log begins now: %w", err)
			}
		}
		return nil
	})
}

// watch reads what is beyond the head, again and again until done. After a Head,
// the events read reach at least to it.
func (m *machine) watch(s store, head uint64, done <-chan struct{}) ([][]evsourcing.StoredEvent, error) {
	var seen [][]evsourcing.StoredEvent
	for {
		mark, err := s.Head(m.ctx)
		if err != nil {
			return nil, err
		}
		events, err := collect(s.Events(m.ctx, evsourcing.Range{After: head}, evsourcing.Filter{}))
		if err != nil {
			return nil, err
		}
		if mark.Position > head && !slices.ContainsFunc(events, func(e evsourcing.StoredEvent) bool {
			return e.Position == mark.Position && e.ID == mark.EventID
		}) {
			return nil, fmt.Errorf("Events lack the event at the head, %+v", mark)
		}
		seen = append(seen, events)
		select {
		case <-done:
			return seen, nil
		default:
		}
	}
}

// ascertain repeats the appends whose outcome is uncertain, as callers do, and
// leaves out what was withdrawn.
func (m *machine) ascertain(list []*attempt) []*attempt {
	stored := map[uint64]bool{} // by position
	for _, a := range list {
		if a.stored() {
			stored[a.result.Position] = true
		}
	}
	for _, a := range list {
		if !errors.Is(a.err, evsourcing.ErrUncertain) {
			continue
		}
		var changed error
		a.result, a.err, changed = call(m.ctx, a.store, a.batches)
		a.changed = errors.Join(a.changed, changed)
		if a.err == nil && !m.model.judge(a.batches).repeated && !stored[a.result.Position] {
			a.result.Repeated = false // it was this one, now or before
			stored[a.result.Position] = true
		}
	}
	return slices.DeleteFunc(list, (*attempt).withdrawn)
}

// explain finds an order in which the appends, one after the other, get the
// answers that they got. Positions give the order of those that were stored; each
// of the others must be right before, between or after those.
func (m *machine) explain(list []*attempt) error {
	var winners, others []*attempt
	for _, a := range list {
		if a.changed != nil {
			return a.changed
		}
		for _, b := range a.batches {
			m.touched[b.Stream] = struct{}{}
		}
		if a.stored() {
			winners = append(winners, a)
		} else {
			a.refuted = fmt.Errorf("Append returned %+v and the error %v", a.result, a.err)
			others = append(others, a)
		}
	}
	slices.SortStableFunc(winners, func(a, b *attempt) int { return cmp.Compare(a.result.Position, b.result.Position) })
	judge := func() {
		for _, a := range others {
			if v := m.model.judge(a.batches); a.refuted != nil && !v.fresh() {
				a.refuted = v.refute(a.result, a.err)
			}
		}
	}
	judge()
	for i, a := range winners {
		if err := m.take(a.batches, a.result, a.err); err != nil {
			return fmt.Errorf("of %d appends that were stored, number %d, %s: %w", len(winners), i+1, describe(a.batches), err)
		}
		judge()
	}
	for _, a := range others {
		if a.refuted != nil {
			return fmt.Errorf("%d appends were stored, and %s can't be right at any moment: %w", len(winners), describe(a.batches), a.refuted)
		}
	}
	return nil
}
