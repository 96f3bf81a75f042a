package mixed

import (
	"context"
	"log/slog"
	"time"

	"github.com/evsourcing/evsourcing"
)

// A Store is what the load needs of a store: all stores of this repository have it.
type Store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.SnapshotStore
	evsourcing.CheckpointStore
}

// A Kind says what a latency is of.
type Kind int

const (
	// Update is a transaction that loads an aggregate and saves one event, conflicts
	// and further attempts included.
	Update Kind = iota
	// Append is the store's part of an Update: from when it gets the event to when that
	// is durable.
	Append
	// Load loads an aggregate.
	Load
	// React is the time from the recording of an event to the end of the reactor that
	// the bus has called.
	React
	// Project is how long the projection takes to show what is in the log, asked ten
	// times a second.
	Project
	// Late is how late the generator of an open loop was itself, which is part of the
	// latencies of Update and Load.
	Late
	// Kinds is how many there are.
	Kinds
)

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"update", "append", "load", "react", "project", "late"}[k]
}

// Options describe a load.
type Options struct {
	// Name tells the events of one service from those of another in the same store. If
	// zero, "service".
	Name string
	// Streams is how many aggregates there are. If zero, 10,000.
	Streams int
	// Skew is the exponent of the Zipf distribution by which they are chosen, above 1,
	// and Flat what makes it less steep at its head: the demand for the n-th, from 0,
	// goes by (Flat+n)^-Skew. If zero, they are 1.01 and 50, so that with 10,000 streams
	// the first one gets 0.4 % of the operations, and a hundredth of them 20 %; with a
	// Flat of 1, the first would get 10 %, and the load would measure how clients
	// compete for one aggregate.
	Skew, Flat float64
	// Loads is which part of the operations are loads; the others are updates. If zero,
	// 0.2; if negative, none.
	Loads float64
	// Payload is how many bytes each event carries beside its other fields. If zero,
	// 100.
	Payload int
	// Clients is how many operations run at the same time. If zero, 64.
	Clients int
	// Seed chooses the operations. If zero, that is a seed too.
	Seed uint64
	// Handler makes a projection, whose subscription is "mixed". If nil, there is none.
	Handler evsourcing.Handler
	// Observe gets each latency, of operations that succeed. It is called concurrently
	// and should be fast. If nil, nobody does.
	Observe func(Kind, time.Duration)
	// Context returns the context of an operation, and what ends it: to cancel some. If
	// nil, they are not cancelled.
	Context func(context.Context) (context.Context, context.CancelFunc)
	// Logger gets the warnings of the library. If nil, they are discarded.
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var r Options
	if o != nil {
		r = *o
	}
	if r.Name == "" {
		r.Name = "service"
	}
	if r.Streams <= 0 {
		r.Streams = 10_000
	}
	if r.Skew <= 1 {
		r.Skew = 1.01
	}
	if r.Flat <= 0 {
		r.Flat = 50
	}
	if r.Loads == 0 {
		r.Loads = 0.2
	}
	if r.Payload <= 0 {
		r.Payload = 100
	}
	if r.Clients <= 0 {
		r.Clients = 64
	}
	if r.Observe == nil {
		r.Observe = func(Kind, time.Duration) {}
	}
	if r.Context == nil {
		r.Context = func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	return r
}
