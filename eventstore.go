package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"

	"github.com/google/uuid"
)

// AnyVersion as Batch.Expected appends at the stream's end, wherever that is.
const AnyVersion uint64 = math.MaxUint64

// Limits that [Validate] enforces.
const (
	MaxNameSize     = 512      // bytes in a stream type, stream ID, topic, content type, tag or metadata key
	MaxDataSize     = 16 << 20 // bytes in an event's Data
	MaxMetadataSize = 1 << 20  // bytes in an event's tags and metadata together
	MaxAppendSize   = 64 << 20 // bytes in all texts and data of one append
)

// An EventStore keeps streams of events. It is the interface that a storage
// driver implements; package storetest proves that one keeps the promises
// below, in one line of a test. All methods may be called concurrently.
//
// What else a store can do is expressed by further interfaces, its
// capabilities: [Log], [Waiter], [Finder], [SnapshotStore], [CheckpointStore]
// and [Claimer]. [Capability] looks for them.
//
// Every store promises:
//
//  1. Optimistic concurrency. Of two appends that expect the same version of
//     one stream, exactly one wins and the other gets [ErrConflict], however
//     many race.
//  2. Durability. What Append acknowledged is durable, to the strength that
//     the store documents. An error other than [ErrUncertain] means that
//     nothing was stored. A call cancelled while it waits is withdrawn; once
//     its write has begun it waits for the outcome as long as its context
//     lasts, and then returns ErrUncertain. No caller's context interrupts or
//     rolls back what others write with it.
//  3. Idempotence. An event ID stands at most once in a store. Repeating an
//     append whose answer was lost stores nothing and returns the positions of
//     the original, with Repeated set. An append is a repetition if the event
//     IDs of each of its batches stand in the batch's stream, in order, at
//     Expected+1...Expected+n, or with AnyVersion, at any consecutive versions.
//     If event IDs are stored otherwise, all or some, it is
//     [ErrDuplicateEvent]. Only an append none of whose event IDs is stored
//     can be an ErrConflict.
//  4. Order. Positions rise in the order of commits: once Head or a reader has
//     shown position p, no new event ever appears at or below p. The order
//     within a stream is the same in Load and in Events. Gaps between
//     positions are allowed, reuse is not. The positions of one append are
//     consecutive, in the order of its batches and their events.
//  5. Fidelity. Data comes back byte for byte, tags in their order, and Time cut
//     to the microsecond, in UTC. What a caller passes is neither kept nor
//     changed, and what it receives is its own. (A nil slice or map may come
//     back empty, and an empty one nil.)
//  6. Reading. A stream never written yields nothing, and so does reading past
//     the end. An error is the last pair that an iterator yields. A cancelled
//     context ends iteration with the context's error, at the next page at the
//     latest; every other call under a cancelled context returns its error.
//     Ranging over the same iterator again reads again.
//  7. Release. Leaving an iterator, by break or by a panic, releases what it
//     held. No iterator holds a read transaction or a lock while the caller's
//     loop body runs: a store reads whole pages, and what it yields was stored
//     when its page was read.
//  8. Validation. Bad input gets an error that names it, before anything is
//     written: see [Validate].
type EventStore interface {
	// Append stores all events of all batches, in one atomic step, or none. It
	// returns after they are durable.
	Append(ctx context.Context, batches ...Batch) (AppendResult, error)

	// Load returns the events of one stream; r counts versions. An invalid id
	// yields ErrInvalidStream.
	Load(ctx context.Context, id StreamID, r Range) iter.Seq2[StoredEvent, error]
}

// A Batch is a run of events for the end of one stream.
type Batch struct {
	Stream StreamID
	// Expected is the version that the stream must be at: the version of its
	// last event, 0 if it must not exist yet, or AnyVersion.
	Expected uint64
	// Events have the versions Expected+1, Expected+2, ..., or with AnyVersion
	// all 0, and the store numbers them. Each one's Stream is the batch's, or
	// zero. Positions are ignored.
	Events []StoredEvent
}

// An AppendResult says where an append put its events.
type AppendResult struct {
	Position uint64   // of the last event; the append's positions are consecutive
	Versions []uint64 // of the last event of each batch
	Repeated bool     // the events were stored before; see promise 3 of EventStore
	Pending  bool     // a transaction that ctx carries will store them, and gives them positions: Position is 0
}

// A Range selects a part of an ordered sequence of events, by their versions or
// positions. The zero value selects everything, upwards.
type Range struct {
	After    uint64 // exclude everything up to and including this one
	Until    uint64 // exclude everything beyond this one; if zero, no bound
	Limit    int    // yield at most so many events; if zero or negative, all
	Backward bool   // yield the same interval downwards; Limit then counts from its upper end
}

// A Filter selects events by topic and by stream type. An empty list selects
// all; both lists must let an event pass.
type Filter struct {
	Topics []string // as stored: see Codec's Names for a topic's older names
	Types  []string
}

// zero reports whether f selects everything.
func (f Filter) zero() bool { return len(f.Topics) == 0 && len(f.Types) == 0 }

// Match reports whether f lets e pass.
func (f Filter) Match(e StoredEvent) bool {
	return (len(f.Topics) == 0 || slices.Contains(f.Topics, e.Topic)) &&
		(len(f.Types) == 0 || slices.Contains(f.Types, e.Stream.Type))
}

// A Log is the capability of a store to read all streams in one global order.
type Log interface {
	// Events returns the events of all streams in the order of their
	// positions; r counts positions. The filter is a hint: a store may yield
	// more than it lets pass, never less, so callers check Match.
	Events(ctx context.Context, r Range, f Filter) iter.Seq2[StoredEvent, error]

	// Head returns the mark of the last event, the zero Mark if there is none.
	Head(ctx context.Context) (Mark, error)
}

// A Mark is a place in a log, and the event that stands there.
type Mark struct {
	Position uint64
	EventID  uuid.UUID
}

// A Waiter is the capability of a log to wake those who follow it.
type Waiter interface {
	// Wait returns nil once Head is beyond position after, at once if it is
	// already, and the context's error when ctx ends first.
	Wait(ctx context.Context, after uint64) error
}

// A Finder is the capability of a store to look an event up by its ID.
type Finder interface {
	// Find returns the version of the event in the stream; ok is false if the
	// stream has no such event.
	Find(ctx context.Context, id StreamID, event uuid.UUID) (version uint64, ok bool, err error)
}

// Capability returns s as a T, an interface such as [Log]. If s is not one
// itself but has a method Unwrap() EventStore, Capability looks at what that
// returns, and so on.
func Capability[T any](s EventStore) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() EventStore })
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	var none T
	return none, false
}

// Require is [Capability] for those who can't do without: the error, which wraps
// [errors.ErrUnsupported], names the store and what it lacks.
//
//	log, err := evsourcing.Require[evsourcing.Log](store)
func Require[T any](s EventStore) (T, error) {
	t, ok := Capability[T](s)
	if !ok {
		return t, fmt.Errorf("evsourcing: the store %T is no %v: %w", s, reflect.TypeFor[T](), errors.ErrUnsupported)
	}
	return t, nil
}
