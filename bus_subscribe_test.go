package evsourcing_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rule 1: create, subscribe, listen, close.

// busPointer is an event with pointer methods.
type busPointer struct{ N int }

func (*busPointer) Topic() string { return "pointer" }

// busNumbered is an interface of events.
type busNumbered interface {
	evsourcing.Event
	Number() int
}

type busNumber int

func (busNumber) Topic() string { return "number" }
func (n busNumber) Number() int { return int(n) }

var busSentinels = []error{
	evsourcing.ErrNoTopic, evsourcing.ErrUnknownTopic, evsourcing.ErrDuplicateSubscription,
	evsourcing.ErrListening, evsourcing.ErrNotListening, evsourcing.ErrBusClosed, evsourcing.ErrBusFull,
}

// requireOnly checks that err is the sentinel, and none of the others.
func requireOnly(t *testing.T, err, sentinel error) {
	t.Helper()
	require.Error(t, err)
	for _, s := range busSentinels {
		assert.Equal(t, s == sentinel, errors.Is(err, s), "%v is %v", err, s)
	}
}

func TestBusRefusesBadSubscriptionsWholly(t *testing.T) {
	plain := func(r evsourcing.Reactor) evsourcing.Reactor { return r }
	listen := func(t *testing.T, b *evsourcing.EventBus) { require.NoError(t, b.Listen()) }
	for _, test := range []struct {
		name   string
		before func(t *testing.T, b *evsourcing.EventBus)
		sub    string
		wrap   func(evsourcing.Reactor) evsourcing.Reactor
		topics []string
		want   error // nil: an error that is no sentinel
		says   string
	}{
		{name: "a topic that the name is subscribed to", topics: []string{"fresh", "taken"}, want: evsourcing.ErrDuplicateSubscription, says: "taken"},
		{name: "a topic twice in one call", topics: []string{"fresh", "fresh"}, want: evsourcing.ErrDuplicateSubscription, says: "fresh"},
		{name: "a topic twice under a new name", sub: "new", topics: []string{"fresh", "note", "fresh"}, want: evsourcing.ErrDuplicateSubscription, says: "fresh"},
		{name: "no topic", want: evsourcing.ErrNoTopic, says: "sub"},
		{name: "no topic under a new name", sub: "new", want: evsourcing.ErrNoTopic, says: "new"},
		{
			name: "On an interface brings no topic", want: evsourcing.ErrNoTopic,
			wrap: func(r evsourcing.Reactor) evsourcing.Reactor {
				return evsourcing.On(func(ctx context.Context, _ string, _ busNumbered) error {
					return r.React(ctx, evsourcing.Message{})
				})
			},
		},
		{
			name: "middleware hides the topic of On", want: evsourcing.ErrNoTopic,
			wrap: func(r evsourcing.Reactor) evsourcing.Reactor {
				on := evsourcing.On(func(ctx context.Context, _ string, _ busNote) error {
					return r.React(ctx, evsourcing.Message{})
				})
				return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error { return on.React(ctx, m) })
			},
		},
		{name: "a topic that the codec does not know", topics: []string{"fresh", "unheard-of"}, want: evsourcing.ErrUnknownTopic, says: "unheard-of"},
		{name: "a topic that is not current", topics: []string{"fresh", "former"}, want: evsourcing.ErrUnknownTopic, says: "former"},
		{name: "an empty topic", topics: []string{"fresh", ""}, want: evsourcing.ErrUnknownTopic},
		{name: "after Listen", before: listen, topics: []string{"fresh"}, want: evsourcing.ErrListening, says: "sub"},
		{name: "after Close", before: closeBus, topics: []string{"fresh"}, want: evsourcing.ErrBusClosed, says: "sub"},
		{
			name: "after Listen and Close", topics: []string{"fresh"}, want: evsourcing.ErrBusClosed,
			before: func(t *testing.T, b *evsourcing.EventBus) { listen(t, b); closeBus(t, b) },
		},
		{name: "an invalid name", sub: "a\x00b", topics: []string{"fresh"}, says: "NUL"},
		{name: "a long name", sub: strings.Repeat("x", 1<<20), topics: []string{"fresh"}, says: "xxx..."},
		{
			name: "no reactor", topics: []string{"fresh"}, says: "nil",
			wrap: func(evsourcing.Reactor) evsourcing.Reactor { return nil },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			codec := evsourcing.NewRegistry(busNote{})
			for _, topic := range []string{"fresh", "taken"} {
				require.NoError(t, codec.Register(busTopic(topic)))
			}
			codec.Alias("former", busNote{})
			bus := quietBus(evsourcing.EventBusOptions{Codec: codec})
			var good busRecord
			require.NoError(t, bus.Subscribe("sub", &good, "taken"))
			if test.before != nil {
				test.before(t, bus)
			}
			if test.sub == "" {
				test.sub = "sub"
			}
			if test.wrap == nil {
				test.wrap = plain
			}
			var bad busRecord
			err := bus.Subscribe(test.sub, test.wrap(&bad), test.topics...)
			requireOnly(t, err, test.want)
			assert.ErrorContains(t, err, test.says)
			assert.Less(t, len(err.Error()), 200)
			if test.want == evsourcing.ErrBusClosed {
				return
			}

			// The name is as free as before, and its topics too.
			if test.before == nil {
				if test.sub != "a\x00b" && len(test.sub) < 100 {
					require.NoError(t, bus.Subscribe(test.sub, &good, "fresh"))
				}
				require.NoError(t, bus.Listen())
			}
			publishEach(t, bus, busMessage("fresh", "s", 1), busMessage("taken", "s", 2), busMessage("note", "s", 3))
			closeBus(t, bus)
			assert.Empty(t, bad.all(), "what was refused is not subscribed")
			assert.Contains(t, good.all(), "s 2")
		})
	}
}

// busTopic is an event type whose topic is its value, for registries.
type busTopic string

func (b busTopic) Topic() string { return string(b) }

func TestBusWithoutCodecTakesEveryTopic(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	var r busRecord
	require.NoError(t, bus.Subscribe("sub", &r, "whatever", "else"))
	require.NoError(t, bus.Listen())
	publishEach(t, bus, busMessage("else", "s", 1), busMessage("other", "s", 2))
	closeBus(t, bus)
	assert.Equal(t, []string{"s 1"}, r.all())
}

func TestBusListensOnce(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	require.NoError(t, bus.Listen())
	requireOnly(t, bus.Listen(), evsourcing.ErrListening)
	closeBus(t, bus)
	requireOnly(t, bus.Listen(), evsourcing.ErrBusClosed)

	bus = quietBus(evsourcing.EventBusOptions{})
	closeBus(t, bus)
	requireOnly(t, bus.Listen(), evsourcing.ErrBusClosed)
}

func TestBusOptionsMayBeNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := evsourcing.NewEventBus(nil)
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		require.NoError(t, bus.Publish(t.Context()), "no messages")
		publishEach(t, bus, busMessages("note", "s", 3)...)
		closeBus(t, bus)
		assert.Equal(t, upTo(3), r.of("s"))
	})
}

func TestBusRoutesByTopicToEverySubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		var one, two, both busRecord
		require.NoError(t, bus.Subscribe("one", &one, "1"))
		require.NoError(t, bus.Subscribe("two", &two, "2"))
		require.NoError(t, bus.Subscribe("both", &both, "1", "2"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("1", "s", 1), busMessage("2", "s", 2), busMessage("3", "s", 3))
		synctest.Wait()
		assert.Equal(t, []string{"s 1"}, one.all())
		assert.Equal(t, []string{"s 2"}, two.all())
		assert.Equal(t, []string{"s 1", "s 2"}, both.all())
		closeBus(t, bus)
	})
}

// One name, several topics, each with its own reactor: still one set of lanes.
func TestBusSubscriptionIsOneSetOfLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Concurrency: 1})
		var got []string
		running := 0
		reactor := func(name string) evsourcing.Reactor {
			return evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
				running++ // without a lock: the race detector tells if lanes are not one
				assert.Equal(t, 1, running)
				<-time.After(time.Duration(4-m.Version) * time.Second)
				got = append(got, name+" "+m.Stream.ID)
				running--
				return nil
			})
		}
		require.NoError(t, bus.Subscribe("sub", reactor("first"), "1"))
		require.NoError(t, bus.Subscribe("sub", reactor("second"), "2", "3"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("1", "a", 1), busMessage("2", "a", 2), busMessage("1", "b", 1), busMessage("3", "c", 3))
		closeBus(t, bus)
		assert.Equal(t, []string{"first a", "second a", "first b", "second c"}, got)
	})
}

func TestBusKeepsMessagesUntilListenAndTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 50})
		var r, other busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Subscribe("other", &other, "note"))
		for v := range 10 {
			for _, stream := range []string{"a", "b", "c", "d", "e"} {
				publishEach(t, bus, busMessage("note", stream, v+1))
			}
		}
		synctest.Wait()
		assert.Empty(t, r.all())
		assert.Equal(t, 50, bus.Pending(), "messages, not pairs")
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "a", 11))
		closeBus(t, bus)
		for _, record := range []*busRecord{&r, &other} {
			assert.Equal(t, upTo(11), record.of("a"))
			for _, stream := range []string{"b", "c", "d", "e"} {
				assert.Equal(t, upTo(10), record.of(stream))
			}
		}
	})
}

func TestBusSubscribedAfterPublishingGetsWhatWaits(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	publishEach(t, bus, busMessages("note", "s", 3)...)
	var r busRecord
	require.NoError(t, bus.Subscribe("sub", &r, "note"))
	require.NoError(t, bus.Listen())
	closeBus(t, bus)
	assert.Equal(t, upTo(3), r.of("s"))
}

func TestBusBeforeListenRefusesAtOnceWhenFull(t *testing.T) {
	for _, test := range []struct {
		name    string
		batches []int // sizes; negative: refused
		pending int
	}{
		{name: "one by one", batches: []int{1, 1, 1, -1, -1}, pending: 3},
		{name: "exactly", batches: []int{3, -1}, pending: 3},
		{name: "a batch fits wholly or not at all", batches: []int{2, -2, 1, -1}, pending: 3},
		{name: "a batch larger than the buffer, if there is nothing yet", batches: []int{5, -1}, pending: 5},
		{name: "a batch larger than the buffer, if there is something", batches: []int{1, -5, 2}, pending: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, onFull := range []evsourcing.FullPolicy{evsourcing.WaitWhenFull, evsourcing.DeadLetterWhenFull} {
					var letters busLetters
					bus := quietBus(evsourcing.EventBusOptions{Buffer: 3, OnFull: onFull, DeadLetter: letters.take})
					var r busRecord
					require.NoError(t, bus.Subscribe("sub", &r, "note"))
					version := 0
					var want []int
					for _, n := range test.batches {
						var batch []evsourcing.Message
						for range max(n, -n) {
							version++
							batch = append(batch, busMessage("note", "s", version))
							if n > 0 {
								want = append(want, version)
							}
						}
						start := time.Now()
						err := bus.Publish(t.Context(), batch...)
						assert.Equal(t, start, time.Now())
						if n > 0 {
							require.NoError(t, err)
						} else {
							requireOnly(t, err, evsourcing.ErrNotListening)
						}
					}
					assert.Equal(t, test.pending, bus.Pending())
					require.NoError(t, bus.Listen())
					closeBus(t, bus)
					assert.Equal(t, want, r.of("s"))
					assert.Empty(t, letters.all())
				}
			})
		})
	}
}

func TestBusCopiesThePublishersSlice(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	var r busRecord
	require.NoError(t, bus.Subscribe("sub", &r, "note"))
	msgs := busMessages("note", "s", 2)
	require.NoError(t, bus.Publish(t.Context(), msgs...))
	msgs[0].Version, msgs[1].Version = 17, 18
	require.NoError(t, bus.Listen())
	closeBus(t, bus)
	assert.Equal(t, upTo(2), r.of("s"))
}

func TestBusReactorGetsTheMessageAsPublished(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	var r busRecord
	require.NoError(t, bus.Subscribe("sub", &r, "note"))
	require.NoError(t, bus.Listen())
	m := busMessage("note", "s", 7)
	m.Position, m.Data, m.Tags = 9, []byte("data"), []string{"tag"}
	m.Metadata, m.Time = evsourcing.Metadata{"k": "v"}, time.Unix(5, 0)
	publishEach(t, bus, m)
	closeBus(t, bus)
	assert.Equal(t, []evsourcing.Message{m}, r.messages)
}

func TestBusOnGivesTypedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters busLetters
		bus := quietBus(evsourcing.EventBusOptions{DeadLetter: letters.take, Retry: evsourcing.RetryPolicy{MaxAttempts: 1}})
		var mu sync.Mutex
		var got []string
		add := func(id, what string) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, id+" "+what)
			return nil
		}
		require.NoError(t, bus.Subscribe("value", evsourcing.On(func(_ context.Context, id string, e busNote) error {
			return add(id, "value "+e.Text)
		})))
		require.NoError(t, bus.Subscribe("pointer", evsourcing.On(func(_ context.Context, id string, e *busPointer) error {
			return add(id, "pointer "+strings.Repeat("x", e.N))
		})))
		require.NoError(t, bus.Subscribe("pointer to value", evsourcing.On(func(_ context.Context, id string, e *busNote) error {
			return add(id, "pointer to value "+e.Text)
		})))
		require.NoError(t, bus.Subscribe("interface", evsourcing.On(func(_ context.Context, id string, e busNumbered) error {
			return add(id, "interface "+strings.Repeat("x", e.Number()))
		}), "number", "note"))
		require.NoError(t, bus.Subscribe("any", evsourcing.On(func(_ context.Context, id string, e evsourcing.Event) error {
			return add(id, "any "+e.Topic())
		}), "number"))
		require.NoError(t, bus.Listen())
		number := func(topic string, e evsourcing.Event) {
			m := busMessage(topic, "s", 1)
			m.Event = e
			publishEach(t, bus, m)
			synctest.Wait()
			slices.Sort(got)
		}

		number("note", busNote{Text: "v"})
		assert.Equal(t, []string{"s pointer to value v", "s value v"}, got)
		got = nil
		number("note", &busNote{Text: "p"})
		assert.Equal(t, []string{"s pointer to value p", "s value p"}, got)
		got = nil
		number("pointer", &busPointer{N: 2})
		assert.Equal(t, []string{"s pointer xx"}, got)
		got = nil
		n := busNumber(3)
		number("number", n)
		number("number", &n)
		assert.Equal(t, []string{"s any number", "s any number", "s interface xxx", "s interface xxx"}, got)

		require.Len(t, letters.all(), 2, "the two notes are no busNumbered")
		got, letters.list = nil, nil
		number("note", busNumber(1))
		number("note", nil)
		for i, d := range letters.all() {
			assert.ErrorContains(t, d.Err, `topic "note"`, i)
		}
		assert.Len(t, letters.all(), 5, "a wrong type is an error of value and pointer to value, nil of interface too")
		closeBus(t, bus)
	})
}

func TestBusOnNeedsAFunction(t *testing.T) {
	assert.Panics(t, func() { evsourcing.On[busNote](nil) })
}

// Middleware is a function from Reactor to Reactor; given the topic, all works.
func TestBusMiddlewareWrapsReactors(t *testing.T) {
	var log []string
	logging := func(name string) func(evsourcing.Reactor) evsourcing.Reactor {
		return func(next evsourcing.Reactor) evsourcing.Reactor {
			return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				log = append(log, name+" before")
				defer func() { log = append(log, name+" after") }()
				return next.React(ctx, m)
			})
		}
	}
	on := evsourcing.On(func(_ context.Context, _ string, e busNote) error {
		log = append(log, e.Text)
		return nil
	})
	bus := quietBus(evsourcing.EventBusOptions{})
	require.NoError(t, bus.Subscribe("sub", logging("outer")(logging("inner")(on)), "note"))
	require.NoError(t, bus.Listen())
	publishEach(t, bus, busMessage("note", "s", 1))
	closeBus(t, bus)
	assert.Equal(t, []string{"outer before", "inner before", "s", "inner after", "outer after"}, log)
}

// A typed reactor would fail on every message of another topic.
func TestBusRefusesATypedReactorOnAnotherTopic(t *testing.T) {
	bus := evsourcing.NewEventBus(nil)
	reactor := evsourcing.On(func(context.Context, string, Sailed) error { return nil })
	err := bus.Subscribe("typed", reactor, Moored{}.Topic())
	require.ErrorContains(t, err, `"typed" to "vessel.moored": its reactor is for events of topic ["vessel.sailed"]`)
	require.NoError(t, bus.Subscribe("typed", reactor, Sailed{}.Topic()))
}
