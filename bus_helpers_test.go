package evsourcing_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the tests of the bus share. Most of them run in a testing/synctest
// bubble: its clock moves when every goroutine waits, synctest.Wait returns when
// all others do, and a goroutine that is left over fails the test.

// busNote is the event of most messages.
type busNote struct {
	Text string `json:"text,omitempty"`
}

func (busNote) Topic() string { return "note" }

// busMessage returns a message about a version of a stream.
func busMessage(topic, stream string, version int) evsourcing.Message {
	return evsourcing.Message{
		StoredEvent: evsourcing.StoredEvent{
			ID:      uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, topic, " ", stream, " ", version)),
			Stream:  evsourcing.StreamID{Type: "bus", ID: stream},
			Version: uint64(version),
			Topic:   topic,
		},
		Event: busNote{Text: stream},
	}
}

// busMessages returns messages about n versions of a stream, from 1.
func busMessages(topic, stream string, n int) []evsourcing.Message {
	msgs := make([]evsourcing.Message, n)
	for i := range msgs {
		msgs[i] = busMessage(topic, stream, i+1)
	}
	return msgs
}

// quietBus returns a bus that does not log unless opts say where.
func quietBus(opts evsourcing.EventBusOptions) *evsourcing.EventBus {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return evsourcing.NewEventBus(&opts)
}

// publishEach publishes the messages one by one.
func publishEach(t *testing.T, bus *evsourcing.EventBus, msgs ...evsourcing.Message) {
	t.Helper()
	for _, m := range msgs {
		require.NoError(t, bus.Publish(t.Context(), m))
	}
}

// closeBus closes the bus, which must leave nothing undelivered.
func closeBus(t *testing.T, bus *evsourcing.EventBus) {
	t.Helper()
	require.NoError(t, bus.Close(context.Background()))
	assert.Zero(t, bus.Pending())
}

// requireUndelivered checks that err says that n messages are undelivered, and
// why.
func requireUndelivered(t *testing.T, err error, n int, why error) {
	t.Helper()
	var u *evsourcing.UndeliveredError
	require.ErrorAs(t, err, &u)
	require.Equal(t, n, u.Count)
	require.ErrorIs(t, err, why)
	require.ErrorContains(t, err, fmt.Sprint(n))
}

// busRecord is a reactor that remembers what it was given.
type busRecord struct {
	mu       sync.Mutex
	messages []evsourcing.Message
	times    []time.Time
}

func (r *busRecord) React(_ context.Context, m evsourcing.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
	r.times = append(r.times, time.Now())
	return nil
}

func (r *busRecord) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.messages)
}

// of returns the versions of one stream in the order in which they came.
func (r *busRecord) of(stream string) (versions []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		if m.Stream.ID == stream {
			versions = append(versions, int(m.Version))
		}
	}
	return versions
}

// all returns everything as "stream version".
func (r *busRecord) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []string{}
	for _, m := range r.messages {
		list = append(list, fmt.Sprint(m.Stream.ID, " ", m.Version))
	}
	return list
}

// upTo returns 1 to n.
func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

// busGate is a reactor that holds every message until it is let through, or its
// context ends.
type busGate struct {
	busRecord
	tokens  chan struct{}
	waiting atomic.Int64
}

func newBusGate() *busGate { return &busGate{tokens: make(chan struct{})} }

func (g *busGate) React(ctx context.Context, m evsourcing.Message) error {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.tokens:
		return g.busRecord.React(ctx, m)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// let lets n messages through, one after the other.
func (g *busGate) let(n int) {
	for range n {
		g.tokens <- struct{}{}
	}
}

// open lets all messages through from now on.
func (g *busGate) open() { close(g.tokens) }

// busLetters is a DeadLetter function that remembers what it was given.
type busLetters struct {
	mu   sync.Mutex
	list []evsourcing.DeadLetter
}

func (l *busLetters) take(_ context.Context, d evsourcing.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, d)
	return nil
}

func (l *busLetters) all() []evsourcing.DeadLetter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]evsourcing.DeadLetter(nil), l.list...)
}

// busLog is a slog.Handler that remembers records.
type busLog struct {
	mu      sync.Mutex
	records []slog.Record
}

func (l *busLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *busLog) WithAttrs([]slog.Attr) slog.Handler       { panic("not expected") }
func (l *busLog) WithGroup(string) slog.Handler            { panic("not expected") }

func (l *busLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r.Clone())
	return nil
}

// find returns the attributes of the records with the level whose message has
// the word.
func (l *busLog) find(level slog.Level, word string) (found []map[string]slog.Value) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r.Level != level || !strings.Contains(r.Message, word) {
			continue
		}
		attrs := map[string]slog.Value{}
		r.Attrs(func(a slog.Attr) bool {
			attrs[a.Key] = a.Value
			return true
		})
		found = append(found, attrs)
	}
	return found
}

// texts returns the messages of all records.
func (l *busLog) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []string{}
	for _, r := range l.records {
		list = append(list, r.Level.String()+" "+r.Message)
	}
	return list
}

// after returns a channel that gets the result of f, which runs in a goroutine.
func after[T any](f func() T) <-chan T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	return result
}

// answered reports whether the channel has something.
func answered[T any](c <-chan T) bool { return len(c) > 0 }

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// busScale picks how much of something a test does: all of it, or less where
// time is short.
func busScale(full, race, short int) int {
	switch {
	case testing.Short():
		return short
	case raceEnabled:
		return race
	}
	return full
}
