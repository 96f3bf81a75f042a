package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A batch that is larger than the buffer is sent in parts. When a later part
// fails, those before it are not sent, and above all not settled, again.
func TestRelaySendsAgainOnlyWhatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 300)
		transport := &partTransport{ChannelTransport: evsourcing.NewChannelTransport(), fail: 3}
		bus := listening(t, evsourcing.EventBusOptions{Transport: transport, Codec: subCodec(), Buffer: 10}, map[string]evsourcing.Reactor{"r": &busRecord{}})
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{BatchSize: 30, Retry: evsourcing.RetryPolicy{
			MaxAttempts: 1000, InitialInterval: time.Second, MaxInterval: time.Second,
		}}))
		<-time.After(time.Minute)
		assert.Equal(t, []int{10, 10}, transport.sent, "each part once")
		assert.Equal(t, uint64(20), relayCheckpoint(t, store), "nothing beyond what was sent")
		assert.Equal(t, uint64(20), sub.Status().Handled)
		transport.broken.Store(false)
		sub.reach(t, 300)
		sub.stop(t)
		assert.Len(t, transport.sent, 30)
		assert.Equal(t, uint64(300), sub.Status().Handled)
		closeBus(t, bus)
		require.NoError(t, transport.Close(t.Context()))
	})
}

// partTransport is a ChannelTransport that breaks at a call of Send.
type partTransport struct {
	*evsourcing.ChannelTransport
	fail   int // the Send that fails, and then whenever it begins with the same message
	broken atomic.Bool
	bad    string
	sent   []int
}

func (p *partTransport) Send(ctx context.Context, envelopes ...evsourcing.Envelope) error {
	if p.fail--; p.fail == 0 {
		p.broken.Store(true)
		p.bad = envelopes[0].ID
	}
	if p.broken.Load() && envelopes[0].ID == p.bad {
		return errChaos
	}
	p.sent = append(p.sent, len(envelopes))
	return p.ChannelTransport.Send(ctx, envelopes...)
}

// stuckStore is a store whose SaveCheckpoint does not heed its context.
type stuckStore struct {
	*evsourcing.MemoryStore
	gate chan struct{}
}

func (s *stuckStore) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	<-s.gate
	return s.MemoryStore.SaveCheckpoint(ctx, name, c)
}

// From the moment a relay is stopped, or has lost its lease, no reactor begins,
// whatever Run waits for.
func TestRelayThatStopsBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuckStore{MemoryStore: evsourcing.NewMemoryStore(), gate: make(chan struct{})}
		write(t, store, "note", "a", 3)
		gate := newBusGate()
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{"r": gate})
		sub := start(t, evsourcing.Relay("sub", store, store, subCodec(), bus, subOptions(evsourcing.SubscriptionOptions{})))
		synctest.Wait()
		gate.let(1)
		synctest.Wait() // the checkpoint is being saved, and the second message runs
		sub.cancel()
		synctest.Wait()
		gate.let(1)
		synctest.Wait()
		assert.Zero(t, gate.waiting.Load(), "the third has begun")
		assert.Zero(t, bus.Pending())
		close(store.gate)
		require.NoError(t, <-sub.done)
		assert.Equal(t, uint64(2), relayCheckpoint(t, store.MemoryStore))
		closeBus(t, bus)
	})
}

// When the bus is cut short, its messages are never settled: Run says so, and
// those who wait for them need not.
func TestRelayWhoseBusIsCutShortWhileNothingIsPublished(t *testing.T) {
	for _, how := range []string{"Close", "BaseContext"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 3)
				base, cancel := context.WithCancel(t.Context())
				defer cancel()
				bus := listening(t, evsourcing.EventBusOptions{BaseContext: base}, map[string]evsourcing.Reactor{"r": newBusGate()})
				sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
				waits := after(func() error { return sub.WaitFor(context.Background(), 3) })
				synctest.Wait()
				if how == "Close" {
					requireUndelivered(t, bus.Close(within(t, time.Second)), 3, context.DeadlineExceeded)
				} else {
					cancel()
				}
				synctest.Wait()
				if assert.True(t, answered(sub.done), "Run goes on") {
					require.ErrorIs(t, <-sub.done, evsourcing.ErrBusClosed)
					require.ErrorIs(t, <-waits, evsourcing.ErrBusClosed)
				}
				sub.cancel()
				assert.Zero(t, relayCheckpoint(t, store))
			})
		})
	}
}

// An event given up by OnFailure is settled, also if it is the last for long.
func TestRelaySavesTheCheckpointOfWhatOnFailureTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		write(t, store, "strange", "a", 1)
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{"r": &busRecord{}})
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{
			OnFailure: func(context.Context, evsourcing.DeadLetter) error { <-time.After(time.Second); return nil },
		}))
		sub.reach(t, 2)
		<-time.After(time.Hour)
		assert.Equal(t, uint64(2), relayCheckpoint(t, store))
		sub.stop(t)
		closeBus(t, bus)
	})
}

// When the goroutine of Run ends in the log, what the relay has queued is
// withdrawn as well.
func TestRelayWhoseGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		gate := newBusGate()
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{"r": gate})
		log := &exitLater{plainLog: plainLog{store}}
		s := evsourcing.Relay("sub", log, store, subCodec(), bus, subOptions(evsourcing.SubscriptionOptions{}))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.Run(context.Background())
		}()
		synctest.Wait()
		log.exit.Store(true)
		<-time.After(time.Second)
		select {
		case <-ended:
			t.Error("a reactor runs")
		default:
		}
		gate.open()
		<-ended
		synctest.Wait()
		assert.Equal(t, []int{1}, gate.of("a"))
		closeBus(t, bus)
	})
}

// Several relays share a bus whose reactors publish on it.
func TestRelaysThatShareABus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stores := []*evsourcing.MemoryStore{evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()}
		rec := &busRecord{}
		var bus *evsourcing.EventBus
		echo := evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			echoed := busMessage("echo", m.Stream.ID, int(m.Version))
			if err := bus.Publish(ctx, echoed, echoed, echoed); !errors.Is(err, evsourcing.ErrBusFull) {
				return err
			}
			return nil
		})
		bus = quietBus(evsourcing.EventBusOptions{Buffer: 3, MaxPending: 5, Concurrency: 2})
		require.NoError(t, bus.Subscribe("echoes", echo, "note"))
		require.NoError(t, bus.Subscribe("notes", rec, "note"))
		require.NoError(t, bus.Subscribe("slow", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			<-time.After(time.Millisecond)
			return nil
		}), "echo", "note"))
		require.NoError(t, bus.Listen())
		var relays []*running
		for i, store := range stores {
			for range 50 {
				write(t, store, "note", fmt.Sprint(i), 2)
			}
			relays = append(relays, start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{BatchSize: 7})))
		}
		for i, r := range relays {
			r.reach(t, 100)
			r.stop(t)
			assert.Equal(t, upTo(100), rec.of(fmt.Sprint(i)))
			assert.Equal(t, uint64(100), relayCheckpoint(t, stores[i]))
		}
		closeBus(t, bus)
	})
}
