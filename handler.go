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
