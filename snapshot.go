package evsourcing

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A Snapshot is the state of an aggregate after one of its events, encoded.
type Snapshot struct {
	Stream      StreamID
	Version     uint64    // of the last event that the state includes
	Position    uint64    // of that event
	EventID     uuid.UUID // of that event; a stream without it has diverged
	Fingerprint string    // of the aggregate's Go type; another one makes the snapshot void
	ContentType string
	Data        []byte
	Time        time.Time // when it was taken: UTC, microseconds
}

// A SnapshotStore keeps the newest snapshot of each stream. A snapshot only
// saves work: losing one loses nothing. Methods may be called concurrently;
// what is passed is neither kept nor changed, and what is returned is the
// caller's own.
type SnapshotStore interface {
	// LoadSnapshot returns the stream's snapshot; ok is false if it has none.
	LoadSnapshot(ctx context.Context, id StreamID) (s Snapshot, ok bool, err error)

	// SaveSnapshot keeps s in place of the stream's snapshot, unless that one
	// has the same Fingerprint and a higher Version: then it does nothing.
	SaveSnapshot(ctx context.Context, s Snapshot) error
}
