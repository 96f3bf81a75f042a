package evsourcing

import (
	"context"
	"hash/maphash"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
)

// An Event is a fact: something that has happened to an aggregate.
//
// Events are immutable values, usually small structs with exported fields. Topic
// returns the stable name under which the event is stored and routed, such as
// "aircraft.landed". It is never derived from a Go type name, so that a rename
// in code does not change history. Topic must return the same name for every
// value of the type, the zero value included.
//
// An event that also has a method Tags() []string is stored with those tags.
type Event interface {
	Topic() string
}

// EventOf is an event that the aggregate A accepts; A is a pointer type such as
// *Aircraft. The compiler refuses to record an event on any other aggregate.
//
// ApplyTo changes the aggregate's state. It can't fail, because the event has
// happened; commands are where rules are checked. It must depend on nothing but
// its receiver and its argument, and must copy what it keeps of a slice or map
// of the event.
type EventOf[A any] interface {
	Event
	ApplyTo(a A)
}

// StreamID names a stream, the history of one aggregate: the aggregate's type
// ("aircraft") and its ID within that type ("DM2018"). Both are non-empty
// UTF-8 without NUL bytes, and at most [MaxNameSize] bytes long.
type StreamID struct {
	Type, ID string
}

// String returns the stream's name as Type/ID, for people to read.
func (s StreamID) String() string { return s.Type + "/" + s.ID }

// streamHash is for spreading streams over lanes and tables.
func streamHash(seed maphash.Seed, id StreamID) uint64 {
	return maphash.String(seed, id.Type)*31 ^ maphash.String(seed, id.ID)
}

// Validate returns an error that wraps [ErrInvalidStream] and says what is
// wrong with s, or nil.
func (s StreamID) Validate() error {
	if err := ValidateName(s.Type); err != nil {
		return invalidStreamError(s, "type", err)
	}
	if err := ValidateName(s.ID); err != nil {
		return invalidStreamError(s, "ID", err)
	}
	return nil
}

// Keys of the metadata that travels by itself. An event that is stored while a
// reactor or a subscription handler runs carries both; an event stored
// elsewhere is a root and carries neither, unless the caller sets them through
// [ContextWithMetadata]. See [StoredEvent.CorrelationID].
const (
	MetaCausationID   = "causation_id"   // ID of the event being handled when this one was stored
	MetaCorrelationID = "correlation_id" // correlation ID of that event: one value for a whole chain
)

// metaReserved starts the keys that the library keeps for itself.
const metaReserved = "es."

// Metadata describes the circumstances of an event: who, why, as part of what.
// Once in a StoredEvent it must not be changed; With makes changed copies.
type Metadata map[string]string

// With returns a copy of m in which key has the value. m may be nil.
func (m Metadata) With(key, value string) Metadata {
	c := make(Metadata, len(m)+1)
	maps.Copy(c, m)
	c[key] = value
	return c
}

// A StoredEvent is an event as a store keeps it: its payload as bytes, and the
// envelope around it.
type StoredEvent struct {
	ID          uuid.UUID // unique in the store; fixed when the event is recorded
	Stream      StreamID
	Version     uint64    // place in the stream: from 1, without gaps, below 2^63
	Position    uint64    // place in the store's global order, below 2^63; 0 until stored
	Topic       string    // as it was when stored; a Codec's Decode makes it the current name
	ContentType string    // format of Data, such as "application/json"
	Data        []byte    // the encoded payload
	Tags        []string  // from the event's Tags method; may be nil
	Metadata    Metadata  // may be nil; read-only
	Time        time.Time // when the event was recorded: UTC, microseconds; nothing is ordered by it
}

// CorrelationID returns the ID that all events of one chain of causes share:
// the metadata's [MetaCorrelationID], or for an event without one, a root, its
// own ID.
func (e *StoredEvent) CorrelationID() string {
	return correlationID(e.ID, e.Metadata)
}

func correlationID(event uuid.UUID, meta Metadata) string {
	if id, ok := meta[MetaCorrelationID]; ok {
		return id
	}
	return event.String()
}

type (
	metadataKey struct{} // context key of an addedMetadata
	causeKey    struct{} // context key of a *cause
)

// cause is the event being handled: what the events stored meanwhile name as
// their cause.
type cause struct {
	id       uuid.UUID
	metadata Metadata
}

// addedMetadata is the metadata of a context to which a caller has added some,
// that of the cause included, if there was one by then.
type addedMetadata struct {
	meta  Metadata
	cause *cause
}

// ContextWithMetadata returns a context that adds meta to whatever metadata ctx
// carries already; on equal keys meta wins. Every event stored under the
// returned context gets it. meta is copied.
//
// Keys that start with "es." are reserved: storing an event under a context
// that carries one fails. Setting [MetaCorrelationID], for example to the ID of
// an incoming request, is allowed.
func ContextWithMetadata(ctx context.Context, meta Metadata) context.Context {
	merged := MetadataFromContext(ctx)
	if merged == nil {
		merged = make(Metadata, len(meta))
	}
	maps.Copy(merged, meta)
	cause, _ := ctx.Value(causeKey{}).(*cause)
	return context.WithValue(ctx, metadataKey{}, addedMetadata{merged, cause})
}

// MetadataFromContext returns the metadata that an event stored under ctx would
// carry: that of the event being handled, if any, its causation and
// correlation, and what callers added by [ContextWithMetadata]. The map is the
// caller's own; it is nil when there is nothing.
func MetadataFromContext(ctx context.Context) Metadata {
	added, _ := ctx.Value(metadataKey{}).(addedMetadata)
	meta := maps.Clone(added.meta)
	cause, _ := ctx.Value(causeKey{}).(*cause)
	if cause == nil || cause == added.cause {
		return meta
	}
	// What was added, was added around the handling of the event, which is
	// nearer: in BaseContext, say.
	if meta == nil {
		meta = make(Metadata, len(cause.metadata)+2)
	}
	for k, v := range cause.metadata {
		if !strings.HasPrefix(k, metaReserved) {
			meta[k] = v
		}
	}
	meta[MetaCausationID] = cause.id.String()
	meta[MetaCorrelationID] = correlationID(cause.id, cause.metadata)
	return meta
}
