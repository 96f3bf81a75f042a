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

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rule 6: Close.

func TestBusCloseDrainsWhatIsQueuedAndWhatReactorsPublishMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const depth = 20
		bus := quietBus(evsourcing.EventBusOptions{Buffer: 10, Retry: evsourcing.RetryPolicy{MaxAttempts: 4}})
		var r busRecord
		require.NoError(t, bus.Subscribe("slow", failing(2, failure, evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			<-time.After(time.Second)
			_ = r.React(ctx, m)
			if m.Version == depth {
				return nil
			}
			return bus.Publish(ctx, busMessage("note", m.Stream.ID, int(m.Version)+1))
		})), "note"))
		require.NoError(t, bus.Listen())
		start := time.Now()
		for _, stream := range busStreams(10) {
			publishEach(t, bus, busMessage("note", stream, 1))
		}
		closeBus(t, bus)
		assert.GreaterOrEqual(t, time.Since(start), depth*time.Second)
		for _, stream := range busStreams(10) {
			assert.Equal(t, upTo(depth), r.of(stream))
		}
	})
}

func TestBusCloseStopsDispatchFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 10)
		publishEach(t, bus, busMessages("note", "s", 2)...)
		closing := after(func() error { return bus.Close(context.Background()) })
		synctest.Wait()
		publishEach(t, bus, busMessages("note", "late", 2)...)
		assert.Equal(t, 4, bus.Pending())
		gate.open()
		requireUndelivered(t, <-closing, 2, evsourcing.ErrBusClosed)
		assert.Equal(t, []string{"s 1", "s 2"}, gate.all())
	})
}

func TestBusCloseThatRunsOutOfTimeCancelsReactorsAndCounts(t *testing.T) {
	for _, test := range []struct {
		name string
		ctx  func(t *testing.T) context.Context
		want error
	}{
		{"deadline", func(t *testing.T) context.Context { return within(t, 90*time.Second) }, context.DeadlineExceeded},
		{"cancelled meanwhile", func(t *testing.T) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(90*time.Second, cancel)
			return ctx
		}, context.Canceled},
		{"with a cause", func(t *testing.T) context.Context {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 90*time.Second, errBus)
			t.Cleanup(cancel)
			return ctx
		}, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var letters busLetters
				bus := quietBus(evsourcing.EventBusOptions{
					Retry: evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Hour, MaxInterval: time.Hour}, DeadLetter: letters.take,
				})
				var mu sync.Mutex
				causes := map[string]error{}
				note := func(ctx context.Context, m evsourcing.Message) error {
					<-ctx.Done()
					mu.Lock()
					defer mu.Unlock()
					causes[m.Stream.ID] = context.Cause(ctx)
					return ctx.Err()
				}
				var quick busRecord
				require.NoError(t, bus.Subscribe("running", evsourcing.ReactorFunc(note), "note"))
				require.NoError(t, bus.Subscribe("retrying", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { return errBus }), "note"))
				require.NoError(t, bus.Subscribe("quick", &quick, "note"))
				require.NoError(t, bus.Listen())
				publishEach(t, bus, busMessages("note", "s", 3)...) // 1 runs, 2 queued; 1 retries, 2 queued; 3 done
				synctest.Wait()
				require.Equal(t, 6, bus.Pending())
				start := time.Now()
				err := bus.Close(test.ctx(t))
				assert.Equal(t, 90*time.Second, time.Since(start), "at once")
				requireUndelivered(t, err, 6, test.want)
				synctest.Wait()
				assert.Equal(t, map[string]error{"s": evsourcing.ErrBusClosed}, causes)
				assert.Equal(t, upTo(3), quick.of("s"))
				assert.Empty(t, letters.all(), "what is cut is undelivered, not dead")
				assert.Equal(t, 6, bus.Pending())
				requireUndelivered(t, bus.Close(t.Context()), 6, test.want)
				assert.Equal(t, 90*time.Second, time.Since(start), "the pause before another attempt is over, too")
			})
		})
	}
}

func TestBusCloseWithAContextThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		idle := quietBus(evsourcing.EventBusOptions{})
		require.NoError(t, idle.Listen())
		require.NoError(t, idle.Close(ended), "there is nothing to wait for")

		bus, _ := gatedBus(t, 10)
		publishEach(t, bus, busMessages("note", "s", 2)...)
		synctest.Wait()
		start := time.Now()
		requireUndelivered(t, bus.Close(ended), 2, context.Canceled)
		assert.Equal(t, start, time.Now())
	})
}

// A reactor that ignores its context keeps nothing but its goroutine; what it
// handles in the end is handled, and its lane does not go on.
func TestBusCloseLeavesAReactorThatIgnoresCancellation(t *testing.T) {
	for _, fail := range []error{nil, errBus} {
		synctest.Test(t, func(t *testing.T) {
			var letters busLetters
			bus := quietBus(evsourcing.EventBusOptions{DeadLetter: letters.take, Retry: evsourcing.RetryPolicy{MaxAttempts: 1}})
			var r busRecord
			release := make(chan struct{})
			require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				<-release
				_ = r.React(ctx, m)
				return fail
			}), "note"))
			require.NoError(t, bus.Listen())
			publishEach(t, bus, busMessages("note", "s", 3)...)
			start := time.Now()
			requireUndelivered(t, bus.Close(within(t, time.Second)), 3, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(start))
			requireUndelivered(t, bus.Close(within(t, time.Second)), 3, context.DeadlineExceeded)
			assert.Equal(t, 2*time.Second, time.Since(start), "it still runs, so the second Close waits too")
			left := 3
			if fail == nil {
				left--
			}
			patient := after(func() error { return bus.Close(context.Background()) })
			synctest.Wait()
			assert.False(t, answered(patient))
			close(release)
			requireUndelivered(t, <-patient, left, context.DeadlineExceeded)
			assert.Equal(t, upTo(1), r.of("s"))
			assert.Equal(t, left, bus.Pending())
			assert.Empty(t, letters.all())
		})
	}
}

func TestBusCloseCutsTheReactorThatRunsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			<-ctx.Done()
			return nil // it could finish
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "s", 1))
		err := bus.Close(within(t, time.Second))
		if err != nil { // Close does not wait to see
			requireUndelivered(t, err, 1, context.DeadlineExceeded)
		}
		require.NoError(t, bus.Close(t.Context()), "nothing is left")
	})
}

func TestBusCloseWithoutListen(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	var r busRecord
	require.NoError(t, bus.Subscribe("one", &r, "note"))
	require.NoError(t, bus.Subscribe("two", &r, "note"))
	closeBus(t, bus)

	bus = quietBus(evsourcing.EventBusOptions{})
	require.NoError(t, bus.Subscribe("one", &r, "note"))
	require.NoError(t, bus.Subscribe("two", &r, "note"))
	publishEach(t, bus, busMessages("note", "s", 3)...)
	for range 2 {
		requireUndelivered(t, bus.Close(context.Background()), 3, evsourcing.ErrNotListening)
	}
	requireOnly(t, bus.Listen(), evsourcing.ErrBusClosed)
	assert.Empty(t, r.all())
}

func TestBusCloseTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 10)
		publishEach(t, bus, busMessages("note", "s", 2)...)
		var closing []<-chan error
		for range 10 {
			closing = append(closing, after(func() error { return bus.Close(context.Background()) }))
		}
		synctest.Wait()
		for _, c := range closing {
			assert.False(t, answered(c), "every call waits")
		}
		gate.open()
		for _, c := range closing {
			require.NoError(t, <-c)
		}
		closeBus(t, bus)
		closeBus(t, bus)
	})
}

func TestBusCloseWithShortAndLongContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, _ := gatedBus(t, 10)
		publishEach(t, bus, busMessages("note", "s", 2)...)
		start := time.Now()
		long := after(func() error { return bus.Close(context.Background()) })
		medium := after(func() error { return bus.Close(within(t, time.Minute)) })
		requireUndelivered(t, bus.Close(within(t, time.Second)), 2, context.DeadlineExceeded)
		requireUndelivered(t, <-medium, 2, context.DeadlineExceeded)
		requireUndelivered(t, <-long, 2, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start), "the shortest context cuts for all")
	})
}

func TestBusCloseInsideAReactorReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 1}})
		var inside error
		start := time.Now()
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			inside = bus.Close(ctx)
			assert.Equal(t, time.Second, time.Since(start))
			return nil
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 3)...)
		outside := after(func() error { <-time.After(time.Millisecond); return bus.Close(context.Background()) })
		requireUndelivered(t, <-outside, 2, context.DeadlineExceeded)
		requireUndelivered(t, inside, 3, context.DeadlineExceeded)
	})
}

func TestBusCloseInsideAReactorEndsWithTheReactorsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		var inside []error
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			inside = append(inside, bus.Close(ctx), bus.Close(ctx))
			return nil
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "s", 1))
		start := time.Now()
		requireUndelivered(t, bus.Close(within(t, time.Second)), 1, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		require.NoError(t, bus.Close(t.Context()))
		require.Len(t, inside, 2)
		for _, err := range inside {
			requireUndelivered(t, err, 1, context.DeadlineExceeded)
		}
	})
}

func TestBusAcceptsLateMessagesUpToItsBuffer(t *testing.T) {
	for _, onFull := range []evsourcing.FullPolicy{evsourcing.WaitWhenFull, evsourcing.DeadLetterWhenFull} {
		synctest.Test(t, func(t *testing.T) {
			var letters busLetters
			bus := quietBus(evsourcing.EventBusOptions{Buffer: 3, OnFull: onFull, DeadLetter: letters.take})
			var r busRecord
			require.NoError(t, bus.Subscribe("one", &r, "note"))
			require.NoError(t, bus.Subscribe("two", &r, "note"))
			require.NoError(t, bus.Listen())
			closeBus(t, bus)
			start := time.Now()
			publishEach(t, bus, busMessages("note", "late", 2)...)
			requireOnly(t, bus.Publish(t.Context(), busMessages("note", "batch", 2)...), evsourcing.ErrBusClosed)
			publishEach(t, bus, busMessage("nobody's", "late", 3))
			requireOnly(t, bus.Publish(t.Context(), busMessage("note", "late", 4)), evsourcing.ErrBusClosed)
			assert.Equal(t, start, time.Now())
			assert.Equal(t, 3, bus.Pending())
			requireUndelivered(t, bus.Close(t.Context()), 3, evsourcing.ErrBusClosed)
			assert.Empty(t, r.all())
			assert.Empty(t, letters.all())
		})
	}
}

func TestBusLateSaveSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 2)
		accounts := busAccounts(bus, evsourcing.NewMemoryStore())
		gate.open()
		closeBus(t, bus)
		for range 2 {
			require.NoError(t, busWrite(t.Context(), accounts, "a"))
		}
		a, err := accounts.Load(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, 2, a.Notes)
		require.ErrorIs(t, busWrite(t.Context(), accounts, "a"), evsourcing.ErrBusClosed)
		a, err = accounts.Load(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, 2, a.Notes, "nothing was stored")
		assert.Empty(t, gate.all())
	})
}

// A save that has its room already when Close begins, and its bus closed when
// its append is done.
func TestBusCloseDuringASave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 1)
		gate.open()
		store := &refusingStore{MemoryStore: evsourcing.NewMemoryStore(), pause: time.Second}
		accounts := busAccounts(bus, store)
		var saves []<-chan error
		for i := range 3 { // one has room on the bus, one will have it among what is kept
			saves = append(saves, after(func() error { return busWrite(t.Context(), accounts, fmt.Sprint(i)) }))
			synctest.Wait()
		}
		require.NoError(t, bus.Close(t.Context()), "nothing is queued yet")
		require.NoError(t, <-saves[0])
		require.NoError(t, <-saves[1])
		require.ErrorIs(t, <-saves[2], evsourcing.ErrBusClosed)
		assert.Equal(t, 2, bus.Pending())
		assert.Empty(t, gate.all())
		_, err := accounts.Load(t.Context(), "2")
		require.ErrorIs(t, err, evsourcing.ErrNotFound)
	})
}

func TestBusCloseAnswersPublishersWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, gate := gatedBus(t, 4)
		publishEach(t, bus, busMessages("note", "s", 4)...)
		var waiting []<-chan error
		for v := range 10 {
			waiting = append(waiting, publishing(t.Context(), bus, busMessage("note", "late", v+1)))
		}
		start := time.Now()
		closing := after(func() error { return bus.Close(context.Background()) })
		synctest.Wait()
		for i, w := range waiting {
			require.True(t, answered(w), i)
			if err := <-w; i < 4 {
				require.NoError(t, err, "kept, in their order")
			} else {
				requireOnly(t, err, evsourcing.ErrBusClosed)
			}
		}
		assert.Equal(t, start, time.Now())
		assert.False(t, answered(closing))
		gate.open()
		requireUndelivered(t, <-closing, 4, evsourcing.ErrBusClosed)
		assert.Len(t, gate.all(), 4)
	})
}

// However Close and 64 publishers race: what was published without an error is
// handled, dead, or counted.
func TestBusSixtyFourPublishersWhileCloseRuns(t *testing.T) {
	for round := range busScale(60, 20, 10) {
		synctest.Test(t, func(t *testing.T) {
			var letters busLetters
			bus := quietBus(evsourcing.EventBusOptions{
				Buffer: 1 + round%7, Concurrency: 1 + round%5, DeadLetter: letters.take,
				Retry: evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Millisecond},
			})
			var handled, published, more, refused atomic.Int64
			require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				select {
				case <-time.After(rand.N(3 * time.Millisecond)):
				case <-ctx.Done():
					return ctx.Err()
				}
				if rand.N(10) == 0 {
					return errBus
				}
				if m.Version%4 == 0 && m.Topic == "note" {
					m.Topic = "more" // a reactor that publishes, too
					if bus.Publish(ctx, m) == nil {
						more.Add(1)
					}
				}
				handled.Add(1)
				return nil
			}), "note", "more"))
			require.NoError(t, bus.Listen())
			var publishers sync.WaitGroup
			for i := range 64 {
				publishers.Go(func() {
					for v := range 10 {
						if err := bus.Publish(context.Background(), busMessage("note", fmt.Sprint(i), v+1)); err != nil {
							assert.ErrorIs(t, err, evsourcing.ErrBusClosed)
							refused.Add(1)
						} else {
							published.Add(1)
						}
					}
				})
			}
			<-time.After(rand.N(50 * time.Millisecond))
			ctx := context.Background()
			if round%2 == 0 {
				ctx = within(t, rand.N(20*time.Millisecond))
			}
			err := bus.Close(ctx)
			publishers.Wait()
			synctest.Wait()
			undelivered := 0
			if err := bus.Close(context.Background()); err != nil {
				var u *evsourcing.UndeliveredError
				require.ErrorAs(t, err, &u)
				undelivered = u.Count
			}
			if round%2 == 1 && err != nil {
				require.NotErrorIs(t, err, context.DeadlineExceeded)
			}
			assert.Equal(t, undelivered, bus.Pending())
			assert.Equal(t, published.Load()+more.Load(), handled.Load()+int64(len(letters.all())+undelivered))
			assert.Equal(t, int64(640), published.Load()+refused.Load())
		})
	}
}

// Pending, whenever one looks: what was published is what was settled plus what
// is pending.
func TestBusPendingIsWhatWasPublishedLessWhatWasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters busLetters
		bus := quietBus(evsourcing.EventBusOptions{
			Buffer: 8, Concurrency: 3, DeadLetter: letters.take, Retry: evsourcing.RetryPolicy{MaxAttempts: 3, InitialInterval: time.Millisecond},
		})
		topics := []string{"1", "2", "3"} // each has one subscription, so that a message is a pair
		var settled, published atomic.Int64
		for _, topic := range topics {
			require.NoError(t, bus.Subscribe(topic, evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
				<-time.After(rand.N(4 * time.Millisecond))
				switch rand.N(8) {
				case 0:
					return errBus
				case 1:
					panic("now and then")
				case 2:
					runtime.Goexit()
				}
				settled.Add(1)
				return nil
			}), topic))
		}
		publish := func(n int, stream string) {
			var batch []evsourcing.Message
			for v := range n {
				batch = append(batch, busMessage(topics[rand.N(3)], stream, v))
			}
			if bus.Publish(t.Context(), batch...) == nil {
				published.Add(int64(n))
			}
		}
		check := func() {
			synctest.Wait()
			require.Equal(t, published.Load(), settled.Load()+int64(len(letters.all())+bus.Pending()))
		}
		publish(3, "kept")
		check()
		require.Equal(t, 3, bus.Pending())
		require.NoError(t, bus.Listen())
		check()
		var publishers sync.WaitGroup
		for i := range 8 {
			publishers.Go(func() {
				for j := range 40 {
					publish(1+j%3, fmt.Sprint(i))
					<-time.After(rand.N(5 * time.Millisecond))
				}
			})
		}
		for range 100 {
			<-time.After(time.Millisecond)
			check()
		}
		closing := after(func() error { return bus.Close(context.Background()) })
		for !answered(closing) {
			<-time.After(100 * time.Microsecond)
			check()
		}
		if err := <-closing; err != nil {
			require.ErrorIs(t, err, evsourcing.ErrBusClosed, "for what came late")
		}
		publishers.Wait()
		check()
	})
}

// A message is pending until its subscription is done with it, running included.
func TestBusPendingCountsPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		one, two := newBusGate(), newBusGate()
		require.NoError(t, bus.Subscribe("one", one, "note", "more"))
		require.NoError(t, bus.Subscribe("two", two, "note"))
		assert.Zero(t, bus.Pending())
		publishEach(t, bus, busMessage("note", "s", 1), busMessage("nobody's", "s", 2))
		assert.Equal(t, 2, bus.Pending())
		require.NoError(t, bus.Listen())
		assert.Equal(t, 2, bus.Pending(), "of one message, two pairs; of the other none")
		publishEach(t, bus, busMessage("more", "s", 3), busMessage("nobody's", "s", 4))
		assert.Equal(t, 3, bus.Pending())
		one.let(1)
		synctest.Wait()
		assert.Equal(t, 2, bus.Pending())
		two.let(1)
		synctest.Wait()
		assert.Equal(t, 1, bus.Pending())
		one.open()
		closeBus(t, bus)
	})
}

// Outside of bubbles: goroutines are gone once Close has returned nil.
func TestBusCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 50 {
		base, cancel := context.WithCancel(context.Background())
		bus := quietBus(evsourcing.EventBusOptions{BaseContext: base, Buffer: 4, Retry: evsourcing.RetryPolicy{InitialInterval: time.Microsecond}})
		var r busRecord
		require.NoError(t, bus.Subscribe("good", &r, "note"))
		require.NoError(t, bus.Subscribe("bad", failing(2, func() error { runtime.Goexit(); return nil }, &r), "note"))
		require.NoError(t, bus.Listen())
		for _, stream := range busStreams(20) {
			publishEach(t, bus, busMessage("note", stream, 1))
		}
		closeBus(t, bus)
		cancel()
	}
	noMoreGoroutines(t, before)
}

// noMoreGoroutines waits until there are as many goroutines as before.
func noMoreGoroutines(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

// closeRounds lets, so many times, publishers, reactors that publish, and one or more
// calls of Close with more or less time work on a bus at once, which wrap may wrap. It
// returns an error if messages were lost, and how many were published and settled, by
// subscriptions, and left over.
func closeRounds(rounds int, wrap func(*evsourcing.EventBus) busLike) (total, done, left int64, err error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	retry := evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Microsecond, MaxInterval: 2 * time.Microsecond}
	for round := range rounds {
		var settled, published atomic.Int64
		bus := wrap(quietBus(evsourcing.EventBusOptions{
			Buffer: 1 + round%5, Concurrency: 1 + round%3, Retry: retry,
			DeadLetter: func(context.Context, evsourcing.DeadLetter) error { settled.Add(1); return nil },
		}))
		reactor := func(fail uint64) evsourcing.Reactor {
			return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
				if m.Version == fail {
					return errBus
				}
				if m.Version == 2 {
					m.Version = 100
					if bus.Publish(ctx, m) == nil {
						published.Add(2)
					}
				}
				settled.Add(1)
				return nil
			})
		}
		if err := errors.Join(bus.Subscribe("one", reactor(3), "note"), bus.Subscribe("two", reactor(4), "note"), bus.Listen()); err != nil {
			return total, done, left, err
		}
		var bad atomic.Pointer[error]
		var running sync.WaitGroup
		for p := range 3 {
			running.Go(func() {
				for v := range 5 {
					if bus.Publish(context.Background(), busRoundMessage(p, v+1)) == nil {
						published.Add(2)
					}
				}
			})
		}
		for c := range 1 + round%3 {
			running.Go(func() {
				for range (round + c) % 11 {
					runtime.Gosched()
				}
				ctx := context.Background()
				if (round+c)%4 == 0 {
					ctx = ended
				}
				err := bus.Close(ctx)
				var u *evsourcing.UndeliveredError
				if err != nil && !errors.As(err, &u) {
					bad.Store(&err)
				}
			})
		}
		running.Wait()
		_ = bus.Close(context.Background())
		// What came late counts once, not for each subscription.
		lost := published.Load() - settled.Load()
		if pending := int64(bus.Pending()); lost < pending || lost > 2*pending {
			return total, done, left, fmt.Errorf("round %d: published %d pairs, settled %d, pending %d", round, published.Load(), settled.Load(), pending)
		}
		if err := bad.Load(); err != nil {
			return total, done, left, fmt.Errorf("round %d: Close: %w", round, *err)
		}
		total, done, left = total+published.Load(), done+settled.Load(), left+int64(bus.Pending())
	}
	return total, done, left, nil
}

// 10,000 closes under load: every message that was taken is settled by its subscriptions,
// or counted as undelivered, and no goroutine is left.
func TestBusManyCloseRounds(t *testing.T) {
	before := runtime.NumGoroutine()
	rounds := busScale(10_000, 2_000, 500)
	total, done, left, err := closeRounds(rounds, asItIs)
	require.NoError(t, err)
	noMoreGoroutines(t, before)
	t.Attr("figure", fmt.Sprintf("%d closes under load: %d deliveries accepted, %d settled, the others counted as %d undelivered, 0 lost, 0 goroutines left", rounds, total, done, left))
}

// A bus that forgets what comes while it closes is found.
func TestBusManyCloseRoundsControl(t *testing.T) {
	_, _, _, err := closeRounds(busScale(10_000, 2_000, 500), func(b *evsourcing.EventBus) busLike { return &droppingBus{EventBus: b} })
	require.ErrorContains(t, err, "pending")
	t.Attr("figure", fmt.Sprintf("a bus that drops what comes after Close was called: found in %v", err))
}

func busRoundMessage(stream, version int) evsourcing.Message {
	return evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
		Stream: evsourcing.StreamID{Type: "bus", ID: "abc"[stream : stream+1]}, Version: uint64(version), Topic: "note",
	}}
}
