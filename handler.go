package evsourcing

import "context"

// A Handler does something about the events of a log, in the order in which
// they were stored: it keeps a read model, say. A [Subscription] calls it.
//
// Handle gets a batch of messages, at least one. It may keep them and the slice,
// but must change neither. It has dealt with all of the batch when it returns
// nil. After an error, a panic or runtime.Goexit it gets the same batch again, and
// in the end one message at a time, so that one bad event does not hold back the
// others: a handler works in a transaction of its own, or bears to see a message
// twice. [Each] makes a handler that fails for one message at a time from the
// start.
//
// Its context ends when the subscription stops. If the batch has one message, it
// names that as the cause of what is stored under it; in a larger batch
// [ContextWithCause] does.
type Handler interface {
	Handle(ctx context.Context, msgs []Message) error
}

// HandlerFunc is a function that is a [Handler].
type HandlerFunc func(ctx context.Context, msgs []Message) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, msgs []Message) error { return f(ctx, msgs) }

// Each returns a [Handler] that calls r with one message after the other, in a
// context that names the message as the cause of what r stores. When r fails,
// the messages before are not handled again.
//
// A subscription takes the topic of a reactor made by [On] from it, unless its
// filter names topics.
func Each(r Reactor) Handler {
	if r == nil {
		panic("evsourcing: Each: the reactor is nil")
	}
	return eachHandler{r}
}

type eachHandler struct{ reactor Reactor }

func (h eachHandler) Handle(ctx context.Context, msgs []Message) error {
	for i := range msgs {
		if err := h.reactor.React(ContextWithCause(ctx, msgs[i]), msgs[i]); err != nil {
			return err
		}
	}
	return nil
}

// topics returns those that the reactor brings, as for EventBus.Subscribe.
func (h eachHandler) topics() []string { return ownTopics(h.reactor) }

// ContextWithCause returns a context under which what is stored names m as its
// cause: it carries m's ID as [MetaCausationID], its correlation ID, and the
// rest of its metadata. Reactors get such a context; a [Handler] that stores
// something because of one message of a batch makes one.
func ContextWithCause(ctx context.Context, m Message) context.Context {
	return &causeContext{Context: ctx, cause: cause{id: m.ID, metadata: m.Metadata}}
}

// causeContext is a context with the message being handled.
type causeContext struct {
	context.Context
	cause cause
}

func (c *causeContext) Value(key any) any {
	if _, ok := key.(causeKey); ok {
		return &c.cause
	}
	return c.Context.Value(key)
}

// A TxHandler is a [Handler] that does its work in a transaction of the store
// that keeps its checkpoint, and saves the checkpoint in it: exactly once, for
// what the transaction holds. Stores make them, as the method Handler of the
// sqlite and postgres stores; whoever writes a store implements the interface.
//
// Under a TxHandler nothing else saves the checkpoint, and a subscription has
// one partition.
type TxHandler interface {
	// Handle does the work in a transaction of its own, without a checkpoint. A
	// subscription does not call it; it serves tests of handlers.
	Handler
	// CheckpointStore returns the store of the transaction, which has to be the
	// subscription's.
	CheckpointStore() CheckpointStore
	// HandleTx does what Handle does, unless there are no messages, and in the
	// same transaction saves to as the name's checkpoint.
	//
	// Nothing is committed, and the error is ErrFenced, if a checkpoint of the
	// name is saved that is not at from.Position, or a higher token than to.Token
	// was claimed or saved. ErrUncertain means that the outcome of the commit is
	// not known, and any other error that nothing was committed. An error of the
	// work is returned as it is, and one of the transaction as a TxError. A panic
	// of the work goes on after the transaction was rolled back.
	HandleTx(ctx context.Context, name string, from, to Checkpoint, msgs []Message) error
}

// A TxError is what [TxHandler.HandleTx] fails with when the work is not to
// blame, but the transaction: the database can't be reached, say. A subscription
// tries that again until it works, and gives no message up for it.
type TxError struct{ Err error }

// Error returns the text of the reason.
func (e *TxError) Error() string {
	return "evsourcing: the handler's transaction failed: " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *TxError) Unwrap() error { return e.Err }
