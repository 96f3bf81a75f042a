package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// What the tests of subscriptions and relays share.

var errSub = errors.New("the handler does not like it")

// subCodec knows the topics of the logs that the tests write.
func subCodec() *evsourcing.Registry { return evsourcing.NewRegistry(busNote{}, subOther{}) }

// subOther is an event of another topic.
type subOther struct{}

func (subOther) Topic() string { return "other" }

// write appends n events of a topic to the stream, in one batch, and returns
// the last position.
func write(t *testing.T, store evsourcing.EventStore, topic, stream string, n int) uint64 {
	t.Helper()
	return writeTyped(t, store, "bus", topic, stream, n)
}

func writeTyped(t *testing.T, store evsourcing.EventStore, typ, topic, stream string, n int) uint64 {
	t.Helper()
	events := make([]evsourcing.StoredEvent, n)
	for i := range events {
		events[i] = evsourcing.StoredEvent{ID: uuid.New(), Topic: topic, ContentType: "application/json", Data: []byte("{}")}
	}
	id := evsourcing.StreamID{Type: typ, ID: stream}
	result, err := store.Append(context.Background(), evsourcing.Batch{Stream: id, Expected: evsourcing.AnyVersion, Events: events})
	require.NoError(t, err)
	return result.Position
}

// subOptions returns options that do not log and retry soon.
func subOptions(o evsourcing.SubscriptionOptions) *evsourcing.SubscriptionOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Retry.InitialInterval == 0 {
		o.Retry.InitialInterval, o.Retry.MaxInterval = time.Millisecond, 4*time.Millisecond
	}
	return &o
}

// A running is a subscription whose Run has been called.
type running struct {
	*evsourcing.Subscription
	cancel context.CancelFunc
	done   <-chan error
}

func start(t *testing.T, s *evsourcing.Subscription) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &running{Subscription: s, cancel: cancel, done: after(func() error { return s.Run(ctx) })}
}

// reach waits until the subscription has come to the position.
func (r *running) reach(t *testing.T, position uint64) {
	t.Helper()
	require.NoError(t, r.WaitFor(within(t, time.Minute), position))
}

// stop ends Run, which must return nil.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	require.NoError(t, <-r.done)
}

// subRecord is a handler that remembers what it was given.
type subRecord struct {
	mu      sync.Mutex
	batches [][]string // "stream version", by call
	last    []evsourcing.Message
	fail    func(msgs []evsourcing.Message) error // asked first, if not nil
}

func (r *subRecord) Handle(_ context.Context, msgs []evsourcing.Message) error {
	if r.fail != nil {
		if err := r.fail(msgs); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := make([]string, len(msgs))
	for i, m := range msgs {
		batch[i] = fmt.Sprint(m.Stream.ID, " ", m.Version)
	}
	r.batches = append(r.batches, batch)
	r.last = msgs
	return nil
}

func (r *subRecord) all() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		list = append(list, b...)
	}
	return list
}

func (r *subRecord) sizes() (list []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		list = append(list, len(b))
	}
	return list
}

// checkpointOf returns the position of the checkpoint.
func checkpointOf(t *testing.T, store evsourcing.CheckpointStore, name string) evsourcing.Checkpoint {
	t.Helper()
	cp, ok, err := store.Checkpoint(context.Background(), name)
	require.NoError(t, err)
	require.True(t, ok, "no checkpoint was saved")
	return cp
}

// An audit checks what one subscriber is given, through several runs: nothing
// is missing, and within a run, each stream is in order. A run may begin with
// events that were handled before; these it counts.
type audit struct {
	mu       sync.Mutex
	highest  map[evsourcing.StreamID]uint64 // ever
	current  map[evsourcing.StreamID]uint64 // in this run
	repeated int
	wrong    []string
}

func newAudit() *audit {
	return &audit{highest: map[evsourcing.StreamID]uint64{}, current: map[evsourcing.StreamID]uint64{}}
}

// restart begins another run.
func (a *audit) restart() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.current)
}

func (a *audit) see(msgs ...evsourcing.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range msgs {
		high, cur := a.highest[m.Stream], a.current[m.Stream]
		switch {
		case cur == 0 && m.Version > high+1, cur != 0 && m.Version != cur+1:
			a.wrong = append(a.wrong, fmt.Sprintf("%v: version %d after %d, the highest was %d", m.Stream, m.Version, cur, high))
		case m.Version <= high:
			a.repeated++
		}
		a.current[m.Stream] = m.Version
		a.highest[m.Stream] = max(high, m.Version)
	}
}

// handled returns how many different events were seen.
func (a *audit) handled() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range a.highest {
		n += int(v)
	}
	return n
}

// check compares with what the store has of the streams, and returns how many
// events were handled again.
func (a *audit) check(t *testing.T, store *evsourcing.MemoryStore) (repeated int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.wrong) > 0 {
		t.Errorf("%d events out of order or missing before others, the first: %s", len(a.wrong), a.wrong[0])
	}
	missing := 0
	for e, err := range store.Events(context.Background(), evsourcing.Range{}, evsourcing.Filter{}) {
		require.NoError(t, err)
		if a.highest[e.Stream] < e.Version {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d events are missing", missing)
	}
	return a.repeated
}

// A chaosStore is a log and a checkpoint store that fails now and then, and calls
// interrupt at any moment.
type chaosStore struct {
	*evsourcing.MemoryStore
	interrupt func()      // may end the run
	calm      atomic.Bool // nothing happens any more
	dead      atomic.Bool // no checkpoint can be saved
}

var errChaos = errors.New("the store is out of order")

// trouble interrupts or fails, each once in a number of calls.
func (s *chaosStore) trouble(interrupt, fail int) error {
	if s.calm.Load() {
		return nil
	}
	if rand.N(interrupt) == 0 {
		s.interrupt()
	}
	if rand.N(fail) == 0 {
		return errChaos
	}
	return nil
}

func (s *chaosStore) Unwrap() evsourcing.EventStore { return s.MemoryStore }

func (s *chaosStore) Head(ctx context.Context) (evsourcing.Mark, error) {
	if err := s.trouble(200, 50); err != nil {
		return evsourcing.Mark{}, err
	}
	return s.MemoryStore.Head(ctx)
}

func (s *chaosStore) Wait(ctx context.Context, after uint64) error {
	if err := s.trouble(200, 50); err != nil {
		return err
	}
	return s.MemoryStore.Wait(ctx, after)
}

func (s *chaosStore) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		for e, err := range s.MemoryStore.Events(ctx, r, f) {
			if err == nil {
				err = s.trouble(20_000, 5_000)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s *chaosStore) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if err := s.trouble(50, 20); err != nil {
		return evsourcing.Checkpoint{}, false, err
	}
	return s.MemoryStore.Checkpoint(ctx, name)
}

func (s *chaosStore) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if s.dead.Load() {
		return errChaos
	}
	if err := s.trouble(500, 100); err != nil {
		return err
	}
	if err := s.MemoryStore.SaveCheckpoint(ctx, name, c); err != nil {
		return err
	}
	return s.trouble(500, 100) // the answer is lost
}

// misbehave fails in one of the ways of a handler, or interrupts, once in n
// calls each.
func misbehave(n int, interrupt func()) error {
	switch rand.N(n) {
	case 0:
		return errSub
	case 1:
		panic("now and then")
	case 2:
		runtime.Goexit()
	case 3:
		interrupt()
	}
	return nil
}

// exitLater is a log that ends the goroutine that asks it, when told to.
type exitLater struct {
	plainLog
	exit atomic.Bool
}

func (l *exitLater) Head(ctx context.Context) (evsourcing.Mark, error) {
	if l.exit.Load() {
		runtime.Goexit()
	}
	return l.plainLog.Head(ctx)
}
