package store

import (
	"context"
	"time"

	"github.com/evsourcing/evsourcing"
)

// Timed is a store around another one, that reports how long appends take.
type Timed struct {
	evsourcing.EventStore
	Report func(took time.Duration, err error)
}

// Unwrap lets [evsourcing.Capability] find what the other store can do besides.
func (t *Timed) Unwrap() evsourcing.EventStore { return t.EventStore }

// Append implements [evsourcing.EventStore].
func (t *Timed) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	start := time.Now()
	result, err := t.EventStore.Append(ctx, batches...)
	t.Report(time.Since(start), err)
	return result, err
}
