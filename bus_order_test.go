package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rule 2: each subscription has its own lanes, keyed by stream.

// busInOrder is a reactor that fails the test when a stream's messages come out
// of order, twice, or two at a time. before is what it does for each message.
type busInOrder struct {
	t       *testing.T
	name    string
	before  func(ctx context.Context, m evsourcing.Message) error
	streams map[string]*busPlace // filled before Listen
	handled atomic.Int64
}

type busPlace struct {
	running atomic.Bool
	version uint64 // without a lock: the lane is one
}

func newBusInOrder(t *testing.T, name string, streams []string, before func(context.Context, evsourcing.Message) error) *busInOrder {
	r := &busInOrder{t: t, name: name, before: before, streams: map[string]*busPlace{}}
	for _, s := range streams {
		r.streams[s] = &busPlace{}
	}
	return r
}

func (r *busInOrder) React(ctx context.Context, m evsourcing.Message) error {
	place := r.streams[m.Stream.ID]
	if !place.running.CompareAndSwap(false, true) {
		r.t.Errorf("%s: two of stream %s at a time", r.name, m.Stream.ID)
	}
	defer place.running.Store(false)
	if m.Version != place.version+1 {
		r.t.Errorf("%s: stream %s, version %d came after %d", r.name, m.Stream.ID, m.Version, place.version)
	}
	if r.before != nil {
		if err := r.before(ctx, m); err != nil {
			return err
		}
	}
	place.version = m.Version
	r.handled.Add(1)
	return nil
}

func busStreams(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("stream-", i)
	}
	return names
}

func TestBusKeepsOneStreamsEventsInOrderWithinEachSubscription(t *testing.T) {
	for _, concurrency := range []int{1, 2, 16, 1000} {
		synctest.Test(t, func(t *testing.T) {
			streams := busStreams(40)
			bus := quietBus(evsourcing.EventBusOptions{Concurrency: concurrency, Buffer: 10, Retry: evsourcing.RetryPolicy{MaxAttempts: 50}})
			pause := func(context.Context, evsourcing.Message) error {
				if rand.N(3) == 0 {
					<-time.After(rand.N(20 * time.Millisecond))
				}
				if rand.N(10) == 0 {
					return errors.New("out of luck")
				}
				return nil
			}
			var reactors []*busInOrder
			for _, name := range []string{"one", "two", "three"} {
				r := newBusInOrder(t, name, streams, pause)
				reactors = append(reactors, r)
				require.NoError(t, bus.Subscribe(name, r, "note"))
			}
			require.NoError(t, bus.Listen())
			var publishers sync.WaitGroup
			for _, stream := range streams {
				publishers.Go(func() {
					for v := 0; v < 30; {
						batch := []evsourcing.Message{}
						for range 1 + rand.N(3) {
							v++
							batch = append(batch, busMessage("note", stream, v))
						}
						assert.NoError(t, bus.Publish(context.Background(), batch...))
					}
				})
			}
			publishers.Wait()
			closeBus(t, bus)
			for _, r := range reactors {
				for stream, place := range r.streams {
					assert.GreaterOrEqual(t, place.version, uint64(30), "%s: %s", r.name, stream)
				}
			}
		})
	}
}

func TestBusRunsDifferentStreamsSideBySide(t *testing.T) {
	for _, test := range []struct{ concurrency, least, most int }{
		{concurrency: 1, least: 1, most: 1},
		{concurrency: 2, least: 2, most: 2},
		{concurrency: 0, least: 12, most: 16},
		{concurrency: 64, least: 40, most: 64},
	} {
		t.Run(fmt.Sprint("concurrency ", test.concurrency), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := quietBus(evsourcing.EventBusOptions{Concurrency: test.concurrency})
				gate := newBusGate()
				require.NoError(t, bus.Subscribe("sub", gate, "note"))
				require.NoError(t, bus.Listen())
				for _, stream := range busStreams(400) {
					publishEach(t, bus, busMessage("note", stream, 1))
				}
				synctest.Wait()
				running := int(gate.waiting.Load())
				assert.GreaterOrEqual(t, running, test.least)
				assert.LessOrEqual(t, running, test.most)
				gate.open()
				closeBus(t, bus)
				assert.Equal(t, 400, gate.count())
			})
		})
	}
}

// Streams of two types are two streams, even with one ID.
func TestBusStreamIsTypeAndID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Concurrency: 64})
		gate := newBusGate()
		require.NoError(t, bus.Subscribe("sub", gate, "note"))
		require.NoError(t, bus.Listen())
		for _, typ := range busStreams(100) {
			m := busMessage("note", "same", 1)
			m.Stream.Type = typ
			publishEach(t, bus, m)
		}
		synctest.Wait()
		assert.Greater(t, gate.waiting.Load(), int64(20))
		gate.open()
		closeBus(t, bus)
	})
}

func TestBusSlowSubscriptionDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 100})
		slow := newBusGate()
		var fast busRecord
		require.NoError(t, bus.Subscribe("slow", slow, "note"))
		require.NoError(t, bus.Subscribe("fast", &fast, "note"))
		require.NoError(t, bus.Listen())
		start := time.Now()
		publishEach(t, bus, busMessages("note", "s", 50)...)
		synctest.Wait()
		assert.Equal(t, upTo(50), fast.of("s"), "messages already published")
		publishEach(t, bus, busMessages("note", "t", 50)...)
		synctest.Wait()
		assert.Equal(t, upTo(50), fast.of("t"), "new ones until the buffer is full")
		assert.Empty(t, slow.all())
		assert.Equal(t, start, time.Now())
		slow.open()
		closeBus(t, bus)
		assert.Equal(t, upTo(50), slow.of("t"))
	})
}

func TestBusSlowStreamDelaysNoOtherLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		slow := newBusGate()
		var fast busRecord
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			if m.Stream.ID == "slow" {
				return slow.React(ctx, m)
			}
			return fast.React(ctx, m)
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "slow", 3)...)
		synctest.Wait()
		for _, stream := range busStreams(200) {
			publishEach(t, bus, busMessage("note", stream, 1))
		}
		synctest.Wait()
		assert.Equal(t, int64(1), slow.waiting.Load(), "one at a time")
		assert.Greater(t, fast.count(), 100, "only what shares the slow stream's lane waits")
		slow.open()
		closeBus(t, bus)
		assert.Equal(t, 200, fast.count())
		assert.Equal(t, upTo(3), slow.of("slow"))
	})
}

// A lane is left to rest and started again many times.
func TestBusLaneStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		for v := range 20 {
			publishEach(t, bus, busMessage("note", "s", v+1))
			synctest.Wait()
			assert.Equal(t, v+1, r.count())
			assert.Zero(t, bus.Pending())
		}
		closeBus(t, bus)
	})
}

// A burst leaves no memory behind, though the bus lives on.
func TestBusGivesBackTheMemoryOfABurst(t *testing.T) {
	burst := busScale(100_000, 30_000, 30_000)
	bus := quietBus(evsourcing.EventBusOptions{Concurrency: 1})
	handled := 0
	require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
		handled++
		return nil
	}), "note"))
	require.NoError(t, bus.Listen())
	before := busHeap()
	require.NoError(t, bus.Publish(t.Context(), make([]evsourcing.Message, burst)...), "of no topic")
	msgs := make([]evsourcing.Message, burst)
	for i := range msgs {
		msgs[i].Topic = "note"
	}
	for range 2 {
		require.NoError(t, bus.Publish(t.Context(), msgs...))
	}
	msgs = nil
	for bus.Pending() > 0 {
		runtime.Gosched()
	}
	require.Equal(t, 2*burst, handled)
	deadline := time.Now().Add(10 * time.Second)
	for busHeap() > before+1<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are left", busHeap()-before)
		}
	}
	closeBus(t, bus)
}

// Lanes and whatever else the bus keeps do not hold on to messages.
func TestBusForgetsWhatItHasHandled(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{Concurrency: 1, Retry: evsourcing.RetryPolicy{MaxAttempts: 1}})
	require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
		if m.Version%2 == 0 {
			return errBus
		}
		return nil
	}), "note"))
	var events []weak.Pointer[busPointer]
	publish := func(n int) {
		for range n {
			e := &busPointer{N: len(events)}
			events = append(events, weak.Make(e))
			require.NoError(t, bus.Publish(t.Context(), evsourcing.Message{
				StoredEvent: evsourcing.StoredEvent{Topic: "note", Version: uint64(len(events))}, Event: e,
			}))
		}
	}
	publish(20)
	require.NoError(t, bus.Listen())
	publish(20)
	for bus.Pending() > 0 {
		runtime.Gosched()
	}
	deadline := time.Now().Add(10 * time.Second)
	for i, e := range events {
		for busHeap(); e.Value() != nil; busHeap() {
			if time.Now().After(deadline) {
				t.Fatalf("message %d is still kept", i)
			}
		}
	}
	closeBus(t, bus)
}

func busHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// What repositories save reaches reactors in the order of versions, however many
// of them race for one stream.
func TestBusSeesRacingSavesInOrderOfVersions(t *testing.T) {
	const writers = 8
	saves := busScale(50, 20, 10)
	bus := quietBus(evsourcing.EventBusOptions{Buffer: 4})
	streams := busStreams(2)
	one := newBusInOrder(t, "one", streams, nil)
	two := newBusInOrder(t, "two", streams, nil)
	require.NoError(t, bus.Subscribe("one", one, "note"))
	require.NoError(t, bus.Subscribe("two", two, "note"))
	require.NoError(t, bus.Listen())
	store := evsourcing.NewMemoryStore()
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			accounts := evsourcing.NewRepository[busAccount]("bus", store, evsourcing.NewRegistry(busNote{}),
				&evsourcing.RepositoryOptions{Bus: bus, MaxAttempts: 1000})
			for range saves {
				_, err := accounts.CreateOrUpdate(context.Background(), streams[i%2], func(a *busAccount) error {
					evsourcing.Record(a, evsourcing.EventOf[*busAccount](busNote{Text: "x"}))
					return nil
				})
				assert.NoError(t, err)
			}
		})
	}
	writing.Wait()
	closeBus(t, bus)
	assert.Equal(t, int64(writers*saves), one.handled.Load())
	assert.Equal(t, int64(writers*saves), two.handled.Load())
}

// busAccount is an aggregate that counts its notes.
type busAccount struct {
	evsourcing.Base
	Notes int
}

func (busNote) ApplyTo(a *busAccount) { a.Notes++ }

func busAccounts(bus *evsourcing.EventBus, store evsourcing.EventStore) *evsourcing.Repository[busAccount] {
	return evsourcing.NewRepository[busAccount]("bus", store, evsourcing.NewRegistry(busNote{}),
		&evsourcing.RepositoryOptions{Bus: bus})
}

// busWrite is a transaction that adds a note.
func busWrite(ctx context.Context, accounts *evsourcing.Repository[busAccount], id string) error {
	_, err := accounts.CreateOrUpdate(ctx, id, func(a *busAccount) error {
		evsourcing.Record(a, evsourcing.EventOf[*busAccount](busNote{Text: id}))
		return nil
	})
	return err
}
