package evsourcing

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A Checkpoint says how far a subscription has come in a log.
type Checkpoint struct {
	Position uint64    // everything up to here has been handled
	EventID  uuid.UUID // of the event at Position; nil at position 0
	Token    uint64    // fencing token of the owner that saved it; 0 without a Claimer
}

// A CheckpointStore keeps checkpoints by the name of their subscription, a
// string like a stream's type. Methods may be called concurrently.
type CheckpointStore interface {
	// Checkpoint returns what was last saved under the name; ok is false if
	// nothing was. Its Token is the highest that was claimed.
	Checkpoint(ctx context.Context, name string) (c Checkpoint, ok bool, err error)

	// SaveCheckpoint keeps c under the name. A Token lower than the highest
	// claimed or saved gets ErrFenced, and nothing is saved. A lower Position
	// is allowed: that is how a subscription is rewound.
	SaveCheckpoint(ctx context.Context, name string, c Checkpoint) error
}

// A Claimer is the capability of a CheckpointStore to give each name one owner
// at a time.
type Claimer interface {
	// Claim makes owner the name's owner for the time ttl by the store's own
	// clock, and returns the name's checkpoint with the owner's fencing token.
	// The token is higher than every one before it if the name changes hands
	// or its lease had run out, and the same if owner renews its own lease.
	// While another's lease lasts, Claim returns ErrFenced at once. A ttl of
	// zero or less ends the owner's lease.
	Claim(ctx context.Context, name, owner string, ttl time.Duration) (Checkpoint, error)
}
