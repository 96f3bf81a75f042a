package evsourcing

import (
	"errors"
	"fmt"
)

// Errors that callers test for with errors.Is. The errors returned wrap them
// and name the stream, topic or subscription concerned.
var (
	// ErrNotFound: the aggregate, or the version asked for, does not exist.
	ErrNotFound = errors.New("evsourcing: not found")
	// ErrConflict: the stream was not at the expected version, and nothing was
	// stored. The error is a *[ConflictError].
	ErrConflict = errors.New("evsourcing: version conflict")
	// ErrUncertain: the outcome of an append is not known; it may or may not
	// have been stored. Repeating the same append is safe.
	ErrUncertain = errors.New("evsourcing: outcome of the append is uncertain")
	// ErrReadOnly: an aggregate loaded by LoadAt can't be saved.
	ErrReadOnly = errors.New("evsourcing: aggregate is read-only")
	// ErrNotPublished: the events are stored, but a publisher failed; or they are
	// pending in a transaction, which nobody can publish. Saving again publishes
	// nothing.
	ErrNotPublished = errors.New("evsourcing: stored, but not published")
	// ErrUnknownTopic: no event type is registered under the topic.
	ErrUnknownTopic = errors.New("evsourcing: unknown topic")
	// ErrNoTopic: a subscription names no topic.
	ErrNoTopic = errors.New("evsourcing: no topic")
	// ErrNoEvent: a command is nil or returned neither an event nor an error.
	ErrNoEvent = errors.New("evsourcing: no event")
	// ErrClosed: the repository is closed, or the subscription has stopped.
	ErrClosed = errors.New("evsourcing: closed")
	// ErrBusClosed: the event bus is closed.
	ErrBusClosed = errors.New("evsourcing: event bus is closed")
	// ErrBusFull: a reactor published to a subscription that has MaxPending
	// messages waiting, or a message was dead-lettered because it found the
	// buffer full. In the first case nothing was stored.
	ErrBusFull = errors.New("evsourcing: event bus is full")
	// ErrListening: the event bus listens already, so it takes no more
	// subscriptions and no second Listen.
	ErrListening = errors.New("evsourcing: event bus is already listening")
	// ErrNotListening: the buffer is full and nothing drains it, because Listen
	// has not been called.
	ErrNotListening = errors.New("evsourcing: event bus is not listening")
	// ErrDuplicateSubscription: the name is subscribed to the topic already.
	ErrDuplicateSubscription = errors.New("evsourcing: duplicate subscription")
	// ErrDuplicateTopic: the topic is registered already.
	ErrDuplicateTopic = errors.New("evsourcing: duplicate topic")
	// ErrDuplicateEvent: an event ID of the append is stored already, and the
	// append is not a repetition of the one that stored it. Nothing was stored.
	ErrDuplicateEvent = errors.New("evsourcing: duplicate event ID")
	// ErrInvalidStream: a stream's type or ID is empty, too long, or has a NUL
	// byte or invalid UTF-8.
	ErrInvalidStream = errors.New("evsourcing: invalid stream")
	// ErrDiverged: the log does not hold the event that a checkpoint or a
	// snapshot was taken at; a restore or failover lost it.
	ErrDiverged = errors.New("evsourcing: the log has diverged")
	// ErrBehind: the new version of a projection has not come as far as the one
	// that it is to replace. Nothing was changed.
	ErrBehind = errors.New("evsourcing: the new version is behind")
	// ErrRunning: the subscription runs already.
	ErrRunning = errors.New("evsourcing: the subscription is running already")
	// ErrFenced: another owner holds the subscription.
	ErrFenced = errors.New("evsourcing: fenced by another owner")
)

// A ConflictError says that a stream was not at the version an append
// expected. errors.Is(err, ErrConflict) is true for it. Stores construct it.
type ConflictError struct {
	Stream           StreamID
	Expected, Actual uint64 // versions; 0 for a stream that does not exist
}

// Error names the stream and both versions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("evsourcing: version conflict: %v is at version %d, expected %d", e.Stream, e.Actual, e.Expected)
}

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// An UndeliveredError is what [EventBus.Close] returns when messages remain
// that no reactor has handled.
type UndeliveredError struct {
	Count int   // pairs of message and subscription, and messages kept undispatched
	Err   error // why: the context's error, ErrNotListening or ErrBusClosed
}

// Error says how many messages remain, and why.
func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("evsourcing: event bus closed, messages undelivered: %d: %v", e.Count, e.Err)
}

// Unwrap returns the reason.
func (e *UndeliveredError) Unwrap() error { return e.Err }

// A PanicError is a panic, or a call of runtime.Goexit, in a reactor or handler.
type PanicError struct {
	Value any    // the panic's value; nil for runtime.Goexit
	Stack []byte // the goroutine's stack, as debug.Stack formats it
}

// Error describes the value, without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "evsourcing: reactor called runtime.Goexit"
	}
	return fmt.Sprintf("evsourcing: reactor panicked: %v", e.Value)
}

// Unwrap returns the panic's value when it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func invalidStreamError(s StreamID, part string, err error) error {
	return fmt.Errorf("%w: %q/%q: the %s %w", ErrInvalidStream, abbreviate(s.Type), abbreviate(s.ID), part, err)
}

// abbreviate keeps a hostile name from filling an error message.
func abbreviate(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
