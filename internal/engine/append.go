package engine

import (
	"time"

	"github.com/evsourcing/evsourcing"
)

// An Append is a call of EventStore.Append on its way through a [Committer]. It
// owns what it holds, so that a caller whose context has ended may leave.
type Append struct {
	// Batches are a copy of what was passed. Their events have times cut to the
	// microsecond in UTC, and neither tags nor metadata.
	Batches []evsourcing.Batch
	// Headers has the tags and metadata of all events, in their order.
	Headers []Header
	// Size is about how many bytes the events have.
	Size int

	// Result and Err are the outcome, which who writes the append sets.
	Result evsourcing.AppendResult
	Err    error

	state      state // guarded by the Committer's mutex
	prev, next *Append
	done       chan struct{}

	batch  [1]evsourcing.Batch // for most appends, these will do
	event  [1]evsourcing.StoredEvent
	header [1]Header
}

// A Header is an event's tags and metadata as JSON texts, empty if there are
// none.
type Header struct{ Tags, Metadata string }

// eventOverhead is about what an event takes beside its texts and data.
const eventOverhead = 64

// NewAppend copies valid batches.
func NewAppend(batches []evsourcing.Batch) *Append {
	a := &Append{done: make(chan struct{}, 1)}
	count, data := 0, 0
	for i := range batches {
		count += len(batches[i].Events)
		for j := range batches[i].Events {
			data += len(batches[i].Events[j].Data)
		}
	}
	events := a.event[:0]
	a.Batches, a.Headers = a.batch[:0], a.header[:0]
	if count > 1 {
		events = make([]evsourcing.StoredEvent, 0, count)
		a.Batches, a.Headers = make([]evsourcing.Batch, 0, len(batches)), make([]Header, 0, count)
	}
	slab := make([]byte, 0, data)
	a.Size = data
	for i := range batches {
		b := &batches[i]
		first := len(events)
		for j := range b.Events {
			e := b.Events[j]
			h := Header{Tags: FormatTags(e.Tags), Metadata: FormatMetadata(e.Metadata)}
			start := len(slab)
			slab = append(slab, e.Data...)
			e.Data = slab[start:len(slab):len(slab)]
			e.Stream, e.Tags, e.Metadata = b.Stream, nil, nil
			e.Time = e.Time.UTC().Truncate(time.Microsecond)
			events = append(events, e)
			a.Headers = append(a.Headers, h)
			a.Size += eventOverhead + len(b.Stream.Type) + len(b.Stream.ID) + len(e.Topic) + len(e.ContentType) + len(h.Tags) + len(h.Metadata)
		}
		a.Batches = append(a.Batches, evsourcing.Batch{Stream: b.Stream, Expected: b.Expected, Events: events[first:len(events):len(events)]})
	}
	return a
}

// Events returns how many events the append has.
func (a *Append) Events() int { return len(a.Headers) }
