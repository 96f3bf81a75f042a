package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rule 3: back-pressure for publishers outside, never for reactors.

// gatedBus returns a listening bus on which "sub" holds back all notes. Streams
// share one lane.
func gatedBus(t *testing.T, buffer int) (*evsourcing.EventBus, *busGate) {
	t.Helper()
	bus := quietBus(evsourcing.EventBusOptions{Buffer: buffer, Concurrency: 1})
	gate := newBusGate()
	require.NoError(t, bus.Subscribe("sub", gate, "note"))
	require.NoError(t, bus.Listen())
	return bus, gate
}

// publishing publishes in a goroutine, and returns when that waits or is done.
func publishing(ctx context.Context, bus *evsourcing.EventBus, msgs ...evsourcing.Message) <-chan error {
	result := after(func() error { return bus.Publish(ctx, msgs...) })
	synctest.Wait()
	return result
}

func TestBusPublisherWaitsWhileTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 2)
		msgs := busMessages("note", "s", 4)
		publishEach(t, bus, msgs[:2]...)
		third := publishing(t.Context(), bus, msgs[2])
		<-time.After(time.Hour)
		assert.False(t, answered(third), "a running message takes room too")
		assert.Equal(t, 2, bus.Pending())
		gate.let(1)
		synctest.Wait()
		require.True(t, answered(third))
		require.NoError(t, <-third)
		assert.Equal(t, 2, bus.Pending())
		fourth := publishing(t.Context(), bus, msgs[3])
		assert.False(t, answered(fourth))
		gate.open()
		require.NoError(t, <-fourth)
		closeBus(t, bus)
		assert.Equal(t, upTo(4), gate.of("s"))
	})
}

func TestBusPublisherWaitsUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 1)
		publishEach(t, bus, busMessage("note", "s", 1))
		start := time.Now()
		err := bus.Publish(within(t, 3*time.Second), busMessage("note", "refused", 1))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, `"sub"`)
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, 1, bus.Pending(), "nothing was published")

		ctx, cancel := context.WithCancel(t.Context())
		waiting := publishing(ctx, bus, busMessage("note", "refused", 2))
		cancel()
		assert.ErrorIs(t, <-waiting, context.Canceled)

		gate.open()
		synctest.Wait()
		assert.ErrorIs(t, bus.Publish(ctx, busMessage("note", "refused", 3)), context.Canceled, "also when there is room")
		closeBus(t, bus)
		assert.Equal(t, []string{"s 1"}, gate.all())
	})
}

func TestBusPublishersGetRoomInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 2)
		publishEach(t, bus, busMessages("note", "s", 2)...)
		var waiting []<-chan error
		for v := range 20 {
			waiting = append(waiting, publishing(t.Context(), bus, busMessage("note", "s", v+3)))
		}
		for i := range waiting {
			gate.let(1)
			synctest.Wait()
			for j := range waiting {
				assert.Equal(t, j <= i, answered(waiting[j]), "publisher %d after %d", j, i)
			}
		}
		gate.open()
		closeBus(t, bus)
		assert.Equal(t, upTo(22), gate.of("s"))
	})
}

func TestBusLargeBatchIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 4)
		publishEach(t, bus, busMessages("note", "first", 4)...)
		large := publishing(t.Context(), bus, busMessages("note", "large", 3)...)
		small := publishing(t.Context(), bus, busMessage("note", "small", 1))
		for range 2 {
			gate.let(1)
			synctest.Wait()
			assert.False(t, answered(large))
			assert.False(t, answered(small), "there is room for the small one, but it is not its turn")
		}
		late := publishing(t.Context(), bus, busMessage("note", "late", 1))
		assert.False(t, answered(late), "nor is it for who comes later")
		gate.let(1)
		synctest.Wait()
		assert.True(t, answered(large))
		assert.False(t, answered(small))
		gate.open()
		synctest.Wait()
		assert.True(t, answered(small))
		assert.True(t, answered(late))
		closeBus(t, bus)
		assert.Equal(t, 9, gate.count())
	})
}

func TestBusPublisherThatGivesUpLetsOthersThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 4)
		publishEach(t, bus, busMessages("note", "first", 3)...)
		ctx, cancel := context.WithCancel(t.Context())
		large := publishing(ctx, bus, busMessages("note", "large", 2)...)
		small := publishing(t.Context(), bus, busMessage("note", "small", 1))
		assert.False(t, answered(small))
		cancel()
		synctest.Wait()
		assert.ErrorIs(t, <-large, context.Canceled)
		assert.True(t, answered(small), "there was room for it all the time")
		gate.open()
		closeBus(t, bus)
		assert.Equal(t, []string{"first 1", "first 2", "first 3", "small 1"}, gate.all())
	})
}

// The same for a publisher that goes from one full subscription to another at the
// very moment when that has room again.
func TestBusForgetsNoPublisherWhoGoesFromOneQueueToAnother(t *testing.T) {
	for _, batch := range []int{1, 2} { // one fits, the other is larger than the buffer
		synctest.Test(t, func(t *testing.T) {
			bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, Concurrency: 1})
			for _, name := range []string{"one", "two", "three"} {
				require.NoError(t, bus.Subscribe(name, evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
					if m.Version == 0 {
						<-time.After(5 * time.Millisecond) // all are done at one time
					}
					return nil
				}), "note"))
			}
			require.NoError(t, bus.Listen())
			msgs := make([]evsourcing.Message, batch)
			for i := range msgs {
				msgs[i].Topic = "note"
				msgs[i].Version = uint64(i)
			}
			for range busScale(20_000, 10_000, 10_000) {
				require.NoError(t, bus.Publish(t.Context(), msgs...))
			}
			closeBus(t, bus)
		})
	}
}

// Publishers may be served in groups, but none is left waiting for long while
// there is room for it, although other messages are stuck.
func TestBusPublisherGetsRoomAsSoonAsThereIsSome(t *testing.T) {
	for _, buffer := range []int{1, 2, 16, 100, 1024} {
		synctest.Test(t, func(t *testing.T) {
			bus, gate := gatedBus(t, buffer)
			publishEach(t, bus, busMessages("note", "s", buffer)...)
			first := publishing(t.Context(), bus, busMessage("note", "first", 1))
			second := publishing(t.Context(), bus, busMessage("note", "second", 1))
			gate.let(1)
			<-time.After(10 * time.Millisecond)
			assert.True(t, answered(first), "buffer %d: one was settled", buffer)
			assert.False(t, answered(second))
			third := publishing(t.Context(), bus, busMessage("note", "third", 1))
			for i, waiting := range []<-chan error{second, third} {
				<-time.After(time.Hour)
				assert.False(t, answered(waiting))
				gate.let(1)
				synctest.Wait()
				assert.True(t, answered(waiting), "buffer %d, publisher %d: by now at once", buffer, i)
			}
			gate.open()
			closeBus(t, bus)
		})
	}
}

// On real processors: a message is settled in the very moment that a publisher
// finds no room. It must not wait for a next one, because there is none.
func TestBusForgetsNoPublisherWhoWaits(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, Concurrency: 1})
	handled := 0
	require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
		handled++
		return nil
	}), "note"))
	require.NoError(t, bus.Listen())
	n := busScale(300_000, 50_000, 30_000)
	ctx := within(t, time.Minute)
	for i := range n {
		for range i % 64 { // publish sooner or later after the last
			runtime.KeepAlive(i)
		}
		require.NoError(t, bus.Publish(ctx, evsourcing.Message{StoredEvent: evsourcing.StoredEvent{Topic: "note"}}))
	}
	closeBus(t, bus)
	assert.Equal(t, n, handled)
}

// Its context ends in the moment it gets room: it has published, or it has not.
func TestBusPublisherWhoseContextEndsAsItGetsRoom(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			bus, gate := gatedBus(t, 1)
			publishEach(t, bus, busMessage("note", "s", 1))
			ctx, cancel := context.WithCancel(t.Context())
			waiting := publishing(ctx, bus, busMessage("note", "t", 1))
			cancel()
			_ = bus.Close(ctx) // which answers publishers
			switch err := <-waiting; {
			case err == nil:
				assert.Equal(t, 2, bus.Pending())
			default:
				assert.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, 1, bus.Pending())
			}
			assert.Empty(t, gate.all())
		})
	}
}

// Whoever waits for one subscription holds no room in others, and whoever does
// not need that subscription does not wait.
func TestBusFullSubscriptionDelaysNoPublisherToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 2, Concurrency: 1})
		full, other := newBusGate(), newBusGate()
		require.NoError(t, bus.Subscribe("other", other, "both", "mine"))
		require.NoError(t, bus.Subscribe("full", full, "both", "full"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("full", "f", 2)...)
		waiting := publishing(t.Context(), bus, busMessages("both", "b", 2)...)
		assert.False(t, answered(waiting))
		mine := publishing(t.Context(), bus, busMessages("mine", "m", 2)...)
		assert.True(t, answered(mine), "all room of the other subscription is free")
		assert.Equal(t, 4, bus.Pending())

		// Now there is room where it waited, but none elsewhere.
		full.let(2)
		synctest.Wait()
		assert.False(t, answered(waiting))
		assert.Equal(t, 2, bus.Pending())
		again := publishing(t.Context(), bus, busMessages("full", "f", 2)...)
		assert.True(t, answered(again), "it holds no room there either")
		other.let(2)
		synctest.Wait()
		assert.False(t, answered(waiting), "and back again")
		full.let(2)
		synctest.Wait()
		assert.True(t, answered(waiting))
		full.open()
		other.open()
		closeBus(t, bus)
		assert.Equal(t, []string{"m 1", "m 2", "b 1", "b 2"}, other.all())
		assert.Len(t, full.all(), 6)
	})
}

// Publishers that need several subscriptions, in different orders and more than
// there is room for, wait now for one and now for another. None is forgotten.
func TestBusPublishersOfSeveralSubscriptionsDoNotDeadlock(t *testing.T) {
	for range busScale(100, 40, 10) {
		synctest.Test(t, func(t *testing.T) {
			bus := quietBus(evsourcing.EventBusOptions{Buffer: 3})
			slow := func(context.Context, evsourcing.Message) error {
				if rand.N(4) == 0 {
					<-time.After(rand.N(2 * time.Millisecond))
				}
				return nil
			}
			topics := []string{"1", "2", "3", "4"}
			for i, topic := range topics {
				require.NoError(t, bus.Subscribe("own "+topic, evsourcing.ReactorFunc(slow), topic))
				require.NoError(t, bus.Subscribe("shared", evsourcing.ReactorFunc(slow), topic))
				require.NoError(t, bus.Subscribe("pair", evsourcing.ReactorFunc(slow), topics[(i+1)%4]))
			}
			require.NoError(t, bus.Listen())
			var publishers sync.WaitGroup
			for i := range 16 {
				publishers.Go(func() {
					for v := range 30 {
						var batch []evsourcing.Message
						for n := range 1 + (i+v)%4 {
							batch = append(batch, busMessage(topics[(i+n*(1+i%3))%4], fmt.Sprint(i), v))
						}
						assert.NoError(t, bus.Publish(context.Background(), batch...))
					}
				})
			}
			publishers.Wait()
			closeBus(t, bus)
		})
	}
}

func TestBusBatchIsPublishedWhollyOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 2, Concurrency: 1})
		var one, three busRecord
		two := newBusGate()
		require.NoError(t, bus.Subscribe("one", &one, "1"))
		require.NoError(t, bus.Subscribe("two", two, "2"))
		require.NoError(t, bus.Subscribe("three", &three, "3", "2"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("2", "s", 2)...)
		synctest.Wait()
		batch := []evsourcing.Message{busMessage("1", "a", 1), busMessage("3", "c", 1), busMessage("2", "b", 1), busMessage("1", "a", 2)}
		assert.ErrorIs(t, bus.Publish(within(t, time.Second), batch...), context.DeadlineExceeded)
		waiting := publishing(t.Context(), bus, batch...)
		assert.Empty(t, one.all())
		assert.Equal(t, []string{"s 1", "s 2"}, three.all())
		assert.Equal(t, 2, bus.Pending())
		two.let(1)
		synctest.Wait()
		assert.True(t, answered(waiting))
		assert.Equal(t, []string{"a 1", "a 2"}, one.all())
		assert.Equal(t, []string{"s 1", "s 2", "c 1", "b 1"}, three.all())
		two.open()
		closeBus(t, bus)
		assert.Equal(t, []string{"s 1", "s 2", "b 1"}, two.all())
	})
}

func TestBusBatchLargerThanTheBufferWaitsUntilThereIsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 3)
		large := publishing(t.Context(), bus, busMessages("note", "s", 10)...)
		require.True(t, answered(large), "there was nothing")
		assert.Equal(t, 10, bus.Pending())
		second := publishing(t.Context(), bus, busMessages("note", "t", 4)...)
		small := publishing(t.Context(), bus, busMessage("note", "u", 1))
		for range 9 {
			gate.let(1)
			synctest.Wait()
			assert.False(t, answered(second))
			assert.False(t, answered(small))
		}
		gate.let(1)
		synctest.Wait()
		assert.True(t, answered(second))
		assert.False(t, answered(small))
		gate.let(1)
		synctest.Wait()
		assert.False(t, answered(small), "three of four are left")
		gate.let(1)
		synctest.Wait()
		assert.True(t, answered(small))
		gate.open()
		closeBus(t, bus)
		assert.Equal(t, upTo(10), gate.of("s"))
		assert.Equal(t, upTo(4), gate.of("t"))
	})
}

func TestBusRoomComesBackWhateverBecomesOfAMessage(t *testing.T) {
	for _, test := range []struct {
		name  string
		react func(attempt int) error
		dead  int
	}{
		{name: "handled", react: func(int) error { return nil }},
		{name: "handled at the second attempt", react: func(attempt int) error {
			if attempt == 1 {
				return errors.New("not yet")
			}
			return nil
		}},
		{name: "failed for good", react: func(int) error { return errors.New("no") }, dead: 1},
		{name: "panicked for good", react: func(int) error { panic("no") }, dead: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var letters busLetters
				bus := quietBus(evsourcing.EventBusOptions{
					Buffer: 1, DeadLetter: letters.take, Retry: evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Second},
				})
				attempts := map[uint64]int{}
				require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
					attempts[m.Version]++
					return test.react(attempts[m.Version])
				}), "note"))
				require.NoError(t, bus.Listen())
				for _, m := range busMessages("note", "s", 5) {
					require.NoError(t, bus.Publish(within(t, time.Minute), m))
				}
				closeBus(t, bus)
				assert.Len(t, attempts, 5)
				assert.Len(t, letters.all(), 5*test.dead)
			})
		})
	}
}

func TestBusReservedRoomIsGivenBackWhenASaveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		store := &refusingStore{MemoryStore: evsourcing.NewMemoryStore(), refuse: true}
		accounts := busAccounts(bus, store)
		for range 3 {
			require.ErrorIs(t, busWrite(within(t, time.Second), accounts, "a"), errRefused)
		}
		store.pause = time.Minute
		saving := after(func() error { return busWrite(t.Context(), accounts, "a") })
		synctest.Wait()
		waiting := publishing(t.Context(), bus, busMessage("note", "b", 1))
		assert.False(t, answered(waiting), "the save holds the room")
		require.ErrorIs(t, <-saving, errRefused)
		synctest.Wait()
		assert.True(t, answered(waiting), "who waited for it has it")
		store.refuse = false
		require.NoError(t, busWrite(within(t, time.Hour), accounts, "a"))
		closeBus(t, bus)
		assert.Equal(t, []string{"b 1", "a 1"}, r.all())
	})
}

var errRefused = errors.New("refused")

// refusingStore is a store whose appends can take a while, and fail.
type refusingStore struct {
	*evsourcing.MemoryStore
	refuse bool
	pause  time.Duration
}

func (s *refusingStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	<-time.After(s.pause)
	if s.refuse {
		return evsourcing.AppendResult{}, errRefused
	}
	return s.MemoryStore.Append(ctx, batches...)
}

func TestBusSaveWaitsForRoomBeforeItStoresAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 1)
		accounts := busAccounts(bus, evsourcing.NewMemoryStore())
		require.NoError(t, busWrite(t.Context(), accounts, "a"))
		err := busWrite(within(t, time.Second), accounts, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = accounts.Load(t.Context(), "b")
		require.ErrorIs(t, err, evsourcing.ErrNotFound)

		waiting := after(func() error { return busWrite(t.Context(), accounts, "b") })
		synctest.Wait()
		_, err = accounts.Load(t.Context(), "b")
		require.ErrorIs(t, err, evsourcing.ErrNotFound)
		gate.open()
		require.NoError(t, <-waiting)
		closeBus(t, bus)
		assert.Equal(t, []string{"a 1", "b 1"}, gate.all())
	})
}

func TestBusDeadLettersWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters busLetters
		var log busLog
		bus := quietBus(evsourcing.EventBusOptions{
			Buffer: 2, Concurrency: 1, OnFull: evsourcing.DeadLetterWhenFull, DeadLetter: letters.take, Logger: slog.New(&log),
		})
		slow := newBusGate()
		var fast busRecord
		require.NoError(t, bus.Subscribe("slow", slow, "note"))
		require.NoError(t, bus.Subscribe("fast", &fast, "note"))
		require.NoError(t, bus.Listen())
		start := time.Now()
		for _, m := range busMessages("note", "s", 4) {
			require.NoError(t, bus.Publish(t.Context(), m))
			synctest.Wait()
		}
		assert.Equal(t, start, time.Now(), "the publisher does not wait")
		assert.Equal(t, upTo(4), fast.of("s"), "the other subscription has room")
		assert.Equal(t, 2, bus.Pending(), "what is dead-lettered is settled")
		list := letters.all()
		require.Len(t, list, 2)
		for i, d := range list {
			assert.Equal(t, "slow", d.Subscription)
			assert.Equal(t, busMessage("note", "s", 3+i), d.Message)
			assert.Zero(t, d.Attempts)
			assert.ErrorIs(t, d.Err, evsourcing.ErrBusFull)
		}
		assert.Len(t, log.find(slog.LevelError, "DeadLetter"), 2)
		slow.open()
		closeBus(t, bus)
		assert.Equal(t, upTo(2), slow.of("s"))
	})
}

func TestBusDropsAndLogsWhenFullWithoutDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log busLog
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, OnFull: evsourcing.DeadLetterWhenFull, Logger: slog.New(&log)})
		gate := newBusGate()
		require.NoError(t, bus.Subscribe("sub", gate, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 3)...)
		dropped := log.find(slog.LevelError, "dropped")
		require.Len(t, dropped, 2)
		assert.Equal(t, uint64(3), dropped[1]["version"].Uint64())
		assert.Equal(t, "sub", dropped[1]["subscription"].String())
		gate.open()
		closeBus(t, bus)
		assert.Equal(t, upTo(1), gate.of("s"))
	})
}

// A reactor publishes to its own topic, 1,000 deep, on a bus with room for one.
func TestBusReactorPublishesToItsOwnTopic(t *testing.T) {
	const depth = 1000
	for _, onFull := range []evsourcing.FullPolicy{evsourcing.WaitWhenFull, evsourcing.DeadLetterWhenFull} {
		for _, otherStream := range []bool{false, true} {
			t.Run(fmt.Sprint("on full ", onFull, ", to another stream ", otherStream), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var letters busLetters
					bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, OnFull: onFull, DeadLetter: letters.take})
					handled := 0
					require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
						handled++
						if m.Version == depth {
							return nil
						}
						next := m.Stream.ID
						if otherStream {
							next = fmt.Sprint("s", m.Version)
						}
						return bus.Publish(ctx, busMessage("note", next, int(m.Version)+1))
					}), "note"))
					require.NoError(t, bus.Listen())
					start := time.Now()
					publishEach(t, bus, busMessage("note", "s", 1))
					closeBus(t, bus)
					assert.Equal(t, depth, handled)
					assert.Equal(t, start, time.Now())
					assert.Empty(t, letters.all())
				})
			})
		}
	}
}

// The same while others publish, each of whose messages starts a chain.
func TestBusReactorsPublishWhilePublishersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publishers, chains, depth = 4, 5, 50
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1})
		var mu sync.Mutex
		handled := 0
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			mu.Lock()
			handled++
			mu.Unlock()
			if m.Version == depth {
				return nil
			}
			return bus.Publish(ctx, busMessage("note", m.Stream.ID, int(m.Version)+1))
		}), "note"))
		require.NoError(t, bus.Listen())
		var publishing sync.WaitGroup
		for i := range publishers {
			publishing.Go(func() {
				for j := range chains {
					assert.NoError(t, bus.Publish(context.Background(), busMessage("note", fmt.Sprint(i, " ", j), 1)))
				}
			})
		}
		publishing.Wait()
		closeBus(t, bus)
		assert.Equal(t, publishers*chains*depth, handled)
	})
}

func TestBusTwoReactorsFeedEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds = 1000
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, Concurrency: 1})
		counts := map[string]int{}
		to := func(topic string) evsourcing.Reactor {
			return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				counts[m.Topic]++
				if m.Version == rounds {
					return nil
				}
				return bus.Publish(ctx, busMessage(topic, m.Stream.ID, int(m.Version)+1))
			})
		}
		require.NoError(t, bus.Subscribe("ping", to("pong"), "ping"))
		require.NoError(t, bus.Subscribe("pong", to("ping"), "pong"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("ping", "s", 1))
		closeBus(t, bus)
		assert.Equal(t, map[string]int{"ping": rounds / 2, "pong": rounds / 2}, counts)
	})
}

// Reactors that run transactions on the bus that runs them.
func TestBusReactorsRunTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const depth = 1000
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1})
		accounts := busAccounts(bus, evsourcing.NewMemoryStore())
		handled := 0
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			handled++
			if handled == depth {
				return nil
			}
			if handled%2 == 0 {
				return busWrite(ctx, accounts, m.Stream.ID) // the aggregate itself
			}
			return busWrite(ctx, accounts, fmt.Sprint("other-", handled))
		}), "note"))
		require.NoError(t, bus.Listen())
		require.NoError(t, busWrite(t.Context(), accounts, "a"))
		closeBus(t, bus)
		assert.Equal(t, depth, handled)
	})
}

func TestBusReactorNeverWaitsAndGetsErrBusFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, MaxPending: 5, Concurrency: 1})
		gate := newBusGate()
		ran := make(chan struct{})
		require.NoError(t, bus.Subscribe("sink", gate, "note"))
		store := evsourcing.NewMemoryStore()
		accounts := busAccounts(bus, store)
		require.NoError(t, bus.Subscribe("source", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			defer close(ran)
			start := time.Now()
			for v := range 3 {
				assert.NoError(t, bus.Publish(ctx, busMessage("note", "s", v+1)))
			}
			requireOnly(t, bus.Publish(ctx, busMessages("note", "batch", 3)...), evsourcing.ErrBusFull)
			assert.Equal(t, 1+3, bus.Pending(), "of a batch, nothing")
			assert.NoError(t, bus.Publish(ctx, busMessages("note", "batch", 2)...))
			err := bus.Publish(ctx, busMessage("note", "s", 4))
			requireOnly(t, err, evsourcing.ErrBusFull)
			assert.ErrorContains(t, err, "sink")
			assert.ErrorIs(t, busWrite(ctx, accounts, "refused"), evsourcing.ErrBusFull)
			assert.NoError(t, bus.Publish(ctx, busMessage("nobody's", "s", 1)))
			assert.Equal(t, start, time.Now())
			return nil
		}), "start"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("start", "s", 1))
		<-ran
		_, err := accounts.Load(t.Context(), "refused")
		require.ErrorIs(t, err, evsourcing.ErrNotFound, "nothing was stored")

		outside := publishing(t.Context(), bus, busMessage("note", "outside", 1))
		gate.let(4)
		synctest.Wait()
		assert.False(t, answered(outside), "outside, Buffer counts")
		gate.let(1)
		synctest.Wait()
		assert.True(t, answered(outside))
		gate.open()
		closeBus(t, bus)
		assert.Equal(t, []string{"s 1", "s 2", "s 3", "batch 1", "batch 2", "outside 1"}, gate.all())
	})
}

// A reactor does not queue behind publishers who wait.
func TestBusReactorOvertakesPublishersWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 1, Concurrency: 1})
		gate := newBusGate()
		require.NoError(t, bus.Subscribe("sink", gate, "note"))
		require.NoError(t, bus.Subscribe("source", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			return bus.Publish(ctx, busMessage("note", "inside", 1))
		}), "start"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "s", 1))
		outside := publishing(t.Context(), bus, busMessage("note", "outside", 1))
		publishEach(t, bus, busMessage("start", "s", 1))
		synctest.Wait()
		assert.False(t, answered(outside))
		gate.open()
		require.NoError(t, <-outside)
		closeBus(t, bus)
		assert.Equal(t, []string{"s 1", "inside 1", "outside 1"}, gate.all())
	})
}

// DeadLetter may publish too; it has a reactor's context.
func TestBusDeadLetterPublishesWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus *evsourcing.EventBus
		var r busRecord
		bus = quietBus(evsourcing.EventBusOptions{
			Buffer: 1, Concurrency: 1, Retry: evsourcing.RetryPolicy{MaxAttempts: 1},
			DeadLetter: func(ctx context.Context, d evsourcing.DeadLetter) error {
				return bus.Publish(ctx, busMessage("dead", d.Message.Stream.ID, int(d.Message.Version)))
			},
		})
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			if m.Topic == "dead" {
				return r.React(ctx, m)
			}
			return errors.New("no")
		}), "note", "dead"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 5)...)
		closeBus(t, bus)
		assert.Equal(t, upTo(5), r.of("s"))
	})
}
