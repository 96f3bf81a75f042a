package faults

import (
	"context"
	"errors"
	"fmt"
	"math"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// wait waits for what is there already, or gives up on what is not.
func (m *machine) wait(t *rapid.T) {
	s, head := m.store(t), m.model.head().Position
	if head > 0 && rapid.Bool().Draw(t, "there already") {
		after := head - 1
		if rapid.Bool().Draw(t, "for long") {
			after = drawNumber(t, "after", m.model.log, positionOf) % head
		}
		m.within(t, fmt.Sprintf("Wait beyond %d, the head being %d", after, head), func() error { return s.Wait(m.ctx, after) })
		return
	}
	after := pick(t, "after", []uint64{head, head + 1, head + 1000, math.MaxInt64, math.MaxUint64})
	m.within(t, fmt.Sprintf("Wait beyond %d, the head being %d", after, head), func() error {
		ctx, cancel := context.WithCancel(m.ctx)
		done := make(chan error)
		go func() { done <- s.Wait(ctx, after) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return fmt.Errorf("it returned the error %v after its context was cancelled", err)
		}
		return nil
	})
}

// waitForAppend appends while others wait for it.
func (m *machine) waitForAppend(t *rapid.T) {
	s, head, batches := m.store(t), m.model.head().Position, m.drawBatches(t)
	waiters := []store{m.store(t), m.store(t), m.store(t)}
	m.within(t, fmt.Sprintf("Wait beyond %d, and %s", head, describe(batches)), func() error {
		done := make(chan error, len(waiters))
		for _, w := range waiters {
			go func() {
				err := w.Wait(m.ctx, head)
				if err == nil {
					var mark evsourcing.Mark
					if mark, err = w.Head(m.ctx); err == nil && mark.Position <= head {
						err = fmt.Errorf("it returned while the head was at %d", mark.Position)
					}
				}
				done <- err
			}()
		}
		result, err, changed := call(m.ctx, s, batches)
		if err := errors.Join(changed, m.take(batches, result, err)); err != nil {
			return err
		}
		for range waiters {
			if err := <-done; err != nil {
				return err
			}
		}
		return nil
	})
}
