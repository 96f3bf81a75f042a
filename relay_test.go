package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// relayTo returns a relay of the name "sub".
func relayTo(bus *evsourcing.EventBus, store *evsourcing.MemoryStore, o evsourcing.SubscriptionOptions) *evsourcing.Subscription {
	return evsourcing.Relay("sub", store, store, subCodec(), bus, subOptions(o))
}

// listening returns a bus that listens with the reactors to notes.
func listening(t *testing.T, opts evsourcing.EventBusOptions, reactors map[string]evsourcing.Reactor) *evsourcing.EventBus {
	t.Helper()
	bus := quietBus(opts)
	for name, r := range reactors {
		require.NoError(t, bus.Subscribe(name, r, "note"))
	}
	require.NoError(t, bus.Listen())
	return bus
}

func relayCheckpoint(t *testing.T, store *evsourcing.MemoryStore) uint64 {
	t.Helper()
	cp, _, err := store.Checkpoint(context.Background(), "sub")
	require.NoError(t, err)
	return cp.Position
}

func TestRelayCheckpointsWhatEveryBusSubscriptionHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		fast, slow := &busRecord{}, newBusGate()
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{"fast": fast, "slow": slow})
		write(t, store, "other", "a", 2) // nobody is subscribed to it
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
		synctest.Wait()
		assert.Equal(t, uint64(2), sub.Status().Position)
		write(t, store, "note", "a", 3)
		synctest.Wait()
		assert.Equal(t, 3, fast.count())
		assert.Equal(t, uint64(2), sub.Status().Position)
		for i := range 3 {
			slow.let(1)
			synctest.Wait()
			assert.Equal(t, uint64(3+i), sub.Status().Position)
			assert.Equal(t, uint64(3+i), relayCheckpoint(t, store))
		}
		sub.stop(t)
		closeBus(t, bus)
	})
}

func TestRelayGoesOnAfterDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		var letters busLetters
		bus := listening(t, evsourcing.EventBusOptions{DeadLetter: letters.take, Retry: evsourcing.RetryPolicy{MaxAttempts: 2}},
			map[string]evsourcing.Reactor{"r": evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
				if m.Version == 2 {
					return errBus
				}
				return nil
			})})
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
		sub.reach(t, 3)
		sub.stop(t)
		assert.Equal(t, uint64(3), relayCheckpoint(t, store))
		assert.Len(t, letters.all(), 1)
		closeBus(t, bus)
	})
}

func TestRelayStopsAtAMessageThatIsNotSettled(t *testing.T) {
	errLetter := errors.New("no room for letters")
	for name, deadLetter := range map[string]func(context.Context, evsourcing.DeadLetter) error{
		"without DeadLetter":         nil,
		"when DeadLetter fails":      func(context.Context, evsourcing.DeadLetter) error { return errLetter },
		"when DeadLetter panics":     func(context.Context, evsourcing.DeadLetter) error { panic(errLetter) },
		"when DeadLetter ends it":    func(context.Context, evsourcing.DeadLetter) error { runtime.Goexit(); return nil },
		"when the reactor ends it":   nil,
		"when the reactor panics":    nil,
		"when one of two has failed": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 5)
				broken := true
				rec := &busRecord{}
				reactors := map[string]evsourcing.Reactor{"r": evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
					if m.Version == 3 && broken {
						switch name {
						case "when the reactor ends it":
							runtime.Goexit()
						case "when the reactor panics":
							panic(errBus)
						}
						return errBus
					}
					return rec.React(ctx, m)
				})}
				if name == "when one of two has failed" {
					reactors["steady"] = &busRecord{}
				}
				bus := listening(t, evsourcing.EventBusOptions{DeadLetter: deadLetter, Retry: evsourcing.RetryPolicy{MaxAttempts: 2}}, reactors)
				err := relayTo(bus, store, evsourcing.SubscriptionOptions{}).Run(t.Context())
				require.ErrorContains(t, err, `evsourcing: subscription "sub": subscription "r" of the bus gave up the event at position 3, topic "note", after 2 attempts`)
				assert.Equal(t, uint64(2), relayCheckpoint(t, store))
				synctest.Wait()
				assert.Zero(t, bus.Pending(), "what was queued is withdrawn")
				assert.Equal(t, []int{1, 2}, rec.of("a"))

				broken = false
				sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
				sub.reach(t, 5)
				sub.stop(t)
				assert.Equal(t, []int{1, 2, 3, 4, 5}, rec.of("a"))
				closeBus(t, bus)
			})
		})
	}
}

func TestRelayWithdrawsWhatIsQueuedAndWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		finish := make(chan struct{})
		rec := &busRecord{}
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{
			"r": evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				if m.Version == 2 {
					<-finish
				}
				return rec.React(ctx, m)
			}),
		})
		write(t, store, "note", "a", 10)
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
		synctest.Wait()
		sub.cancel()
		synctest.Wait()
		assert.False(t, answered(sub.done), "a reactor runs")
		close(finish)
		require.NoError(t, <-sub.done)
		assert.Equal(t, uint64(2), relayCheckpoint(t, store), "what ran is settled")
		synctest.Wait()
		assert.Equal(t, []int{1, 2}, rec.of("a"))
		assert.Zero(t, bus.Pending())
		closeBus(t, bus)
	})
}

// A reactor that waits for another attempt does not hold a relay up.
func TestRelayDoesNotWaitForThePauseBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		attempts := 0
		rec := &busRecord{}
		bus := listening(t, evsourcing.EventBusOptions{Retry: evsourcing.RetryPolicy{InitialInterval: time.Hour, MaxInterval: time.Hour}},
			map[string]evsourcing.Reactor{"r": evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				if attempts++; attempts == 1 {
					return errBus
				}
				return rec.React(ctx, m)
			})})
		began := time.Now()
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
		synctest.Wait()
		sub.stop(t)
		synctest.Wait()
		assert.Zero(t, bus.Pending())
		assert.Equal(t, 1, attempts, "no other begins")
		sub = start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
		sub.reach(t, 3)
		assert.Zero(t, time.Since(began), "nor the one that follows")
		sub.stop(t)
		assert.Equal(t, []int{1, 2, 3}, rec.of("a"))
		closeBus(t, bus)
	})
}

func TestRelayToABusThatDoesNotListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		bus := quietBus(evsourcing.EventBusOptions{})
		require.NoError(t, bus.Subscribe("r", &busRecord{}, "note"))
		s := relayTo(bus, store, evsourcing.SubscriptionOptions{})
		require.ErrorIs(t, s.Run(t.Context()), evsourcing.ErrNotListening)
		assert.Zero(t, bus.Pending(), "nothing is kept")
		require.NoError(t, bus.Listen())
		sub := start(t, s)
		synctest.Wait()
		sub.reach(t, 3)
		closeBus(t, bus)
		write(t, store, "note", "a", 1)
		require.ErrorIs(t, <-sub.done, evsourcing.ErrBusClosed)
		assert.Zero(t, bus.Pending())
		assert.Equal(t, uint64(3), relayCheckpoint(t, store))
	})
}

// A bus that is cut short, with a reactor that does not care, does not hold the
// relay up either.
func TestRelayToABusThatIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		finish := make(chan struct{})
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{
			"r": evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { <-finish; return nil }),
		})
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
		synctest.Wait()
		requireUndelivered(t, bus.Close(within(t, time.Second)), 3, context.DeadlineExceeded)
		synctest.Wait()
		require.True(t, answered(sub.done), "Run waits for the reactor")
		require.ErrorIs(t, <-sub.done, evsourcing.ErrBusClosed)
		assert.Zero(t, relayCheckpoint(t, store))
		close(finish)
	})
}

func TestRelayWaitsForRoom(t *testing.T) {
	for _, policy := range []evsourcing.FullPolicy{evsourcing.WaitWhenFull, evsourcing.DeadLetterWhenFull} {
		t.Run(fmt.Sprint("policy ", policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				for i := range 20 {
					write(t, store, "note", fmt.Sprint(i), 5)
				}
				gate := newBusGate()
				var letters busLetters
				bus := listening(t, evsourcing.EventBusOptions{Buffer: 7, OnFull: policy, DeadLetter: letters.take},
					map[string]evsourcing.Reactor{"r": gate})
				sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}))
				synctest.Wait()
				assert.LessOrEqual(t, bus.Pending(), 7)
				gate.open()
				sub.reach(t, 100)
				sub.stop(t)
				assert.Equal(t, 100, gate.count())
				assert.Empty(t, letters.all())
				closeBus(t, bus)
			})
		})
	}
}

func TestRelayOverATransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		transport := newFakeRelayTransport()
		rec := &busRecord{}
		bus := listening(t, evsourcing.EventBusOptions{Transport: transport, Codec: subCodec()}, map[string]evsourcing.Reactor{"r": rec})
		transport.fail.Store(&errChaos)
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 1000}}))
		<-time.After(time.Second)
		assert.Zero(t, relayCheckpoint(t, store), "nothing was sent")
		transport.fail.Store(nil)
		sub.reach(t, 3)
		synctest.Wait()
		assert.Equal(t, uint64(3), relayCheckpoint(t, store))
		assert.Equal(t, []int{1, 2, 3}, rec.of("a"))
		sub.stop(t)
		closeBus(t, bus)
		require.NoError(t, transport.Close(t.Context()))
	})
}

// fakeRelayTransport is a ChannelTransport that fails to send when told to.
type fakeRelayTransport struct {
	*evsourcing.ChannelTransport
	fail atomic.Pointer[error]
}

func newFakeRelayTransport() *fakeRelayTransport {
	return &fakeRelayTransport{ChannelTransport: evsourcing.NewChannelTransport()}
}

func (f *fakeRelayTransport) Send(ctx context.Context, envelopes ...evsourcing.Envelope) error {
	if err := f.fail.Load(); err != nil {
		return *err
	}
	return f.ChannelTransport.Send(ctx, envelopes...)
}

func TestRelayOfEventsThatCantBeDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		write(t, store, "strange", "a", 1)
		write(t, store, "note", "a", 1)
		rec := &busRecord{}
		bus := listening(t, evsourcing.EventBusOptions{}, map[string]evsourcing.Reactor{"r": rec})
		require.ErrorIs(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}).Run(t.Context()), evsourcing.ErrUnknownTopic)
		given := 0
		sub := start(t, relayTo(bus, store, evsourcing.SubscriptionOptions{
			OnFailure: func(context.Context, evsourcing.DeadLetter) error { given++; return nil },
		}))
		sub.reach(t, 3)
		sub.stop(t)
		assert.Equal(t, 1, given)
		assert.Equal(t, []int{1, 3}, rec.of("a"))
		assert.Equal(t, uint64(1), sub.Status().GivenUp)
		skip := start(t, evsourcing.Relay("skip", store, store, subCodec(), bus, subOptions(evsourcing.SubscriptionOptions{SkipUnknown: true})))
		skip.reach(t, 3)
		skip.stop(t)
		closeBus(t, bus)
	})
}

// What is saved in a reactor of a relay names its cause, upcasters and aliases
// included: the reactor gets the current event.
func TestRelayHandsOverCurrentEvents(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	given(t, store, "DM2018", Diverted{Airport: "SVO", Reason: "snow"})
	codec := evsourcing.NewRegistry(Landed{})
	codec.Upcast("aircraft.diverted", "aircraft.redirected", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) { return e, nil })
	codec.Alias("aircraft.redirected", Landed{})
	got := make(chan Landed, 1)
	var cause string
	bus := quietBus(evsourcing.EventBusOptions{Codec: codec})
	require.NoError(t, bus.Subscribe("r", evsourcing.On(func(ctx context.Context, id string, e Landed) error {
		assert.Equal(t, "DM2018", id)
		cause = evsourcing.MetadataFromContext(ctx)[evsourcing.MetaCausationID]
		got <- e
		return nil
	})))
	require.NoError(t, bus.Listen())
	sub := start(t, evsourcing.Relay("sub", store, store, codec, bus, subOptions(evsourcing.SubscriptionOptions{
		Filter: evsourcing.Filter{Topics: []string{"aircraft.landed"}},
	})))
	assert.Equal(t, Landed{Airport: "SVO"}, <-got)
	sub.reach(t, 1)
	assert.Equal(t, history(t, store, "DM2018")[0].ID.String(), cause)
	sub.stop(t)
	closeBus(t, bus)
	assert.Panics(t, func() { evsourcing.Relay("sub", store, store, codec, nil, nil) })
}
