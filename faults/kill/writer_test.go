package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

type appendFunc func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error)

// A writer makes appends to three streams each: two of its own, which expect a version, and
// one that all share.
type writer struct {
	who         string // no other writer has this name, also in other processes
	append      appendFunc
	n           int
	left, right uint64 // versions
}

// run appends until the context ends, and tells of each append that was acknowledged. One
// that fails is repeated, as it is; where that is not to be, it ends the run.
func (w *writer) run(ctx context.Context, repeat bool, acked func(a ack)) error {
	for ctx.Err() == nil {
		id, batches := w.next()
		for {
			r, err := w.append(ctx, batches...)
			if err == nil {
				acked(ack{id, r.Position})
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			if !repeat || errors.Is(err, evsourcing.ErrConflict) || errors.Is(err, evsourcing.ErrDuplicateEvent) {
				return fmt.Errorf("the append %s: %w", id, err)
			}
			pause(ctx, time.Millisecond)
		}
	}
	return nil
}

// An ack says that an append was acknowledged, and with which position.
type ack struct {
	id       string
	position uint64 // 0 if that was not said
}

// next returns the next append. Each event's data say which one it is of which append.
func (w *writer) next() (id string, batches []evsourcing.Batch) {
	w.n++
	id = fmt.Sprintf("%s.%d", w.who, w.n)
	sizes := [3]int{1 + rand.IntN(3), 1 + rand.IntN(3), 1}
	all, part := sizes[0]+sizes[1]+sizes[2], 0
	batch := func(stream string, expected uint64, size int) {
		b := evsourcing.Batch{Stream: evsourcing.StreamID{Type: "kill", ID: stream}, Expected: expected}
		for range size {
			part++
			e := evsourcing.StoredEvent{ID: uuid.New(), Topic: "fact", ContentType: "text/plain", Data: fmt.Appendf(nil, "%s %d %d", id, part, all)}
			if expected != evsourcing.AnyVersion {
				expected++
				e.Version = expected
			}
			b.Events = append(b.Events, e)
		}
		batches = append(batches, b)
	}
	batch("left "+w.who, w.left, sizes[0])
	batch("right "+w.who, w.right, sizes[1])
	batch("shared", evsourcing.AnyVersion, sizes[2])
	w.left += uint64(sizes[0])
	w.right += uint64(sizes[1])
	return id, batches
}

// A mode takes one of the protections away, for the controls.
type mode string

const (
	whole   mode = "whole"   // all is as it should be
	early   mode = "early"   // an append is acknowledged from a queue, before it is committed
	split   mode = "split"   // an append of several streams is made stream by stream
	outside mode = "outside" // the projection's checkpoint is saved after its transaction
)

// appending returns how a mode appends; what goes on behind it ends with the context.
func (m mode) appending(ctx context.Context, s evsourcing.EventStore) appendFunc {
	switch m {
	case early:
		queue := make(chan []evsourcing.Batch, 64)
		go func() {
			for {
				select {
				case batches := <-queue:
					_, _ = s.Append(ctx, batches...) // too late to say that it has failed
				case <-ctx.Done():
					return
				}
			}
		}()
		return func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
			select {
			case queue <- batches:
				return evsourcing.AppendResult{}, nil
			case <-ctx.Done():
				return evsourcing.AppendResult{}, ctx.Err()
			}
		}
	case split:
		return func(ctx context.Context, batches ...evsourcing.Batch) (r evsourcing.AppendResult, err error) {
			for _, b := range batches {
				if r, err = s.Append(ctx, b); err != nil {
					return r, err
				}
			}
			return r, nil
		}
	}
	return s.Append
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
