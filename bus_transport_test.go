package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A bus over a transport: its lanes, retries and life cycle are the same, and
// messages are bytes on the way.

// transportBus returns a bus over the transport.
func transportBus(transport evsourcing.Transport, opts evsourcing.EventBusOptions) *evsourcing.EventBus {
	opts.Transport = transport
	if opts.Codec == nil && opts.MessageEncoder == nil {
		opts.Codec = evsourcing.NewRegistry(busNote{})
	}
	return quietBus(opts)
}

// full returns messages as a store makes them.
func full(t *testing.T, msgs ...evsourcing.Message) []evsourcing.Message {
	t.Helper()
	codec := evsourcing.NewRegistry(busNote{})
	for i := range msgs {
		m := &msgs[i]
		topic := m.Topic
		require.NoError(t, codec.Encode(t.Context(), &m.StoredEvent, m.Event))
		m.Topic, m.Time = topic, time.Unix(1_700_000_000, 0).UTC()
	}
	return msgs
}

func TestBusOverTransportNeedsACodecOrAnEncoder(t *testing.T) {
	assert.Panics(t, func() {
		evsourcing.NewEventBus(&evsourcing.EventBusOptions{Transport: evsourcing.NewChannelTransport()})
	})
}

func TestBusOverTransportDeliversWhatWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{})
		var one, two busRecord
		require.NoError(t, bus.Subscribe("one", &one, "note"))
		require.NoError(t, bus.Subscribe("two", &two, "note"))
		require.NoError(t, bus.Listen())
		m := full(t, busMessage("note", "s", 3))[0]
		m.Position, m.Tags, m.Metadata = 17, []string{"tag"}, evsourcing.Metadata{"user": "ü", "es.command_id": "c"}
		publishEach(t, bus, m)
		synctest.Wait()
		want := []evsourcing.Message{m}
		assert.Equal(t, want, one.messages)
		assert.Equal(t, want, two.messages)
		closeBus(t, bus)
	})
}

func TestBusOverTransportKeepsOrderAndSharesBetweenBuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 30
		transport := evsourcing.NewChannelTransport()
		streams := busStreams(20)
		var buses []*evsourcing.EventBus
		shared := newBusInOrder(t, "shared", streams, func(context.Context, evsourcing.Message) error {
			<-time.After(rand.N(10 * time.Millisecond))
			if rand.N(10) == 0 {
				return errBus
			}
			return nil
		})
		var counts [3]atomic.Int64
		own := make([]*busInOrder, 3)
		for i := range 3 {
			bus := transportBus(transport, evsourcing.EventBusOptions{Buffer: 5, Retry: evsourcing.RetryPolicy{MaxAttempts: 20}})
			require.NoError(t, bus.Subscribe("shared", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				err := shared.React(ctx, m)
				if err == nil {
					counts[i].Add(1)
				}
				return err
			}), "note"))
			own[i] = newBusInOrder(t, fmt.Sprint("own ", i), streams, nil)
			require.NoError(t, bus.Subscribe(fmt.Sprint("own ", i), own[i], "note"))
			require.NoError(t, bus.Listen())
			buses = append(buses, bus)
		}
		for i, stream := range streams {
			go func() {
				for _, m := range full(t, busMessages("note", stream, events)...) {
					assert.NoError(t, buses[i%3].Publish(context.Background(), m))
					<-time.After(rand.N(time.Millisecond))
				}
			}()
		}
		<-time.After(time.Hour)
		assert.Equal(t, int64(len(streams)*events), shared.handled.Load(), "one group: each message once")
		for i, bus := range buses {
			assert.Equal(t, int64(len(streams)*events), own[i].handled.Load(), "a group of its own: every message")
			assert.Positive(t, counts[i].Load(), "every bus has its share")
			closeBus(t, bus)
		}
	})
}

// Messages sent while no bus receives wait for the group.
func TestBusOverTransportIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := evsourcing.NewChannelTransport()
		var r busRecord
		listener := func() *evsourcing.EventBus {
			bus := transportBus(transport, evsourcing.EventBusOptions{})
			require.NoError(t, bus.Subscribe("sub", &r, "note"))
			require.NoError(t, bus.Listen())
			return bus
		}
		sender := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, sender.Listen())
		msgs := full(t, busMessages("note", "s", 6)...)
		first := listener()
		publishEach(t, sender, msgs[:2]...)
		synctest.Wait()
		closeBus(t, first)
		publishEach(t, sender, msgs[2:4]...)
		synctest.Wait()
		assert.Equal(t, upTo(2), r.of("s"))
		second := listener()
		publishEach(t, sender, msgs[4:]...)
		synctest.Wait()
		assert.Equal(t, upTo(6), r.of("s"))
		closeBus(t, second)
		closeBus(t, sender)
	})
}

func TestBusOverTransportSendsWhatWasPublishedBeforeListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{Buffer: 3})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		msgs := full(t, busMessages("note", "s", 5)...)
		publishEach(t, bus, msgs[:3]...)
		requireOnly(t, bus.Publish(t.Context(), msgs[3]), evsourcing.ErrNotListening)
		assert.Equal(t, 3, bus.Pending())
		require.NoError(t, bus.Listen())
		requireOnly(t, bus.Listen(), evsourcing.ErrListening)
		requireOnly(t, bus.Subscribe("other", &r, "note"), evsourcing.ErrListening)
		publishEach(t, bus, msgs[3:]...)
		synctest.Wait()
		assert.Equal(t, upTo(5), r.of("s"))
		closeBus(t, bus)
	})
}

// failingTransport fails where it is told to.
type failingTransport struct {
	evsourcing.Transport
	join, send func(n int) error // n counts calls from 1
	joins      int
	sends      int
	receive    func() error
	open       int // receivers
}

func (f *failingTransport) Join(ctx context.Context, g evsourcing.Group) (evsourcing.Receiver, error) {
	f.joins++
	if f.join != nil {
		if err := f.join(f.joins); err != nil {
			return nil, err
		}
	}
	r, err := f.Transport.Join(ctx, g)
	if err == nil {
		f.open++
	}
	return &failingReceiver{r, f}, err
}

func (f *failingTransport) Send(ctx context.Context, envelopes ...evsourcing.Envelope) error {
	f.sends++
	if f.send != nil {
		if err := f.send(f.sends); err != nil {
			return err
		}
	}
	return f.Transport.Send(ctx, envelopes...)
}

type failingReceiver struct {
	evsourcing.Receiver
	transport *failingTransport
}

func (r *failingReceiver) Receive(ctx context.Context) (evsourcing.Delivery, error) {
	if r.transport.receive != nil {
		if err := r.transport.receive(); err != nil {
			return nil, err
		}
	}
	return r.Receiver.Receive(ctx)
}

func (r *failingReceiver) Close(ctx context.Context) error {
	r.transport.open--
	return r.Receiver.Close(ctx)
}

func TestBusOverTransportListenFailsWhenAGroupCannotBeJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := true
		transport := &failingTransport{Transport: evsourcing.NewChannelTransport(), join: func(n int) error {
			if n == 2 && refuse {
				return errBus
			}
			return nil
		}}
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, bus.Subscribe("first", &r, "note"))
		require.NoError(t, bus.Subscribe("second", &r, "note"))
		msgs := full(t, busMessages("note", "s", 2)...)
		publishEach(t, bus, msgs[0])
		err := bus.Listen()
		require.ErrorIs(t, err, errBus)
		assert.ErrorContains(t, err, `"second"`)
		assert.Zero(t, transport.open, "those joined are left")
		assert.Equal(t, 1, bus.Pending())

		// It does not listen, so it can be repaired, and Listen called again.
		require.NoError(t, bus.Subscribe("third", &r, "note"))
		publishEach(t, bus, msgs[1])
		refuse = false
		require.NoError(t, bus.Listen())
		assert.Equal(t, 3, transport.open)
		synctest.Wait()
		assert.Equal(t, 6, r.count())
		closeBus(t, bus)
		assert.Zero(t, transport.open)
	})
}

func TestBusOverTransportListenFailsWhenWhatWaitsCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &failingTransport{Transport: evsourcing.NewChannelTransport(), send: func(n int) error {
			if n == 1 {
				return errBus
			}
			return nil
		}}
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		publishEach(t, bus, full(t, busMessages("note", "s", 2)...)...)
		require.ErrorIs(t, bus.Listen(), errBus)
		assert.Equal(t, 2, bus.Pending())
		assert.Zero(t, transport.open)
		require.NoError(t, bus.Listen())
		synctest.Wait()
		assert.Equal(t, upTo(2), r.of("s"))
		closeBus(t, bus)

		transport.sends = 0
		bus = transportBus(transport, evsourcing.EventBusOptions{})
		publishEach(t, bus, full(t, busMessages("note", "s", 2)...)...)
		require.ErrorIs(t, bus.Listen(), errBus)
		requireUndelivered(t, bus.Close(t.Context()), 2, evsourcing.ErrNotListening)
	})
}

func TestBusOverTransportPublishFailsWhenSendingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &failingTransport{Transport: evsourcing.NewChannelTransport(), send: func(int) error { return errBus }}
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, bus.Listen())
		err := bus.Publish(t.Context(), full(t, busMessage("note", "s", 1))...)
		require.ErrorIs(t, err, errBus)
		assert.Zero(t, bus.Pending())

		accounts := busAccounts(bus, evsourcing.NewMemoryStore())
		err = busWrite(t.Context(), accounts, "a")
		require.ErrorIs(t, err, evsourcing.ErrNotPublished)
		require.ErrorIs(t, err, errBus)
		a, err := accounts.Load(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, 1, a.Notes, "it is stored")
		closeBus(t, bus)
	})
}

// brokenEncoder fails to encode or decode messages whose topic says so.
type brokenEncoder struct{ badID atomic.Bool }

func (e *brokenEncoder) EncodeMessage(m evsourcing.Message) ([]byte, error) {
	if m.Topic == "unencodable" {
		return nil, errBus
	}
	return []byte(m.Topic + " " + m.Stream.ID + " " + fmt.Sprint(m.Version)), nil
}

func (e *brokenEncoder) DecodeMessage(data []byte) (evsourcing.Message, error) {
	var topic, stream string
	var version int
	if _, err := fmt.Sscan(string(data), &topic, &stream, &version); err != nil {
		return evsourcing.Message{}, err
	}
	switch topic {
	case "undecodable":
		return evsourcing.Message{}, errBus
	case "panic":
		panic(errBus)
	}
	m := busMessage(topic, stream, version)
	if e.badID.Load() {
		m.ID = uuid.Nil
	}
	return m, nil
}

func TestBusOverTransportPublishesNothingOfABatchThatDoesNotEncode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{MessageEncoder: &brokenEncoder{}})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note", "unencodable"))
		require.NoError(t, bus.Listen())
		err := bus.Publish(t.Context(), busMessage("note", "s", 1), busMessage("unencodable", "s", 2))
		require.ErrorIs(t, err, errBus)
		assert.ErrorContains(t, err, "unencodable")
		publishEach(t, bus, busMessage("note", "s", 3))
		synctest.Wait()
		assert.Equal(t, []string{"s 3"}, r.all())
		closeBus(t, bus)
	})
}

func TestBusOverTransportDeadLettersWhatDoesNotDecode(t *testing.T) {
	for _, test := range []struct {
		name, topic string
		want        error
		foreign     bool // an ID that is no UUID
	}{
		{name: "a decoder's error", topic: "undecodable", want: errBus},
		{name: "a decoder's panic", topic: "panic", want: errBus},
		{name: "a topic that nobody reacts to", topic: "stranger", want: evsourcing.ErrUnknownTopic},
		{name: "foreign IDs", topic: "undecodable", want: errBus, foreign: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var letters busLetters
				var log busLog
				transport := evsourcing.NewChannelTransport()
				bus := transportBus(transport, evsourcing.EventBusOptions{
					MessageEncoder: &brokenEncoder{}, DeadLetter: letters.take, Logger: slog.New(&log),
				})
				var r busRecord
				require.NoError(t, bus.Subscribe("sub", &r, "note"))
				require.NoError(t, bus.Listen())
				start := time.Now()
				for v := range 3 {
					bad := busMessage("note", "s", v)
					bad.Topic = test.topic
					id := bad.ID.String()
					if test.foreign {
						id = fmt.Sprint("foreign-", v)
					}
					require.NoError(t, transport.Send(t.Context(), evsourcing.Envelope{
						ID: id, Key: bad.Stream.String(), Topic: "note", Header: evsourcing.Metadata{"user": "u"},
						Data: fmt.Append(nil, test.topic, " s ", v),
					}))
				}
				publishEach(t, bus, busMessage("note", "s", 7))
				synctest.Wait()
				assert.Equal(t, start, time.Now(), "it is not tried again")
				assert.Equal(t, []string{"s 7"}, r.all())
				require.Len(t, letters.all(), 3)
				ids := map[uuid.UUID]bool{}
				for v, d := range letters.all() {
					require.ErrorIs(t, d.Err, test.want)
					assert.Equal(t, "sub", d.Subscription)
					assert.Equal(t, 1, d.Attempts)
					assert.Equal(t, "note", d.Message.Topic, "the envelope's")
					assert.Equal(t, evsourcing.Metadata{"user": "u"}, d.Message.Metadata)
					ids[d.Message.ID] = true
					if !test.foreign {
						assert.Equal(t, busMessage("note", "s", v).ID, d.Message.ID)
					}
				}
				assert.Len(t, ids, 3)
				assert.Len(t, log.find(slog.LevelError, "DeadLetter"), 3)
				closeBus(t, bus)
			})
		})
	}
}

func TestBusOverTransportDeadLettersWhatTheDefaultEncoderRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"no JSON":          "\xff",
		"an unknown topic": `{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","type":"bus","stream":"s","version":1,"topic":"unheard-of"}`,
		"a corrupt event":  `{"topic":"note","content_type":"application/json","data":"e30x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var letters busLetters
				transport := evsourcing.NewChannelTransport()
				bus := transportBus(transport, evsourcing.EventBusOptions{DeadLetter: letters.take})
				var r busRecord
				require.NoError(t, bus.Subscribe("sub", &r, "note"))
				require.NoError(t, bus.Listen())
				require.NoError(t, transport.Send(t.Context(), evsourcing.Envelope{ID: "1", Topic: "note", Data: []byte(data)}))
				publishEach(t, bus, full(t, busMessage("note", "s", 2))...)
				synctest.Wait()
				require.Len(t, letters.all(), 1)
				require.Error(t, letters.all()[0].Err)
				assert.Equal(t, []string{"s 2"}, r.all())
				closeBus(t, bus)
			})
		})
	}
}

func TestBusOverTransportGivesMessagesWithoutIDThatOfTheEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		encoder := &brokenEncoder{}
		encoder.badID.Store(true)
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{MessageEncoder: encoder})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 3)...)
		synctest.Wait()
		assert.Equal(t, upTo(3), r.of("s"), "none is taken for the other delivered again")
		assert.Equal(t, busMessage("note", "s", 1).ID, r.messages[0].ID)
		closeBus(t, bus)
	})
}

// A DeadLetter function that blocks, panics or exits while it is given what does
// not decode stops neither the receiver nor Close.
func TestBusOverTransportSurvivesDeadLetterOfWhatDoesNotDecode(t *testing.T) {
	for _, exit := range []func(){func() { panic("no") }, runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int64
			bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{
				MessageEncoder: &brokenEncoder{},
				DeadLetter: func(context.Context, evsourcing.DeadLetter) error {
					calls.Add(1)
					exit()
					return nil
				},
			})
			var r busRecord
			require.NoError(t, bus.Subscribe("sub", &r, "note", "undecodable"))
			require.NoError(t, bus.Listen())
			publishEach(t, bus, busMessage("undecodable", "s", 1), busMessage("note", "s", 2), busMessage("undecodable", "t", 1), busMessage("note", "u", 1))
			<-time.After(time.Minute)
			assert.Equal(t, int64(2), calls.Load())
			assert.ElementsMatch(t, []string{"s 2", "u 1"}, r.all())
			closeBus(t, bus)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{
			MessageEncoder: &brokenEncoder{},
			DeadLetter: func(context.Context, evsourcing.DeadLetter) error {
				<-release
				return nil
			},
		})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note", "undecodable"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("undecodable", "blocks", 1))
		for _, stream := range busStreams(50) {
			publishEach(t, bus, busMessage("note", stream, 1))
		}
		synctest.Wait()
		assert.Greater(t, r.count(), 20, "its lane waits, no other does")
		left := bus.Pending()
		assert.Positive(t, left)
		start := time.Now()
		requireUndelivered(t, bus.Close(within(t, time.Second)), left, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		close(release)
	})
}

func TestBusOverTransportRetriesAndDeadLettersLikeAnyBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters busLetters
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{
			DeadLetter: letters.take, Retry: evsourcing.RetryPolicy{MaxAttempts: 3, InitialInterval: time.Hour, MaxInterval: time.Hour},
		})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			_ = r.React(ctx, m)
			if m.Version == 1 {
				return errBus
			}
			return nil
		}), "note"))
		require.NoError(t, bus.Listen())
		start := time.Now()
		publishEach(t, bus, full(t, busMessages("note", "s", 2)...)...)
		for bus.Pending() == 0 {
			synctest.Wait()
		}
		<-time.After(3 * time.Hour)
		assert.Equal(t, []int{1, 1, 1, 2}, r.of("s"), "extended meanwhile, so nothing is delivered again")
		assert.GreaterOrEqual(t, r.times[2].Sub(start), time.Hour)
		require.Len(t, letters.all(), 1)
		assert.Equal(t, 3, letters.all()[0].Attempts)
		closeBus(t, bus)
	})
}

// countingTransport counts what is said about deliveries, and can deliver again
// what is settled or in flight.
type countingTransport struct {
	*evsourcing.ChannelTransport
	again                func(e *evsourcing.Envelope) int // copies that come with an envelope
	acks, nacks, extends atomic.Int64
	deaf                 atomic.Bool // it does not hear Ack
}

type countingReceiver struct {
	evsourcing.Receiver
	t    *countingTransport
	more []evsourcing.Delivery
}

type countingDelivery struct {
	evsourcing.Delivery
	t *countingTransport
}

func (c *countingTransport) Join(ctx context.Context, g evsourcing.Group) (evsourcing.Receiver, error) {
	r, err := c.ChannelTransport.Join(ctx, g)
	return &countingReceiver{Receiver: r, t: c}, err
}

func (r *countingReceiver) Receive(ctx context.Context) (evsourcing.Delivery, error) {
	if len(r.more) > 0 {
		d := r.more[0]
		r.more = r.more[1:]
		return d, nil
	}
	d, err := r.Receiver.Receive(ctx)
	if err == nil {
		d = &countingDelivery{d, r.t}
		if r.t.again != nil {
			for range r.t.again(d.Envelope()) {
				r.more = append(r.more, d)
			}
		}
	}
	return d, err
}

func (d *countingDelivery) Ack(ctx context.Context) error {
	d.t.acks.Add(1)
	if d.t.deaf.Load() {
		return errBus
	}
	return d.Delivery.Ack(ctx)
}

func (d *countingDelivery) Nack(ctx context.Context, after time.Duration) error {
	d.t.nacks.Add(1)
	return d.Delivery.Nack(ctx, after)
}

func (d *countingDelivery) Extend(ctx context.Context) error {
	d.t.extends.Add(1)
	return d.Delivery.Extend(ctx)
}

func TestBusOverTransportDropsWhatItHandlesOrHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &countingTransport{ChannelTransport: evsourcing.NewChannelTransport(), again: func(*evsourcing.Envelope) int { return 2 }}
		bus := transportBus(transport, evsourcing.EventBusOptions{Buffer: 4})
		var r busRecord
		slow := evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			<-time.After(time.Second)
			return r.React(ctx, m)
		})
		require.NoError(t, bus.Subscribe("slow", slow, "note"))
		require.NoError(t, bus.Subscribe("fast", &r, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessages("note", "s", 50)...)...)
		<-time.After(time.Hour)
		assert.Equal(t, 100, r.count())
		assert.Zero(t, bus.Pending())
		closeBus(t, bus)
	})
}

// A broker that misses every Ack delivers again and again.
func TestBusOverTransportSurvivesLostAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log busLog
		transport := &countingTransport{ChannelTransport: evsourcing.NewChannelTransport()}
		transport.deaf.Store(true)
		bus := transportBus(transport, evsourcing.EventBusOptions{Buffer: 4, Logger: slog.New(&log)})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessages("note", "s", 4)...)...)
		<-time.After(5 * time.Minute)
		assert.Equal(t, upTo(4), r.of("s"), "handled once")
		assert.Greater(t, transport.acks.Load(), int64(8), "and acknowledged again")
		assert.NotEmpty(t, log.find(slog.LevelWarn, "acknowledging"))
		transport.deaf.Store(false)
		<-time.After(5 * time.Minute)
		acks := transport.acks.Load()
		<-time.After(5 * time.Minute)
		assert.Equal(t, acks, transport.acks.Load())
		closeBus(t, bus)
	})
}

func TestBusOverTransportExtendsWhileItHandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &countingTransport{ChannelTransport: evsourcing.NewChannelTransport()}
		var r busRecord
		var buses []*evsourcing.EventBus
		for range 2 {
			bus := transportBus(transport, evsourcing.EventBusOptions{})
			require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				<-time.After(time.Hour)
				return r.React(ctx, m)
			}), "note"))
			require.NoError(t, bus.Listen())
			buses = append(buses, bus)
		}
		publishEach(t, buses[0], full(t, busMessages("note", "s", 3)...)...)
		<-time.After(4 * time.Hour)
		assert.Equal(t, upTo(3), r.of("s"), "no other bus gets it meanwhile")
		assert.Equal(t, int64(3), transport.acks.Load())
		assert.Greater(t, transport.extends.Load(), int64(100))
		extends := transport.extends.Load()
		<-time.After(time.Hour)
		assert.Equal(t, extends, transport.extends.Load(), "but nothing that is settled")
		for _, bus := range buses {
			closeBus(t, bus)
		}
	})
}

// A bus that dies without a word: its messages go to others after AckWait.
func TestBusOverTransportTakesOverFromADeadBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := evsourcing.NewChannelTransport()
		dead, err := transport.Join(t.Context(), evsourcing.Group{Name: "sub", Topics: []string{"note"}, InFlight: 10, AckWait: 30 * time.Second})
		require.NoError(t, err)
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		publishEach(t, bus, full(t, busMessages("note", "s", 3)...)...)
		sender := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, sender.Listen())
		publishEach(t, sender, full(t, busMessage("note", "t", 1))...)
		_, err = dead.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, bus.Listen())
		<-time.After(time.Minute)
		assert.Equal(t, upTo(3), r.of("s"))
		assert.Equal(t, upTo(1), r.of("t"))
		closeBus(t, bus)
		closeBus(t, sender)
	})
}

func TestBusOverTransportCloseGivesBackWhatIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &countingTransport{ChannelTransport: evsourcing.NewChannelTransport()}
		stuck := transportBus(transport, evsourcing.EventBusOptions{})
		gate := newBusGate()
		require.NoError(t, stuck.Subscribe("sub", gate, "note"))
		require.NoError(t, stuck.Listen())
		publishEach(t, stuck, full(t, busMessages("note", "s", 5)...)...)
		synctest.Wait()
		gate.let(1)
		synctest.Wait()
		require.Equal(t, 4, stuck.Pending())

		var r busRecord
		heir := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, heir.Subscribe("sub", &r, "note"))
		require.NoError(t, heir.Listen())
		synctest.Wait()
		assert.Empty(t, r.all(), "the stream is at the other bus")
		assert.Zero(t, transport.nacks.Load())
		start := time.Now()
		requireUndelivered(t, stuck.Close(within(t, time.Second)), 4, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		synctest.Wait()
		assert.Equal(t, []int{2, 3, 4, 5}, r.of("s"), "at once, and in order")
		assert.Equal(t, int64(4), transport.nacks.Load())
		assert.Equal(t, upTo(1), gate.of("s"))
		closeBus(t, heir)
	})
}

func TestBusOverTransportCloseDrainsWhatItHasReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &countingTransport{ChannelTransport: evsourcing.NewChannelTransport()}
		bus := transportBus(transport, evsourcing.EventBusOptions{Buffer: 3})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			<-time.After(time.Second)
			return r.React(ctx, m)
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessages("note", "s", 10)...)...)
		synctest.Wait()
		assert.Equal(t, 3, bus.Pending(), "what is in flight; the rest is in the transport")
		closeBus(t, bus)
		assert.Equal(t, upTo(3), r.of("s"))
		assert.Zero(t, transport.nacks.Load())
		heir := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, heir.Subscribe("sub", &r, "note"))
		require.NoError(t, heir.Listen())
		synctest.Wait()
		assert.Equal(t, upTo(10), r.of("s"))
		closeBus(t, heir)
	})
}

// lateTransport has receivers with one more delivery when its context ends.
type lateTransport struct{ *countingTransport }

type lateReceiver struct{ evsourcing.Receiver }

func (l lateTransport) Join(ctx context.Context, g evsourcing.Group) (evsourcing.Receiver, error) {
	r, err := l.countingTransport.Join(ctx, g)
	return lateReceiver{r}, err
}

func (r lateReceiver) Receive(ctx context.Context) (evsourcing.Delivery, error) {
	<-ctx.Done()
	return r.Receiver.Receive(context.WithoutCancel(ctx))
}

func TestBusOverTransportGivesBackWhatComesWhileItCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &countingTransport{ChannelTransport: evsourcing.NewChannelTransport()}
		bus := transportBus(lateTransport{transport}, evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessage("note", "s", 1))...)
		closeBus(t, bus)
		assert.Empty(t, r.all())
		assert.Equal(t, int64(1), transport.nacks.Load())
		heir := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, heir.Subscribe("sub", &r, "note"))
		require.NoError(t, heir.Listen())
		synctest.Wait()
		assert.Equal(t, upTo(1), r.of("s"))
		closeBus(t, heir)
	})
}

// A deaf reactor does not keep its message from other buses.
func TestBusOverTransportCloseLeavesAReactorThatIgnoresCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := evsourcing.NewChannelTransport()
		release := make(chan struct{})
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			<-release
			return nil
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessage("note", "s", 1))...)
		synctest.Wait()
		requireUndelivered(t, bus.Close(within(t, time.Second)), 1, context.DeadlineExceeded)
		heir := transportBus(transport, evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, heir.Subscribe("sub", &r, "note"))
		require.NoError(t, heir.Listen())
		synctest.Wait()
		assert.Equal(t, upTo(1), r.of("s"))
		close(release)
		require.NoError(t, bus.Close(t.Context()))
		closeBus(t, heir)
	})
}

func TestBusOverTransportReactorsPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const depth = 200
		bus := transportBus(evsourcing.NewChannelTransport(), evsourcing.EventBusOptions{Buffer: 1})
		accounts := busAccounts(bus, evsourcing.NewMemoryStore())
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			_ = r.React(ctx, m)
			if r.count() >= depth {
				return nil
			}
			return busWrite(ctx, accounts, m.Stream.ID)
		}), "note"))
		require.NoError(t, bus.Listen())
		require.NoError(t, busWrite(t.Context(), accounts, "a"))
		synctest.Wait()
		assert.Equal(t, upTo(depth), r.of("a"))
		last := r.messages[depth-1]
		assert.Equal(t, r.messages[0].ID.String(), last.CorrelationID(), "causation travels over the transport")
		assert.Equal(t, r.messages[depth-2].ID.String(), last.Metadata[evsourcing.MetaCausationID])
		closeBus(t, bus)
	})
}

// What reactors publish while the bus closes goes to the transport.
func TestBusOverTransportReactorsPublishWhileItCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := evsourcing.NewChannelTransport()
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			<-time.After(time.Second)
			return bus.Publish(ctx, full(t, busMessage("note", "s", int(m.Version)+1))...)
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessage("note", "s", 1))...)
		synctest.Wait()
		closeBus(t, bus)
		var r busRecord
		heir := transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, heir.Subscribe("sub", &r, "note"))
		require.NoError(t, heir.Listen())
		synctest.Wait()
		assert.Equal(t, []int{2}, r.of("s"))
		closeBus(t, heir)
	})
}

// The current topic decides, whatever the name in the program that sent it.
func TestBusOverTransportRoutesByTheCurrentTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := evsourcing.NewChannelTransport()
		codec := evsourcing.NewRegistry(busNote{})
		codec.Alias("old name", busNote{})
		bus := transportBus(transport, evsourcing.EventBusOptions{Codec: codec})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		older := transportBus(transport, evsourcing.EventBusOptions{Codec: evsourcing.NewRegistry(busTopic("old name"))})
		require.NoError(t, older.Listen())
		m := busMessage("old name", "s", 1)
		m.ContentType, m.Data = "application/json", []byte(`{"text":"hello"}`)
		publishEach(t, older, m)
		synctest.Wait()
		require.Len(t, r.messages, 1)
		assert.Equal(t, "note", r.messages[0].Topic)
		assert.Equal(t, busNote{Text: "hello"}, r.messages[0].Event)
		closeBus(t, bus)
		closeBus(t, older)
	})
}

func TestBusOverTransportTriesToReceiveAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log busLog
		failures := 5
		transport := &failingTransport{Transport: evsourcing.NewChannelTransport(), receive: func() error {
			if failures--; failures >= 0 {
				return errBus
			}
			return nil
		}}
		bus := transportBus(transport, evsourcing.EventBusOptions{Logger: slog.New(&log)})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessage("note", "s", 1))...)
		<-time.After(time.Minute)
		assert.Equal(t, upTo(1), r.of("s"))
		warnings := log.find(slog.LevelWarn, "receiving")
		require.Len(t, warnings, 5)
		assert.Greater(t, warnings[4]["pause"].Duration(), warnings[0]["pause"].Duration())
		closeBus(t, bus)

		// The transport closes first, and the bus after it.
		bus = transportBus(transport, evsourcing.EventBusOptions{})
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		require.NoError(t, transport.Close(t.Context()))
		require.Error(t, bus.Publish(t.Context(), full(t, busMessage("note", "s", 2))...))
		<-time.After(time.Minute)
		closeBus(t, bus)
	})
}

// blockingTransport joins when it is let, or its context ends, and leaves only
// when it is let.
type blockingTransport struct {
	*evsourcing.ChannelTransport
	joins, leaves chan struct{}
	deaf          bool
}

type blockingReceiver struct {
	evsourcing.Receiver
	t *blockingTransport
}

func (b *blockingTransport) Join(ctx context.Context, g evsourcing.Group) (evsourcing.Receiver, error) {
	done := ctx.Done()
	if b.deaf {
		done = nil
	}
	select {
	case <-b.joins:
	case <-done:
		return nil, ctx.Err()
	}
	r, err := b.ChannelTransport.Join(context.WithoutCancel(ctx), g)
	return &blockingReceiver{r, b}, err
}

func (r *blockingReceiver) Close(ctx context.Context) error {
	select {
	case <-r.t.leaves:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.Receiver.Close(ctx)
}

func TestBusOverTransportCloseWhileListenJoins(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		for _, kept := range []int{0, 2} {
			t.Run(fmt.Sprint("deaf ", deaf, ", kept ", kept), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					transport := &blockingTransport{
						ChannelTransport: evsourcing.NewChannelTransport(), joins: make(chan struct{}), leaves: make(chan struct{}), deaf: deaf,
					}
					close(transport.leaves)
					bus := transportBus(transport, evsourcing.EventBusOptions{})
					var r busRecord
					require.NoError(t, bus.Subscribe("one", &r, "note"))
					require.NoError(t, bus.Subscribe("two", &r, "note"))
					publishEach(t, bus, full(t, busMessages("note", "s", kept)...)...)
					listening := after(bus.Listen)
					synctest.Wait()
					transport.joins <- struct{}{}
					synctest.Wait()
					requireOnly(t, bus.Listen(), evsourcing.ErrListening)
					requireOnly(t, bus.Subscribe("three", &r, "note"), evsourcing.ErrListening)
					closing := after(func() error { return bus.Close(within(t, time.Second)) })
					synctest.Wait()
					if deaf {
						<-time.After(time.Minute)
						assert.False(t, answered(listening))
						assert.True(t, answered(closing), "Close does not outlive its context")
						close(transport.joins)
					}
					err := <-listening
					require.Error(t, err)
					if deaf {
						requireOnly(t, err, evsourcing.ErrBusClosed)
					}
					if kept == 0 && !deaf {
						require.NoError(t, <-closing)
					} else {
						requireUndelivered(t, <-closing, kept, map[bool]error{true: context.DeadlineExceeded, false: evsourcing.ErrBusClosed}[deaf])
					}
					requireOnly(t, bus.Listen(), evsourcing.ErrBusClosed)
					_ = bus.Close(t.Context())
					assert.Empty(t, r.all())
				})
			})
		}
	}
}

// A broker that does not answer when the bus leaves.
func TestBusOverTransportCloseDoesNotWaitForABrokerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &blockingTransport{
			ChannelTransport: evsourcing.NewChannelTransport(), joins: make(chan struct{}), leaves: make(chan struct{}),
		}
		close(transport.joins)
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		gate := newBusGate()
		require.NoError(t, bus.Subscribe("sub", gate, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessages("note", "s", 2)...)...)
		synctest.Wait()
		start := time.Now()
		requireUndelivered(t, bus.Close(within(t, time.Second)), 2, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		requireUndelivered(t, bus.Close(within(t, time.Hour)), 2, context.DeadlineExceeded)
		assert.Less(t, time.Since(start), time.Minute, "nor for ever")
	})
}

// Nil means that no goroutine is left, so it is not what Close returns when it
// has drained but could not leave in time.
func TestBusOverTransportCloseSaysThatItCouldNotLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &blockingTransport{
			ChannelTransport: evsourcing.NewChannelTransport(), joins: make(chan struct{}), leaves: make(chan struct{}),
		}
		close(transport.joins)
		bus := transportBus(transport, evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, full(t, busMessages("note", "s", 2)...)...)
		synctest.Wait()
		start := time.Now()
		requireUndelivered(t, bus.Close(within(t, time.Second)), 0, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		transport.leaves <- struct{}{}
		require.NoError(t, bus.Close(t.Context()), "now it is done")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			require.NoError(t, bus.Close(ended))
		}
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, upTo(2), r.of("s"))
	})
}

func TestBusOverTransportBuffersPublishersAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &failingTransport{Transport: evsourcing.NewChannelTransport()}
		bus := transportBus(transport, evsourcing.EventBusOptions{Buffer: 2})
		require.NoError(t, bus.Listen())
		closeBus(t, bus)
		msgs := full(t, busMessages("note", "s", 3)...)
		publishEach(t, bus, msgs[:2]...)
		requireOnly(t, bus.Publish(t.Context(), msgs[2]), evsourcing.ErrBusClosed)
		requireUndelivered(t, bus.Close(t.Context()), 2, evsourcing.ErrBusClosed)
		assert.Zero(t, transport.sends, "undispatched")
	})
}

// Several buses come and go, by Close with or without time, while messages are
// sent: each is handled at least once, in order of first handling.
func TestBusOverTransportUnderChange(t *testing.T) {
	for seed := range busScale(40, 10, 5) {
		synctest.Test(t, func(t *testing.T) {
			const streams, events = 6, 30
			rnd := rand.New(rand.NewPCG(uint64(seed), 2))
			transport := evsourcing.NewChannelTransport()
			var mu sync.Mutex
			last := map[string]uint64{}
			reactor := evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				select {
				case <-time.After(rand.N(5 * time.Millisecond)):
				case <-ctx.Done():
					return ctx.Err()
				}
				switch rand.N(20) {
				case 0:
					return errBus
				case 1:
					runtime.Goexit()
				}
				mu.Lock()
				defer mu.Unlock()
				if v := last[m.Stream.ID]; m.Version > v+1 {
					t.Errorf("stream %s: version %d after %d", m.Stream.ID, m.Version, v)
				}
				last[m.Stream.ID] = max(m.Version, last[m.Stream.ID])
				return nil
			})
			listener := func() *evsourcing.EventBus {
				bus := transportBus(transport, evsourcing.EventBusOptions{Buffer: 1 + seed%4, Retry: evsourcing.RetryPolicy{MaxAttempts: 100, InitialInterval: time.Millisecond}})
				require.NoError(t, bus.Subscribe("sub", reactor, "note"))
				require.NoError(t, bus.Listen())
				return bus
			}
			buses := []*evsourcing.EventBus{listener(), listener()}
			sender := transportBus(transport, evsourcing.EventBusOptions{})
			require.NoError(t, sender.Listen())
			for _, stream := range busStreams(streams) {
				go func() {
					for _, m := range full(t, busMessages("note", stream, events)...) {
						<-time.After(rand.N(10 * time.Millisecond))
						assert.NoError(t, sender.Publish(context.Background(), m))
					}
				}()
			}
			for range 10 {
				<-time.After(time.Duration(rnd.IntN(int(30 * time.Millisecond))))
				i := rnd.IntN(len(buses))
				err := buses[i].Close(within(t, time.Duration(rnd.IntN(int(20*time.Millisecond)))))
				var u *evsourcing.UndeliveredError
				require.True(t, err == nil || errors.As(err, &u))
				buses[i] = listener()
			}
			<-time.After(time.Hour)
			for _, bus := range append(buses, sender) {
				closeBus(t, bus)
			}
			for _, stream := range busStreams(streams) {
				assert.Equal(t, uint64(events), last[stream], stream)
			}
		})
	}
}
