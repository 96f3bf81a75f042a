package evsourcing

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"slices"
	"sync"
)

// A Publisher takes messages to wherever they go next. [EventBus] is one.
type Publisher interface {
	// Publish takes all messages or, on an error, none. What they point to does
	// not change afterwards. See RepositoryOptions.Bus for what it must not wait
	// for.
	Publish(ctx context.Context, msgs ...Message) error
}

// FullPolicy says what happens to a message for a subscription whose buffer is
// full.
type FullPolicy int

// The policies of EventBusOptions.OnFull.
const (
	WaitWhenFull       FullPolicy = iota // the publisher waits for room, until its context ends
	DeadLetterWhenFull                   // the message goes to DeadLetter at once, with ErrBusFull
)

// EventBusOptions change the defaults of [NewEventBus].
type EventBusOptions struct {
	// Buffer is how many messages each subscription has queued or running at
	// most before publishers wait; a batch that is larger waits until there are
	// none. As many messages are kept before Listen, and after Close. If zero,
	// 1024.
	Buffer int
	// MaxPending takes the place of Buffer for reactors that publish, who must
	// not wait. If zero, 64 times Buffer.
	MaxPending int
	// Concurrency is how many messages a subscription runs at once: its number
	// of lanes, which share the streams between them. If zero, 16.
	Concurrency int
	// OnFull says what happens when Buffer is exceeded. If zero, WaitWhenFull.
	OnFull FullPolicy
	// Retry is for messages that a reactor failed on. Its zero fields have the
	// defaults that RetryPolicy names.
	Retry RetryPolicy
	// DeadLetter gets the messages that are given up. It is called in the
	// message's lane, which waits for it, with the context of a reactor (or, if
	// the buffer was full, by the publisher). Its error is logged. If nil, such
	// messages are logged and dropped.
	DeadLetter func(ctx context.Context, d DeadLetter) error
	// BaseContext is the parent of the contexts of all reactors. When it ends,
	// the bus stops as if Close had run out of time. If nil,
	// context.Background().
	BaseContext context.Context
	// Codec, usually the repositories' own, lets Subscribe refuse topics that it
	// does not know, and a Transport decode. If nil, Subscribe takes a misspelt
	// topic too, to which nothing is ever published.
	Codec Codec
	// Logger gets a warning for each failed attempt and an error for each
	// message given up. If nil, slog.Default().
	Logger *slog.Logger
	// Transport carries the messages. If nil, they stay in the process, and
	// nothing is encoded.
	Transport Transport
	// MessageEncoder is the format of messages on a Transport. If nil, a JSON
	// object with a stored event's fields.
	MessageEncoder MessageEncoder
}

// An EventBus hands every message that is published to the reactors subscribed
// to its topic. Make one, subscribe, listen, and close it in the end.
//
// Each subscription has lanes of its own, and a stream's messages all go through
// one lane: a reactor sees one aggregate's events in order and one at a time,
// other aggregates' events side by side with them. A slow subscription delays
// no other, until its buffer is full and publishers wait.
//
// What is published is handled at most once if the process dies: the bus keeps
// messages in memory. All methods may be called concurrently, and from inside
// reactors.
type EventBus struct {
	opts    EventBusOptions
	seed    maphash.Seed
	tickets tickets
	link    *transportLink // nil without a Transport

	ctx    context.Context // of all reactors; its end cuts dispatch short
	cancel context.CancelCauseFunc

	mu       sync.Mutex // guards everything below, and the fields of subscriptions and lanes that say so
	phase    busPhase
	subs     []*busSubscription
	routes   map[string][]route // by topic; fixed once listening
	kept     []Message          // published before Listen or after Close
	promised int                // messages that have room in kept, but are not there yet
	batches  uint64             // counts calls of admit
	active   int                // lanes and receivers running
	drained  chan struct{}      // closed once closing and nothing is active
	cutBy    error              // why dispatch ended early
	unwatch  func() bool        // stops watching BaseContext
}

type busPhase int

const (
	subscribing busPhase = iota
	joining              // Listen is talking to the transport
	listening
	closing
)

// route is one subscription's reactor to one topic.
type route struct {
	sub     *busSubscription
	reactor Reactor
}

// NewEventBus returns a bus that takes subscriptions. opts may be nil.
func NewEventBus(opts *EventBusOptions) *EventBus {
	b := &EventBus{
		seed:    maphash.MakeSeed(),
		routes:  map[string][]route{},
		drained: make(chan struct{}),
	}
	if opts != nil {
		b.opts = *opts
	}
	o := &b.opts
	if o.Buffer <= 0 {
		o.Buffer = 1024
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 64 * min(o.Buffer, math.MaxInt/64)
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	if o.BaseContext == nil {
		o.BaseContext = context.Background()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Retry = o.Retry.withDefaults()
	b.ctx, b.cancel = context.WithCancelCause(o.BaseContext)
	if o.Transport != nil {
		b.link = newTransportLink(b)
	}
	return b
}

// Subscribe makes r the reactor to the topics under the subscription's name. A
// reactor made by [On] brings its topic, and takes no other; others need at
// least one. Calls with one name add topics to one subscription, which has one
// set of lanes.
//
// Errors, upon which nothing is subscribed: [ErrDuplicateSubscription] if the
// name is subscribed to a topic already, [ErrNoTopic], [ErrUnknownTopic] for a
// topic that the Codec does not know or that is not current, [ErrListening]
// after Listen and [ErrBusClosed] after Close.
func (b *EventBus) Subscribe(name string, r Reactor, topics ...string) error {
	if err := ValidateName(name); err != nil {
		return fmt.Errorf("evsourcing: subscribe %q: the name %w", abbreviate(name), err)
	}
	if r == nil {
		return fmt.Errorf("evsourcing: subscribe %q: the reactor is nil", name)
	}
	if own := ownTopics(r); len(own) > 0 {
		for _, topic := range topics {
			if !slices.Contains(own, topic) {
				return fmt.Errorf("evsourcing: subscribe %q to %q: its reactor is for events of topic %q", name, topic, own)
			}
		}
		topics = own
	}
	if len(topics) == 0 {
		return fmt.Errorf("%w: subscribe %q: name at least one", ErrNoTopic, name)
	}
	given := make(map[string]struct{}, len(topics))
	for _, topic := range topics {
		if b.opts.Codec != nil && len(b.opts.Codec.Names(topic)) == 0 {
			return fmt.Errorf("%w %q: subscribe %q", ErrUnknownTopic, topic, name)
		}
		if _, twice := given[topic]; twice {
			return fmt.Errorf("%w: %q to %q", ErrDuplicateSubscription, name, topic)
		}
		given[topic] = struct{}{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.phase {
	case joining, listening:
		return fmt.Errorf("%w: subscribe %q before Listen", ErrListening, name)
	case closing:
		return fmt.Errorf("%w: subscribe %q", ErrBusClosed, name)
	case subscribing:
	}
	for _, topic := range topics {
		for _, route := range b.routes[topic] {
			if route.sub.name == name {
				return fmt.Errorf("%w: %q to %q", ErrDuplicateSubscription, name, topic)
			}
		}
	}
	sub := b.subscription(name)
	for _, topic := range topics {
		b.routes[topic] = append(b.routes[topic], route{sub, r})
		sub.topics = append(sub.topics, topic)
	}
	return nil
}

// subscription returns the one with the name, a new one if there is none.
func (b *EventBus) subscription(name string) *busSubscription {
	for _, sub := range b.subs {
		if sub.name == name {
			return sub
		}
	}
	sub := newBusSubscription(b, name)
	b.subs = append(b.subs, sub)
	return sub
}

// Publish queues all messages for the subscriptions to their topics, or on an
// error none. What msgs point to must not be changed afterwards.
//
// When a subscription's buffer is full, Publish waits, and gives up with the
// context's error when ctx ends. Inside a reactor, which its context tells, it
// never waits, and returns [ErrBusFull] if MaxPending messages are pending.
// Before Listen, messages are kept until there are Buffer of them, which is
// [ErrNotListening]. After Close has been called, messages are accepted up to
// Buffer, so that a late Save succeeds, but they are not dispatched and die with
// the process; beyond that it is [ErrBusClosed].
func (b *EventBus) Publish(ctx context.Context, msgs ...Message) error {
	if len(msgs) == 0 {
		return nil
	}
	b.mu.Lock()
	r, err := b.room(ctx, msgs, publisherOf(ctx))
	if err != nil {
		b.mu.Unlock()
		return err
	}
	send, refused := b.use(msgs, r)
	b.mu.Unlock()
	if send {
		return b.link.send(ctx, msgs)
	}
	b.giveUpAll(ctx, refused)
	return nil
}

// Pending returns the number of pairs of message and subscription that are
// queued or running, plus the messages kept before Listen or after Close. At
// all times, what was published is what was settled plus what is pending. With
// a Transport, it counts what this bus has received.
func (b *EventBus) Pending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending()
}

func (b *EventBus) pending() int {
	n := len(b.kept)
	for _, sub := range b.subs {
		n += sub.pending()
	}
	return n
}
