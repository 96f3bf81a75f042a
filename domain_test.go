package evsourcing_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// The domain of the tests: an aircraft, and a hangar where its events do not
// belong.

type Aircraft struct {
	evsourcing.Base
	Flight   string
	Flying   bool
	Airport  string
	Hours    int
	Findings []string
	Inits    int // how often Init was called
}

func (a *Aircraft) Init() {
	a.Airport = "<unknown>"
	a.Inits++
}

type Scheduled struct {
	Flight string `json:"flight"`
}

func (Scheduled) Topic() string         { return "aircraft.scheduled" }
func (e Scheduled) ApplyTo(a *Aircraft) { a.Flight = e.Flight }

type TakenOff struct{}

func (TakenOff) Topic() string       { return "aircraft.taken_off" }
func (TakenOff) ApplyTo(a *Aircraft) { a.Flying = true }

type Landed struct {
	Airport string `json:"airport"`
}

func (Landed) Topic() string         { return "aircraft.landed" }
func (e Landed) ApplyTo(a *Aircraft) { a.Flying, a.Airport = false, e.Airport }

// Inspected is an event that is a pointer.
type Inspected struct {
	Hours    int      `json:"hours"`
	Findings []string `json:"findings,omitempty"`
}

func (*Inspected) Topic() string { return "aircraft.inspected" }
func (e *Inspected) ApplyTo(a *Aircraft) {
	a.Hours += e.Hours
	a.Findings = append(a.Findings, e.Findings...)
}

// Diverted is an event with tags.
type Diverted struct {
	Airport string `json:"airport"`
	Reason  string `json:"reason"`
}

func (Diverted) Topic() string         { return "aircraft.diverted" }
func (e Diverted) Tags() []string      { return []string{"airport:" + e.Airport, "reason:" + e.Reason} }
func (e Diverted) ApplyTo(a *Aircraft) { a.Airport = e.Airport }

// Refuelled does not encode if its amount is not a number.
type Refuelled struct {
	Tons float64 `json:"tons"`
}

func (Refuelled) Topic() string     { return "aircraft.refuelled" }
func (Refuelled) ApplyTo(*Aircraft) {}

// Repainted is an event that the codec of the tests does not know.
type Repainted struct{}

func (Repainted) Topic() string     { return "aircraft.repainted" }
func (Repainted) ApplyTo(*Aircraft) {}

// Crashed takes the topic of another event.
type Crashed struct{}

func (Crashed) Topic() string       { return Landed{}.Topic() }
func (Crashed) ApplyTo(a *Aircraft) { a.Flying = false }

// Hangar is another aggregate; it has no Init.
type Hangar struct {
	evsourcing.Base
	Clean bool
}

type Swept struct{}

func (Swept) Topic() string     { return "hangar.swept" }
func (Swept) ApplyTo(h *Hangar) { h.Clean = true }

var (
	ErrOnGround = errors.New("the aircraft is on the ground")
	ErrFlying   = errors.New("the aircraft is flying")
)

func TakeOff(a *Aircraft) (evsourcing.EventOf[*Aircraft], error) {
	if a.Flying {
		return nil, ErrFlying
	}
	return TakenOff{}, nil
}

func Land(at string) evsourcing.Command[*Aircraft] {
	return func(a *Aircraft) (evsourcing.EventOf[*Aircraft], error) {
		if !a.Flying {
			return nil, ErrOnGround
		}
		return Landed{Airport: at}, nil
	}
}

// newCodec returns a registry of all events but Repainted and Crashed.
func newCodec() *evsourcing.Registry {
	return evsourcing.NewRegistry(Scheduled{}, TakenOff{}, Landed{}, &Inspected{}, Diverted{}, Refuelled{}, Swept{})
}

// newAircraft returns a repository of aircraft.
func newAircraft(store evsourcing.EventStore, opts *evsourcing.RepositoryOptions) *evsourcing.Repository[Aircraft] {
	return evsourcing.NewRepository[Aircraft]("aircraft", store, newCodec(), opts)
}

func aircraftStream(id string) evsourcing.StreamID {
	return evsourcing.StreamID{Type: "aircraft", ID: id}
}

// record returns a function for transactions that records the events.
func record(events ...evsourcing.EventOf[*Aircraft]) func(*Aircraft) error {
	return func(a *Aircraft) error {
		evsourcing.Record(a, events...)
		return nil
	}
}

// history returns what the store has of an aircraft.
func history(t *testing.T, store evsourcing.EventStore, id string) (events []evsourcing.StoredEvent) {
	t.Helper()
	for e, err := range store.Load(t.Context(), aircraftStream(id), evsourcing.Range{}) {
		require.NoError(t, err)
		events = append(events, e)
	}
	return events
}

// topicsOf returns the last parts of the events' topics.
func topicsOf(events []evsourcing.StoredEvent) (topics []string) {
	for _, e := range events {
		topics = append(topics, e.Topic[strings.LastIndexByte(e.Topic, '.')+1:])
	}
	return topics
}

// given stores events, one append each, and returns the aircraft's history.
func given(t *testing.T, store evsourcing.EventStore, id string, events ...evsourcing.EventOf[*Aircraft]) []evsourcing.StoredEvent {
	t.Helper()
	repo := newAircraft(store, nil)
	for _, e := range events {
		_, err := repo.CreateOrUpdate(t.Context(), id, record(e))
		require.NoError(t, err)
	}
	return history(t, store, id)
}

// headOf returns the position of the store's last event.
func headOf(t *testing.T, store evsourcing.EventStore) uint64 {
	t.Helper()
	log, ok := evsourcing.Capability[evsourcing.Log](store)
	require.True(t, ok)
	head, err := log.Head(t.Context())
	require.NoError(t, err)
	return head.Position
}

// recorder is a Publisher, and a Reactor, that keeps what it gets.
type recorder struct {
	mu       sync.Mutex
	messages []evsourcing.Message
	fail     error // what Publish returns, if not nil
}

func (r *recorder) Publish(_ context.Context, msgs ...evsourcing.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.messages = append(r.messages, msgs...)
	return nil
}

func (r *recorder) React(ctx context.Context, m evsourcing.Message) error { return r.Publish(ctx, m) }

// got returns the messages so far.
func (r *recorder) got() []evsourcing.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// versions returns the versions of the messages so far.
func (r *recorder) versions() (versions []uint64) {
	for _, m := range r.got() {
		versions = append(versions, m.Version)
	}
	return versions
}

// logLines is a place for a logger to write to.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// lines returns what was logged so far.
func (l *logLines) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		lines = append(lines, fields)
	}
	return lines
}

// badNames returns names that no stream, topic or command may have, and what is
// wrong with them.
func badNames() map[string]string {
	return map[string]string{
		"":           "is empty",
		"DM\x002018": "has a NUL byte",
		"DM\xff2018": "is not valid UTF-8",
		longName:     "has 513 bytes, over the limit of 512",
	}
}

// goodNames returns names that are odd but allowed.
func goodNames() []string {
	return []string{
		" ", "/", "a/b", "DM2018 \n'\"%;--", "航空機✈️", strings.Repeat("x", evsourcing.MaxNameSize),
	}
}

// longName is a byte too long for a name.
var longName = strings.Repeat("x", evsourcing.MaxNameSize+1)
