package evsourcing_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTransportOfChannels(t *testing.T) {
	testTransport(t, transportSuite{
		run:     synctest.Test,
		open:    func(*testing.T) evsourcing.Transport { return evsourcing.NewChannelTransport() },
		ackWait: 30 * time.Second,
		quiet:   time.Hour,
	})
}

func TestTransportOfChannelsRemembersIDsAsLongAsItSays(t *testing.T) {
	const memory = 65_536
	transport := evsourcing.NewChannelTransport()
	r, err := transport.Join(t.Context(), evsourcing.Group{Name: "group", Topics: []string{"t"}, InFlight: 10, AckWait: time.Hour})
	require.NoError(t, err)
	send := func(id string, topic string) {
		require.NoError(t, transport.Send(t.Context(), evsourcing.Envelope{ID: id, Topic: topic}))
	}
	send("first", "t")
	send("second", "t")
	for i := range memory - 2 {
		send(fmt.Sprint(i), "nobody's")
	}
	send("first", "t") // it is remembered, just so
	send("one more", "nobody's")
	send("first", "t")
	send("second", "t") // that one was forgotten, for the first
	for _, id := range []string{"first", "second", "first", "second"} {
		d, err := r.Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, id, d.Envelope().ID)
		require.NoError(t, d.Ack(t.Context()))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Receive(ended)
	require.ErrorIs(t, err, context.Canceled)
}

// A transportSuite is what testTransport needs to know of a transport.
type transportSuite struct {
	run     func(t *testing.T, test func(t *testing.T)) // in a bubble, if the transport has no connections
	open    func(t *testing.T) evsourcing.Transport     // empty
	ackWait time.Duration                               // long enough for a delivery on a slow day
	quiet   time.Duration                               // how long nothing must come for it to come never
}

// testTransport holds a transport to the contract of [evsourcing.Transport].
func testTransport(t *testing.T, suite transportSuite) {
	for _, test := range []struct {
		rule string
		run  func(*transportTest)
	}{
		{"an envelope arrives as it was sent", (*transportTest).envelope},
		{"a group gets the envelopes of its topics, all of them and no others", (*transportTest).topics},
		{"every group gets every envelope, its receivers share them", (*transportTest).groups},
		{"a group gets what is sent from its first Join on", (*transportTest).fromNowOn},
		{"what is sent while nobody receives waits", (*transportTest).durable},
		{"envelopes with one key arrive in order", (*transportTest).order},
		{"the same ID sent twice counts once", (*transportTest).twice},
		{"a receiver has at most InFlight deliveries unsettled", (*transportTest).inFlight},
		{"a negative acknowledgement delivers again, not before its time", (*transportTest).nack},
		{"an envelope delivered again comes before later ones of its key", (*transportTest).nackOrder},
		{"what is not settled in AckWait is delivered again", (*transportTest).ackWait},
		{"Extend starts AckWait anew", (*transportTest).extend},
		{"settling twice or too late does nothing", (*transportTest).settleTwice},
		{"a key with unsettled deliveries is for one receiver only", (*transportTest).keys},
		{"what a receiver that leaves has not settled goes to others", (*transportTest).leave},
		{"contexts that end, end calls", (*transportTest).contexts},
		{"Close ends the transport and its receivers", (*transportTest).close},
		{"under load, everything arrives in order", (*transportTest).load},
	} {
		t.Run(test.rule, func(t *testing.T) {
			suite.run(t, func(t *testing.T) {
				transport := suite.open(t)
				test.run(&transportTest{T: t, transportSuite: suite, transport: transport})
				require.NoError(t, transport.Close(context.Background()))
			})
		})
	}
}

type transportTest struct {
	*testing.T
	transportSuite
	transport evsourcing.Transport
}

func (t *transportTest) join(name string, topics ...string) evsourcing.Receiver {
	t.Helper()
	return t.joinFor(name, 100, topics...)
}

func (t *transportTest) joinFor(name string, inFlight int, topics ...string) evsourcing.Receiver {
	t.Helper()
	r, err := t.transport.Join(context.Background(), evsourcing.Group{
		Name: name, Topics: topics, InFlight: inFlight, AckWait: t.transportSuite.ackWait,
	})
	require.NoError(t, err)
	return r
}

// send sends envelopes given as "key topic".
func (t *transportTest) send(ids int, key, topic string) {
	t.Helper()
	for n := range ids {
		require.NoError(t, t.transport.Send(context.Background(), transportEnvelope(fmt.Sprint(key, n+1), key, topic)))
	}
}

func transportEnvelope(id, key, topic string) evsourcing.Envelope {
	return evsourcing.Envelope{ID: id, Key: key, Topic: topic, Header: evsourcing.Metadata{"id": id}, Data: []byte(id)}
}

// next returns the next delivery, which must be the envelope with the ID.
func (t *transportTest) next(r evsourcing.Receiver, id string) evsourcing.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), t.transportSuite.ackWait/2)
	defer cancel()
	d, err := r.Receive(ctx)
	require.NoError(t, err, "waiting for %s", id)
	require.Equal(t, id, d.Envelope().ID)
	return d
}

func (t *transportTest) ack(d evsourcing.Delivery) {
	t.Helper()
	require.NoError(t, d.Ack(context.Background()))
}

// nothing checks that nothing comes in d.
func (t *transportTest) nothing(r evsourcing.Receiver, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if d, err := r.Receive(ctx); err == nil {
		t.Fatalf("%s was delivered", d.Envelope().ID)
	}
	require.Error(t, ctx.Err(), "Receive returned too early")
}

func (t *transportTest) envelope() {
	r := t.join("group", "topic")
	for i, sent := range []evsourcing.Envelope{
		{ID: "plain", Key: "k", Topic: "topic", Header: evsourcing.Metadata{"a": "b", "c": ""}, Data: []byte("data")},
		{ID: "bare", Key: "k", Topic: "topic"},
		{ID: "ünïcode", Key: "schlüssel/ /\n", Topic: "topic", Header: evsourcing.Metadata{"ä ö": "日本\r\n"}, Data: []byte{0, 255, 10}},
		{ID: "large", Key: "k", Topic: "topic", Data: make([]byte, 1<<18)},
	} {
		require.NoError(t, t.transport.Send(context.Background(), sent))
		d := t.next(r, sent.ID)
		got := *d.Envelope()
		assert.Equal(t, string(sent.Data), string(got.Data), i)
		assert.Len(t, got.Header, len(sent.Header))
		for k, v := range sent.Header {
			assert.Equal(t, v, got.Header[k])
		}
		got.Data, got.Header, sent.Data, sent.Header = nil, nil, nil, nil
		assert.Equal(t, sent, got)
		assert.Equal(t, 1, d.Attempt())
		t.ack(d)
	}
}

func (t *transportTest) topics() {
	one, two := t.join("one", "1"), t.join("two", "2", "3")
	t.send(1, "a", "1")
	t.send(1, "b", "2")
	t.send(1, "c", "4")
	t.send(1, "d", "3")
	t.ack(t.next(one, "a1"))
	t.nothing(one, t.quiet)
	seen := map[string]bool{}
	for range 2 {
		d, err := two.Receive(context.Background())
		require.NoError(t, err)
		seen[d.Envelope().ID] = true
		t.ack(d)
	}
	assert.Equal(t, map[string]bool{"b1": true, "d1": true}, seen)
	t.nothing(two, t.quiet)
}

func (t *transportTest) groups() {
	one, shared1, shared2 := t.join("one", "t"), t.join("shared", "t"), t.join("shared", "t")
	const keys = 20
	for k := range keys {
		t.send(1, fmt.Sprint(k, "-"), "t")
	}
	count := func(receivers ...evsourcing.Receiver) map[string]int {
		var mu sync.Mutex
		var receiving sync.WaitGroup
		seen := map[string]int{}
		for _, r := range receivers {
			receiving.Go(func() {
				for {
					ctx, cancel := context.WithTimeout(context.Background(), t.transportSuite.ackWait/4)
					d, err := r.Receive(ctx)
					cancel()
					if err != nil {
						return
					}
					mu.Lock()
					seen[d.Envelope().ID]++
					mu.Unlock()
					assert.NoError(t, d.Ack(context.Background()))
				}
			})
		}
		receiving.Wait()
		return seen
	}
	for _, seen := range []map[string]int{count(one), count(shared1, shared2)} {
		assert.Len(t, seen, keys)
		for id, n := range seen {
			assert.Equal(t, 1, n, id)
		}
	}
}

func (t *transportTest) fromNowOn() {
	t.send(1, "early", "t")
	r := t.join("group", "t")
	t.send(1, "late", "t")
	t.ack(t.next(r, "late1"))
	t.nothing(r, t.quiet)
}

func (t *transportTest) durable() {
	r := t.join("group", "t")
	t.send(1, "a", "t")
	require.NoError(t, r.Close(context.Background()))
	t.send(3, "a", "t") // the first again
	again := t.join("group", "t")
	for _, id := range []string{"a1", "a2", "a3"} {
		t.ack(t.next(again, id))
	}
	t.nothing(again, t.quiet)
}

func (t *transportTest) order() {
	r := t.joinFor("group", 1000, "t")
	batch := []evsourcing.Envelope{}
	for n := range 50 {
		for _, key := range []string{"a", "b", "c"} {
			batch = append(batch, transportEnvelope(fmt.Sprint(key, n), key, "t"))
		}
		if n%7 == 0 {
			require.NoError(t, t.transport.Send(context.Background(), batch...))
			batch = nil
		}
	}
	require.NoError(t, t.transport.Send(context.Background(), batch...))
	next := map[string]int{}
	for range 150 {
		d, err := r.Receive(context.Background())
		require.NoError(t, err)
		key := d.Envelope().Key
		require.Equal(t, fmt.Sprint(key, next[key]), d.Envelope().ID)
		next[key]++
		if next[key]%2 == 0 { // settled or not, the next one comes
			t.ack(d)
		}
	}
}

func (t *transportTest) twice() {
	r := t.join("group", "t")
	e := transportEnvelope("1", "k", "t")
	require.NoError(t, t.transport.Send(context.Background(), e, e))
	require.NoError(t, t.transport.Send(context.Background(), e))
	d := t.next(r, "1")
	require.NoError(t, t.transport.Send(context.Background(), e))
	t.ack(d)
	require.NoError(t, t.transport.Send(context.Background(), e, transportEnvelope("2", "k", "t")))
	t.ack(t.next(r, "2"))
	t.nothing(r, t.quiet)
}

func (t *transportTest) inFlight() {
	r := t.joinFor("group", 2, "t")
	for k := range 4 {
		t.send(1, fmt.Sprint(k, "-"), "t")
	}
	receive := func() evsourcing.Delivery {
		d, err := r.Receive(context.Background())
		require.NoError(t, err)
		return d
	}
	first, second := receive(), receive()
	t.nothing(r, t.transportSuite.ackWait/4)
	t.ack(first)
	third := receive()
	t.nothing(r, t.transportSuite.ackWait/4)
	require.NoError(t, second.Nack(context.Background(), 0))
	fourth := receive()
	t.nothing(r, t.transportSuite.ackWait/4)
	t.ack(third)
	t.ack(fourth)
	t.ack(receive())
	t.nothing(r, t.quiet)

	// A Receive that waits for room gets it.
	t.send(3, "k", "t")
	first, _ = t.next(r, "k1"), t.next(r, "k2")
	waiting := after(func() error { _, err := r.Receive(context.Background()); return err })
	t.ack(first)
	require.NoError(t, <-waiting)
}

func (t *transportTest) nack() {
	r := t.join("group", "t")
	t.send(1, "a", "t")
	t.send(1, "b", "t")
	pause := t.transportSuite.ackWait / 4
	a := t.next(r, "a1")
	b := t.next(r, "b1")
	start := time.Now()
	require.NoError(t, a.Nack(context.Background(), pause))
	require.NoError(t, b.Nack(context.Background(), 0))
	b = t.next(r, "b1")
	assert.Equal(t, 2, b.Attempt())
	t.ack(b)
	a = t.next(r, "a1")
	assert.GreaterOrEqual(t, time.Since(start), pause)
	assert.Less(t, time.Since(start), t.transportSuite.ackWait)
	assert.Equal(t, 2, a.Attempt())
	require.NoError(t, a.Nack(context.Background(), 0))
	a = t.next(r, "a1")
	assert.Equal(t, 3, a.Attempt())
	t.ack(a)
	t.nothing(r, t.quiet)
}

func (t *transportTest) nackOrder() {
	r := t.joinFor("group", 1, "t")
	t.send(3, "a", "t")
	t.send(1, "b", "t")
	require.NoError(t, t.next(r, "a1").Nack(context.Background(), t.transportSuite.ackWait/4))
	t.ack(t.next(r, "b1"))
	for _, id := range []string{"a1", "a2", "a3"} {
		t.ack(t.next(r, id))
	}
}

func (t *transportTest) ackWait() {
	r := t.join("group", "t")
	t.send(2, "a", "t")
	t.next(r, "a1")
	start := time.Now()
	t.ack(t.next(r, "a2"))
	t.nothing(r, t.transportSuite.ackWait/2)
	d, err := r.Receive(context.Background())
	require.NoError(t, err)
	assert.Equal(t, "a1", d.Envelope().ID)
	assert.Equal(t, 2, d.Attempt())
	assert.GreaterOrEqual(t, time.Since(start), t.transportSuite.ackWait*9/10)
	assert.Less(t, time.Since(start), t.transportSuite.ackWait*2)
	t.ack(d)
	t.nothing(r, t.quiet)

	// Also at another receiver, where none is left at the first.
	t.send(1, "b", "t")
	t.next(r, "b1")
	other := t.join("group", "t")
	d, err = other.Receive(context.Background())
	require.NoError(t, err)
	assert.Equal(t, 2, d.Attempt())
	t.ack(d)
}

func (t *transportTest) extend() {
	r := t.join("group", "t")
	t.send(1, "a", "t")
	d := t.next(r, "a1")
	for range 6 {
		t.nothing(r, t.transportSuite.ackWait/2)
		require.NoError(t, d.Extend(context.Background()))
	}
	t.ack(d)
	t.nothing(r, t.quiet)
}

func (t *transportTest) settleTwice() {
	r := t.join("group", "t")
	t.send(1, "a", "t")
	d := t.next(r, "a1")
	t.ack(d)
	_ = d.Ack(context.Background())
	_ = d.Nack(context.Background(), 0)
	_ = d.Extend(context.Background())
	t.nothing(r, t.quiet)

	t.send(1, "b", "t")
	d = t.next(r, "b1")
	require.NoError(t, d.Nack(context.Background(), 0))
	_ = d.Ack(context.Background())
	again := t.next(r, "b1") // so the Ack did nothing
	_ = d.Ack(context.Background())
	_ = d.Nack(context.Background(), 0)
	t.nothing(r, t.transportSuite.ackWait/2)
	require.NoError(t, again.Nack(context.Background(), 0))
	t.ack(t.next(r, "b1"))

	t.send(1, "c", "t")
	late := t.next(r, "c1")
	t.nothing(r, t.transportSuite.ackWait/2)
	d, err := r.Receive(context.Background())
	require.NoError(t, err)
	_ = late.Ack(context.Background())
	require.NoError(t, d.Nack(context.Background(), 0))
	t.ack(t.next(r, "c1"))
	t.nothing(r, t.quiet)
}

func (t *transportTest) keys() {
	one, two := t.join("group", "t"), t.join("group", "t")
	t.send(3, "a", "t")
	a1, a2 := t.next(one, "a1"), t.next(one, "a2")
	t.nothing(two, t.transportSuite.ackWait/4)
	t.ack(a1)
	t.nothing(two, t.transportSuite.ackWait/4)
	t.ack(a2)
	a3 := t.next(two, "a3")
	require.NoError(t, a3.Nack(context.Background(), 0))
	t.send(1, "b", "t")
	ids := map[string]bool{}
	for range 2 {
		d, err := one.Receive(context.Background())
		require.NoError(t, err)
		ids[d.Envelope().ID] = true
		t.ack(d)
	}
	assert.Equal(t, map[string]bool{"a3": true, "b1": true}, ids)
}

func (t *transportTest) leave() {
	one := t.joinFor("group", 2, "t")
	t.send(3, "a", "t")
	held := t.next(one, "a1")
	t.next(one, "a2")
	two := t.join("group", "t")
	receiving := after(func() evsourcing.Delivery {
		d, err := two.Receive(context.Background())
		assert.NoError(t, err)
		return d
	})
	require.NoError(t, one.Close(context.Background()))
	d := <-receiving
	require.Equal(t, "a1", d.Envelope().ID)
	assert.Equal(t, 2, d.Attempt())
	_ = held.Ack(context.Background()) // the receiver it came to has left
	t.nothing(two, 0)
	d2 := t.next(two, "a2")
	t.ack(d2)
	require.NoError(t, d.Nack(context.Background(), 0))
	t.ack(t.next(two, "a1"))
	t.ack(t.next(two, "a3"))
	_, err := one.Receive(context.Background())
	require.Error(t, err)
	require.NoError(t, one.Close(context.Background()), "again")
}

func (t *transportTest) contexts() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	r := t.join("group", "t")
	require.ErrorIs(t, t.transport.Send(ended, transportEnvelope("1", "k", "t")), context.Canceled)
	t.nothing(r, t.quiet)
	_, err := r.Receive(ended)
	require.ErrorIs(t, err, context.Canceled)
	_, err = t.transport.Join(ended, evsourcing.Group{Name: "other", Topics: []string{"t"}, InFlight: 1, AckWait: t.transportSuite.ackWait})
	require.ErrorIs(t, err, context.Canceled)

	ctx, cancel := context.WithCancel(context.Background())
	waiting := after(func() error { _, err := r.Receive(ctx); return err })
	cancel()
	require.ErrorIs(t, <-waiting, context.Canceled)
	t.send(1, "k", "t")
	t.ack(t.next(r, "k1"))
}

func (t *transportTest) close() {
	r := t.join("group", "t")
	t.send(1, "k", "t")
	d := t.next(r, "k1")
	waiting := after(func() error { _, err := r.Receive(context.Background()); return err })
	require.NoError(t, t.transport.Close(context.Background()))
	require.Error(t, <-waiting)
	_, err := r.Receive(context.Background())
	require.Error(t, err)
	require.Error(t, t.transport.Send(context.Background(), transportEnvelope("2", "k", "t")))
	_, err = t.transport.Join(context.Background(), evsourcing.Group{Name: "other", Topics: []string{"t"}, InFlight: 1, AckWait: time.Second})
	require.Error(t, err)
	_ = d.Ack(context.Background())
	require.NoError(t, r.Close(context.Background()))
}

// load has senders, each with keys of its own, and receivers that refuse, forget
// and leave, in two groups.
func (t *transportTest) load() {
	const senders, keys, envelopes = 4, 3, 40
	type group struct {
		mu      sync.Mutex
		holders map[string]int // by key, a receiver
		held    map[string]int
		next    map[string]int
		left    int
		ctx     context.Context // until none is left
		cancel  context.CancelFunc
	}
	var working sync.WaitGroup
	receive := func(g *group, number int, r evsourcing.Receiver, leaves bool) {
		for n := 0; ; n++ {
			d, err := r.Receive(g.ctx)
			if err != nil || leaves && n == 20 {
				assert.NoError(t, r.Close(context.Background()))
				return
			}
			key := d.Envelope().Key
			g.mu.Lock()
			if g.held[key] > 0 && g.holders[key] != number {
				t.Errorf("key %s is at receivers %d and %d", key, g.holders[key], number)
			}
			g.holders[key] = number
			g.held[key]++
			g.mu.Unlock()
			if rand.N(4) == 0 {
				<-time.After(rand.N(t.transportSuite.ackWait / 100))
			}
			refuse := rand.N(10) == 0
			g.mu.Lock()
			g.held[key]--
			if id := fmt.Sprint(key, ":", g.next[key]); id != d.Envelope().ID {
				t.Errorf("%s came, want %s", d.Envelope().ID, id)
			}
			if !refuse {
				g.next[key]++
				g.left--
				if g.left == 0 {
					g.cancel()
				}
			}
			g.mu.Unlock()
			if refuse {
				assert.NoError(t, d.Nack(context.Background(), rand.N(t.transportSuite.ackWait/100)))
			} else {
				assert.NoError(t, d.Ack(context.Background()))
			}
		}
	}
	for _, name := range []string{"one", "two"} {
		g := &group{
			holders: map[string]int{}, held: map[string]int{}, next: map[string]int{},
			left: senders * keys * envelopes,
		}
		g.ctx, g.cancel = context.WithCancel(context.Background())
		for i := range 4 {
			r := t.joinFor(name, 1, "t") // one in flight, so that a refusal changes no order
			working.Go(func() { receive(g, i, r, i >= 2) })
		}
	}
	for s := range senders {
		working.Go(func() {
			for n := range envelopes {
				for k := range keys {
					key := fmt.Sprint(s, "-", k)
					assert.NoError(t, t.transport.Send(context.Background(), transportEnvelope(fmt.Sprint(key, ":", n), key, "t")))
				}
			}
		})
	}
	working.Wait()
}
