package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
)

// FromNow as SubscriptionOptions.Start begins with the events that are stored
// after the subscription's first Run has begun.
const FromNow uint64 = math.MaxUint64

// SubscriptionOptions change the defaults of [NewSubscription] and [Relay].
type SubscriptionOptions struct {
	// Start is where a subscription begins that has no checkpoint yet: after the
	// event at this position, or FromNow. Run returns ErrDiverged if the log does
	// not reach so far. If zero, at the log's beginning.
	Start uint64
	// Filter selects events by topic and by stream type; the store filters, if
	// it can. Topics are current ones, and stand for all older names that decode
	// to them. If zero, all events.
	Filter Filter
	// SkipUnknown leaves out events whose topic the Codec does not know. The
	// first of each topic is logged, of 1,024 topics at most. If false, such an
	// event is a failure.
	SkipUnknown bool
	// BatchSize is how many messages the handler gets at most at once. If zero,
	// 256.
	BatchSize int
	// Partitions is how many batches are handled side by side. A stream's
	// events stay in order, because they go through the same partition. No more
	// than 65,536 are of any use. If zero, 1: all events are handled in the order
	// of the log. A Relay has none: its bus spreads the messages over lanes.
	Partitions int
	// PollInterval is how often a log that is no Waiter is asked for new events,
	// unless a call of WaitFor asks before; and how often WaitFor looks for the
	// checkpoints of another process that has the lease. If zero, 500 ms.
	PollInterval time.Duration
	// Retry is for batches and messages that the handler failed on. When reading
	// the log or saving a checkpoint fails, its intervals count too, but not its
	// MaxAttempts: that is tried until it works. Its zero fields have the
	// defaults that RetryPolicy names.
	Retry RetryPolicy
	// OnFailure gets a message that the handler failed on for good. When it
	// returns nil, the message is settled and the subscription goes on; its
	// error ends Run. If nil, such a message ends Run.
	OnFailure func(ctx context.Context, d DeadLetter) error
	// Lease gives the name one owner at a time among all processes: Run waits
	// until it owns the name, and when an owner dies, another takes over within
	// this time, which is a millisecond at least. An owner whose lease may have
	// run out ends the context of its handler, and stands by. One that stops
	// keeps the lease until its handler has returned. The CheckpointStore must be
	// a Claimer. If zero, whoever calls Run runs, and the user sees to it that it
	// is one.
	Lease time.Duration
	// Owner names this process to others that want the lease; two processes must
	// not share an owner's name. If empty, the host's name and a random part.
	Owner string
	// Logger gets a warning for each failed attempt, an error for each message
	// given up, and a line every ten seconds while a long log is read. If nil,
	// slog.Default().
	Logger *slog.Logger
}

func (o SubscriptionOptions) withDefaults() SubscriptionOptions {
	if o.BatchSize <= 0 {
		o.BatchSize = 256
	}
	if o.Partitions <= 0 {
		o.Partitions = 1
	}
	o.Partitions = min(o.Partitions, maxAhead) // messages that can be under way
	if o.PollInterval <= 0 {
		o.PollInterval = 500 * time.Millisecond
	}
	if o.Owner == "" {
		host, _ := os.Hostname()
		o.Owner = host + " " + uuid.NewString()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Retry = o.Retry.withDefaults()
	return o
}

// A Subscription hands the events of a [Log] to a [Handler], from the first one
// on or from wherever it had come when it last ran, and then follows the log. It
// keeps its place as a [Checkpoint] under its name.
//
// Every event is handled at least once and in order: all of them in the order of
// the log, or with Partitions those of each stream. None is skipped, for the log
// promises that nothing appears below a position it has shown. An event is
// handled again only if its checkpoint was not saved, because the process died
// or the save failed; with Partitions, also if Run stopped or failed, for the
// checkpoint stays below the first event that is not finished.
//
// All methods may be called concurrently.
type Subscription struct {
	name        string
	log         Log
	waiter      Waiter // nil if the log is none
	checkpoints CheckpointStore
	claimer     Claimer // nil without a lease
	codec       Codec
	handler     Handler   // nil for a Relay
	tx          TxHandler // the handler, if it is one
	bus         *EventBus // nil for anything else
	opts        SubscriptionOptions
	filter      Filter // of stored topics
	seed        maphash.Seed

	progress progress
}

// NewSubscription returns the subscription with the name, which stands for its
// place in the log: two that run at the same time need two names. opts may be
// nil. Nothing is read before Run.
//
// A log is what [Require] finds in an event store; cp, which keeps the
// checkpoint, is often the same store. NewSubscription panics on a name that is
// not valid, on a nil argument, on a filter for a topic that codec does not
// know, on a Lease that is too short, if one is asked of a CheckpointStore
// that is no [Claimer], and on a [TxHandler] of another store than cp or with
// Partitions.
func NewSubscription(name string, log Log, cp CheckpointStore, codec Codec, h Handler, opts *SubscriptionOptions) *Subscription {
	s := newSubscription(name, log, cp, codec, opts)
	if h == nil {
		s.refuse("the handler is nil")
	}
	s.handler = h
	if tx, ok := h.(TxHandler); ok {
		if !isStore(cp, tx.CheckpointStore()) {
			s.refuse("its handler works in transactions of a %T, which has to be its checkpoint store; that is a %T: pass the same store, or give one that wraps it a method Unwrap() evsourcing.EventStore", tx.CheckpointStore(), cp)
		}
		if s.opts.Partitions > 1 {
			s.refuse("%d partitions: a handler with transactions has one", s.opts.Partitions)
		}
		s.tx = tx
	}
	s.filterTopics(ownTopics(h))
	return s
}

// isStore reports whether cp is the store, or wraps it as [Capability] would see.
func isStore(cp, store CheckpointStore) bool {
	for range 100 { // a wrapper may wrap itself
		if cp == store {
			return true
		}
		w, ok := cp.(interface{ Unwrap() EventStore })
		if !ok {
			return false
		}
		if cp, ok = w.Unwrap().(CheckpointStore); !ok {
			return false
		}
	}
	return false
}

func newSubscription(name string, log Log, cp CheckpointStore, codec Codec, opts *SubscriptionOptions) *Subscription {
	s := &Subscription{name: name, log: log, checkpoints: cp, codec: codec, seed: maphash.MakeSeed()}
	s.progress.asked = make(chan struct{}, 1)
	if opts != nil {
		s.opts = *opts
	}
	s.opts = s.opts.withDefaults()
	if err := ValidateName(name); err != nil {
		s.refuse("the name %w", err)
	}
	if s.opts.Start > maxVersion && s.opts.Start != FromNow {
		s.refuse("its start, %d, is no position", s.opts.Start)
	}
	switch {
	case log == nil:
		s.refuse("the log is nil: %w: a subscription needs a store that is an evsourcing.Log; Require says whether one is", errors.ErrUnsupported)
	case cp == nil:
		s.refuse("the checkpoint store is nil")
	case codec == nil:
		s.refuse("the codec is nil")
	}
	if store, ok := log.(EventStore); ok {
		s.waiter, _ = Capability[Waiter](store)
	} else {
		s.waiter, _ = log.(Waiter)
	}
	if s.opts.Lease > 0 {
		var ok bool
		if s.claimer, ok = cp.(Claimer); !ok {
			s.refuse("%w: a lease needs a checkpoint store that is an evsourcing.Claimer, and %T is none", errors.ErrUnsupported, cp)
		}
		if s.opts.Lease < minLease {
			s.refuse("a lease of %v is too short", s.opts.Lease)
		}
		if err := ValidateName(s.opts.Owner); err != nil {
			s.refuse("the owner %w", err)
		}
	}
	return s
}

// refuse panics on what a subscription can't be made of.
func (s *Subscription) refuse(format string, args ...any) {
	panic(fmt.Errorf("evsourcing: subscription %q: %w", abbreviate(s.name), fmt.Errorf(format, args...)))
}

// filterTopics makes the filter one of stored topics; own are those that the
// handler brings.
func (s *Subscription) filterTopics(own []string) {
	topics := s.opts.Filter.Topics
	for _, topic := range topics {
		if len(own) > 0 && !slices.Contains(own, topic) {
			s.refuse("its filter has topic %q, but its reactor is for events of topic %q", topic, own)
		}
	}
	if len(own) > 0 {
		topics = own
	}
	s.filter = Filter{Types: slices.Clone(s.opts.Filter.Types)}
	for _, topic := range topics {
		names := s.codec.Names(topic)
		if len(names) == 0 {
			s.refuse("%w %q, or not a current one", ErrUnknownTopic, topic)
		}
		s.filter.Topics = append(s.filter.Topics, names...)
	}
}

// Run reads the log from the checkpoint on, handles its events, and follows it,
// until ctx ends: then it lets the handler finish, whose context has ended too,
// saves the checkpoint of what was handled, for which the store has five seconds,
// and returns nil. Afterwards it may be called again. No goroutine is left when it returns.
//
// Run returns an error when the handler has failed for good and OnFailure does
// not settle it, when the log has diverged from the checkpoint ([ErrDiverged]),
// when somebody else has taken the name ([ErrFenced], without a Lease), when
// the last checkpoint can't be saved, and [ErrRunning] at once if it runs
// already. Failures to read the log or to save a checkpoint in between are
// logged, shown in Status, and tried again.
func (s *Subscription) Run(ctx context.Context) (err error) {
	if !s.progress.begin() {
		return fmt.Errorf("%w: %q", ErrRunning, s.name)
	}
	err = errors.New("the goroutine of Run has ended") // unless it returns
	defer func() { s.progress.end(err) }()
	for {
		var lost bool
		if lost, err = s.session(ctx); !lost {
			break
		}
		if ctx.Err() != nil {
			err = nil
			break
		}
		s.say(ctx, slog.LevelWarn, "evsourcing: subscription has lost its lease and waits for it", errAttr(err))
	}
	if err != nil {
		err = fmt.Errorf("evsourcing: subscription %q: %w", s.name, err)
	}
	return err
}

// say logs something about the subscription.
func (s *Subscription) say(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	logSafely(ctx, s.opts.Logger, level, msg, append([]slog.Attr{slog.String("subscription", s.name)}, attrs...))
}

// WaitFor returns nil as soon as everything up to the position is handled, or
// passed over by the filter: after a save, WaitFor(ctx, a.Position()) makes a
// read model show it. It returns the context's error when ctx ends first, Run's
// error if Run has failed, and [ErrClosed] if Run has returned without one. Before
// the first Run it waits, but for position 0, which is reached at once. Where
// another process has the lease, it looks at that one's checkpoints every
// PollInterval.
func (s *Subscription) WaitFor(ctx context.Context, position uint64) error {
	if err := s.progress.wait(ctx, position); err != nil {
		return fmt.Errorf("evsourcing: waiting for subscription %q to reach position %d: %w", s.name, position, err)
	}
	return nil
}

// Status returns how far the subscription has come, without blocking.
func (s *Subscription) Status() Status {
	st := s.progress.snapshot()
	st.Name = s.name
	return st
}
