package engine

import (
	"context"
	"math"

	"github.com/evsourcing/evsourcing"
)

// A Walk goes through a range of versions or positions page by page.
type Walk struct {
	After, Until int64 // what remains: beyond After, up to and including Until
	Left         int   // at most so many, if it is not negative
	Backward     bool
}

// NewWalk returns a walk through r.
func NewWalk(r evsourcing.Range) Walk {
	w := Walk{After: clamp(r.After), Until: math.MaxInt64, Left: -1, Backward: r.Backward}
	if r.Until != 0 {
		w.Until = clamp(r.Until)
	}
	if r.Limit > 0 {
		w.Left = r.Limit
	}
	return w
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// Done reports whether nothing remains.
func (w *Walk) Done() bool { return w.After >= w.Until || w.Left == 0 }

// Page returns how many of at most n the next page may have.
func (w *Walk) Page(n int) int {
	if w.Left >= 0 {
		return min(n, w.Left)
	}
	return n
}

// Advance takes off a page of n, the last of which is at the given place.
func (w *Walk) Advance(n int, last uint64) {
	if w.Left >= 0 {
		w.Left -= n
	}
	if w.Backward {
		w.Until = int64(last) - 1
	} else {
		w.After = int64(last)
	}
}

// End ends the walk.
func (w *Walk) End() { w.Left = 0 }

// Pages yields the events of the pages that next reads, until it returns one
// that is the last, or an error, or ctx ends. Nothing of the store is held while
// yield runs.
func Pages(ctx context.Context, yield func(evsourcing.StoredEvent, error) bool, next func() (page []evsourcing.StoredEvent, last bool, err error)) {
	for {
		if err := ctx.Err(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		page, last, err := next()
		for i := range page {
			if i > 0 {
				if err := ctx.Err(); err != nil {
					yield(evsourcing.StoredEvent{}, err)
					return
				}
			}
			if !yield(page[i], nil) {
				return
			}
		}
		switch {
		case err != nil:
			yield(evsourcing.StoredEvent{}, err)
			return
		case last:
			return
		}
	}
}
