package evsourcing_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRelayMissesNothing(t *testing.T) {
	for _, sameBus := range []bool{true, false} {
		t.Run(fmt.Sprintf("one bus=%v", sameBus), func(t *testing.T) {
			t.Run("in synctest", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					huntRelay(t, huntEvents(), sameBus, func() { <-time.After(rand.N(time.Millisecond)) })
				})
			})
			t.Run("in real time", func(t *testing.T) {
				huntRelay(t, huntEvents(), sameBus, func() {})
			})
		})
	}
}

// doomed are the messages that one reactor always fails on.
func doomed(m evsourcing.Message) bool { return m.Version%500 == 7 }

// huntRelay restarts a relay at any moment, with what it has queued on a bus of
// three subscriptions, and sometimes with the bus.
func huntRelay(t *testing.T, events int, sameBus bool, pause func()) {
	h := newHunt(t)
	audits := map[string]*audit{"steady": newAudit(), "failing": newAudit(), "doomed": newAudit()}
	reactors := map[string]func(context.Context, evsourcing.Message) error{
		"steady": func(context.Context, evsourcing.Message) error { return nil },
		"failing": func(context.Context, evsourcing.Message) error {
			if rand.N(1000) == 0 {
				pause()
			}
			return misbehave(busScale(10_000, 3_000, 3_000), h.interrupt)
		},
		"doomed": func(_ context.Context, m evsourcing.Message) error {
			if doomed(m) {
				return errSub
			}
			return nil
		},
	}
	var given atomic.Int64
	newBus := func() *evsourcing.EventBus {
		bus := quietBus(evsourcing.EventBusOptions{
			Buffer: 1 + rand.N(600),
			DeadLetter: func(_ context.Context, d evsourcing.DeadLetter) error {
				assert.Equal(t, "doomed", d.Subscription)
				audits[d.Subscription].see(d.Message) // settled, in its order
				given.Add(1)
				return nil
			},
			Retry: evsourcing.RetryPolicy{MaxAttempts: 8, InitialInterval: 10 * time.Microsecond, MaxInterval: time.Millisecond},
		})
		for name, react := range reactors {
			a := audits[name]
			err := bus.Subscribe(name, evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				if err := react(ctx, m); err != nil {
					return err
				}
				a.see(m)
				return nil
			}), "note")
			require.NoError(t, err)
		}
		require.NoError(t, bus.Listen())
		return bus
	}
	written := make(chan struct{})
	wait := writers(t, h.store.MemoryStore, events, pause)
	go func() {
		wait()
		close(written)
	}()
	bus := newBus()
	for last := false; !last; {
		select {
		case <-written:
			last = h.runs > 20+events/4000
		default:
		}
		s := evsourcing.Relay("hunt", h.store, h.store, subCodec(), bus, subOptions(evsourcing.SubscriptionOptions{
			BatchSize: 1 + rand.N(300), PollInterval: time.Millisecond,
			Retry: evsourcing.RetryPolicy{InitialInterval: 10 * time.Microsecond, MaxInterval: time.Millisecond},
		}))
		for _, a := range audits {
			a.restart()
		}
		require.NoError(t, h.run(s, last))
		checkpoint := checkpointAt(h.store)
		for name, a := range audits {
			assert.GreaterOrEqual(t, a.handled(), int(checkpoint), "%s: the checkpoint is beyond what was handled", name)
		}
		if !sameBus && !last {
			closeBus(t, bus)
			bus = newBus()
		}
	}
	closeBus(t, bus)
	repeated := 0
	for _, a := range audits {
		repeated += a.check(t, h.store.MemoryStore)
	}
	t.Logf("%d events, 3 subscriptions, %d runs, %d handled again, %d given up",
		headOf(t, h.store.MemoryStore), h.runs, repeated, given.Load())
}
