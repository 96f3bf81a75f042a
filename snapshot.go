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
//
// A [Repository] uses one when its options name it. That may be the event store,
// if it has the capability, or another: a [MemoryStore] beside a store on disk
// is a cache that lasts as long as the process.
type SnapshotStore interface {
	// LoadSnapshot returns the stream's snapshot; ok is false if it has none.
	LoadSnapshot(ctx context.Context, id StreamID) (s Snapshot, ok bool, err error)

	// SaveSnapshot keeps s in place of the stream's snapshot, unless that one
	// has the same Fingerprint and a higher Version: then it does nothing.
	SaveSnapshot(ctx context.Context, s Snapshot) error
}

// A Snapshotter is an aggregate that encodes its own state for snapshots, when
// its fields are not for an [Encoder] to see or would not survive one.
//
// UnmarshalSnapshot must make the state that MarshalSnapshot was called on, down
// to the difference between a nil slice and an empty one, for the events behind
// the snapshot apply to it. This is tested by reflect.DeepEqual before a
// snapshot is saved, so caches and indexes that ApplyTo maintains have to be
// built again; functions that are not nil are never equal. What of the state is
// one thing reached in two ways must be so again, which is not tested.
type Snapshotter interface {
	Aggregate

	// MarshalSnapshot returns the state. It must not change it, nor keep the
	// slice.
	MarshalSnapshot() ([]byte, error)

	// UnmarshalSnapshot sets the state. The receiver's fields are zero, and Init
	// has not been called; ID returns the aggregate's ID. It must not keep the
	// slice.
	UnmarshalSnapshot(data []byte) error
}

// A SnapshotStatus is what a policy decides by whether to take a snapshot of an
// aggregate that was just saved or loaded.
type SnapshotStatus struct {
	Stream   StreamID
	Version  uint64 // of the aggregate
	Snapshot uint64 // version of the newest snapshot taken or asked for, as far as known; 0 if none
}
