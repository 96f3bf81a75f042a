package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rule 4: errors and panics are retried, then dead-lettered, and logged.

var errBus = errors.New("the reactor failed")

// fails returns a reactor that fails on the topic n times for each message, and
// hands what it does not fail on to next.
func failing(n int, fail func() error, next evsourcing.Reactor) evsourcing.Reactor {
	var mu sync.Mutex
	attempts := map[string]int{}
	return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
		mu.Lock()
		key := m.Stream.ID + fmt.Sprint(m.Version)
		attempts[key]++
		again := attempts[key] <= n
		mu.Unlock()
		if again {
			return fail()
		}
		return next.React(ctx, m)
	})
}

func failure() error { return errBus }

func TestBusRetriesWithExponentialPausesAndJitter(t *testing.T) {
	second := time.Second
	for _, test := range []struct {
		name   string
		policy evsourcing.RetryPolicy
		pauses []time.Duration // at most; at least half of it
	}{
		{
			name:   "default: 5 attempts, 100 ms",
			pauses: []time.Duration{second / 10, second / 5, second * 2 / 5, second * 4 / 5},
		},
		{
			name:   "default: 10 s at most",
			policy: evsourcing.RetryPolicy{MaxAttempts: 9, InitialInterval: 2 * second},
			pauses: []time.Duration{2 * second, 4 * second, 8 * second, 10 * second, 10 * second, 10 * second, 10 * second, 10 * second},
		},
		{
			name:   "bounded",
			policy: evsourcing.RetryPolicy{MaxAttempts: 6, InitialInterval: second, MaxInterval: 4 * second},
			pauses: []time.Duration{second, 2 * second, 4 * second, 4 * second, 4 * second},
		},
		{
			name:   "constant",
			policy: evsourcing.RetryPolicy{MaxAttempts: 4, InitialInterval: 9 * second, MaxInterval: 3 * second},
			pauses: []time.Duration{3 * second, 3 * second, 3 * second},
		},
		{name: "one attempt", policy: evsourcing.RetryPolicy{MaxAttempts: 1}},
		{
			name:   "negative: the defaults",
			policy: evsourcing.RetryPolicy{MaxAttempts: -1, InitialInterval: -1, MaxInterval: -1},
			pauses: []time.Duration{second / 10, second / 5, second * 2 / 5, second * 4 / 5},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const messages = 200
				var log busLog
				var letters busLetters
				bus := quietBus(evsourcing.EventBusOptions{
					Retry: test.policy, Concurrency: 1, Logger: slog.New(&log), DeadLetter: letters.take,
				})
				var times []time.Time
				require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
					times = append(times, time.Now())
					return errBus
				}), "note"))
				require.NoError(t, bus.Listen())
				publishEach(t, bus, busMessages("note", "s", messages)...)
				closeBus(t, bus)

				n := len(test.pauses) + 1
				require.Len(t, times, messages*n)
				warnings := log.find(slog.LevelWarn, "tried again")
				require.Len(t, warnings, messages*(n-1))
				distinct := map[time.Duration]bool{}
				low, high := 0, 0
				for i := range times {
					if i%n == n-1 { // the last attempt of a message
						if i+1 < len(times) {
							assert.Equal(t, times[i], times[i+1], "a new message starts at once")
						}
						continue
					}
					pause, most := times[i+1].Sub(times[i]), test.pauses[i%n]
					assert.GreaterOrEqual(t, pause, most/2)
					assert.LessOrEqual(t, pause, most)
					distinct[pause] = true
					if pause < most*3/4 {
						low++
					} else {
						high++
					}
					attrs := warnings[i/n*(n-1)+i%n]
					assert.Equal(t, int64(i%n+1), attrs["attempt"].Int64())
					assert.Equal(t, pause, attrs["pause"].Duration())
				}
				if n > 1 {
					assert.Greater(t, len(distinct), messages/2, "jitter")
					assert.Greater(t, low, messages/4, "over the whole range")
					assert.Greater(t, high, messages/4, "over the whole range")
				}
				require.Len(t, letters.all(), messages)
				for _, d := range letters.all() {
					assert.Equal(t, n, d.Attempts)
				}
			})
		})
	}
}

func TestBusGivesUpToDeadLetterAndLogsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log busLog
		var letters busLetters
		bus := quietBus(evsourcing.EventBusOptions{
			Retry: evsourcing.RetryPolicy{MaxAttempts: 3}, Logger: slog.New(&log), DeadLetter: letters.take,
		})
		attempt := 0
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error {
			attempt++
			return fmt.Errorf("attempt %d: %w", attempt, errBus)
		}), "note"))
		require.NoError(t, bus.Listen())
		m := busMessage("note", "s", 7)
		publishEach(t, bus, m)
		closeBus(t, bus)

		require.Len(t, letters.all(), 1)
		d := letters.all()[0]
		assert.Equal(t, "sub", d.Subscription)
		assert.Equal(t, m, d.Message)
		assert.Equal(t, 3, d.Attempts)
		assert.ErrorIs(t, d.Err, errBus)
		assert.ErrorContains(t, d.Err, "attempt 3", "the last attempt's")

		warnings, errs := log.find(slog.LevelWarn, "tried again"), log.find(slog.LevelError, "DeadLetter")
		require.Len(t, warnings, 2)
		require.Len(t, errs, 1)
		for i, attrs := range append(warnings, errs...) {
			assert.Equal(t, "sub", attrs["subscription"].String())
			assert.Equal(t, "note", attrs["topic"].String())
			assert.Equal(t, "bus/s", attrs["stream"].String())
			assert.Equal(t, uint64(7), attrs["version"].Uint64())
			assert.Equal(t, m.ID.String(), attrs["event_id"].String())
			assert.Equal(t, fmt.Sprintf("attempt %d: %v", i+1, errBus), fmt.Sprint(attrs["error"].Any()))
		}
		assert.Equal(t, int64(3), errs[0]["attempts"].Int64())
		assert.Len(t, log.texts(), 3)
	})
}

func TestBusWithoutDeadLetterLogsAndDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log busLog
		bus := quietBus(evsourcing.EventBusOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 1}, Logger: slog.New(&log)})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", failing(1, failure, &r), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 2)...)
		closeBus(t, bus)
		assert.Len(t, log.find(slog.LevelError, "dropped"), 2)
		assert.Len(t, log.texts(), 2)
		assert.Empty(t, r.all())
	})
}

func TestBusLogsWhatDeadLetterFailsOn(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error":   failure,
		"panic":   func() error { panic(errBus) },
		"Goexit":  func() error { runtime.Goexit(); return nil },
		"nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log busLog
				var dead []int
				bus := quietBus(evsourcing.EventBusOptions{
					Retry: evsourcing.RetryPolicy{MaxAttempts: 2}, Logger: slog.New(&log), Buffer: 1,
					DeadLetter: func(_ context.Context, d evsourcing.DeadLetter) error {
						dead = append(dead, int(d.Message.Version))
						if fail == nil {
							return nil
						}
						return fail()
					},
				})
				handled, attempts := 0, 0
				require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
					attempts++
					if m.Version%2 == 1 {
						return errBus
					}
					handled++
					return nil
				}), "note"))
				require.NoError(t, bus.Listen())
				publishEach(t, bus, busMessages("note", "s", 6)...)
				closeBus(t, bus)
				assert.Equal(t, []int{1, 3, 5}, dead, "once each")
				assert.Equal(t, 3, handled, "the lane goes on")
				assert.Equal(t, 9, attempts, "a message given up is not tried again, and the next one has all its attempts")
				assert.Len(t, log.find(slog.LevelError, "goes to DeadLetter"), 3)
				lost := log.find(slog.LevelError, "lost")
				if fail == nil {
					assert.Empty(t, lost)
					return
				}
				require.Len(t, lost, 3)
				assert.Equal(t, uint64(5), lost[2]["version"].Uint64())
				err, _ := lost[2]["error"].Any().(error)
				require.Error(t, err)
				assert.Equal(t, name != "Goexit", errors.Is(err, errBus))
			})
		})
	}
}

func TestBusPanicsAreErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		fail  func() error
		check func(t *testing.T, p *evsourcing.PanicError)
	}{
		{
			name: "a value",
			fail: func() error { panicFromHere("boo"); return nil },
			check: func(t *testing.T, p *evsourcing.PanicError) {
				assert.Equal(t, "boo", p.Value)
				assert.ErrorContains(t, p, "boo")
				assert.NoError(t, p.Unwrap())
			},
		},
		{
			name: "an error",
			fail: func() error { panicFromHere(fmt.Errorf("wrapped: %w", errBus)); return nil },
			check: func(t *testing.T, p *evsourcing.PanicError) {
				assert.ErrorIs(t, p, errBus)
				assert.ErrorContains(t, p, "wrapped")
			},
		},
		{
			name: "a run-time error",
			fail: func() error { panicFromHere(nil); return nil },
			check: func(t *testing.T, p *evsourcing.PanicError) {
				var r *runtime.PanicNilError
				assert.ErrorAs(t, p, &r)
			},
		},
		{
			name: "runtime.Goexit",
			fail: func() error { panicFromHere(runtime.Goexit); return nil },
			check: func(t *testing.T, p *evsourcing.PanicError) {
				assert.Nil(t, p.Value)
				assert.ErrorContains(t, p, "Goexit")
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log busLog
				var letters busLetters
				bus := quietBus(evsourcing.EventBusOptions{
					Retry: evsourcing.RetryPolicy{MaxAttempts: 3}, Logger: slog.New(&log), DeadLetter: letters.take, Concurrency: 1,
				})
				var handled busRecord
				again, forGood := failing(2, test.fail, &handled), failing(3, test.fail, &handled)
				require.NoError(t, bus.Subscribe("sub", again, "note"))
				require.NoError(t, bus.Subscribe("sub", forGood, "bad"))
				require.NoError(t, bus.Listen())
				start := time.Now()
				publishEach(t, bus, busMessage("note", "a", 1), busMessage("bad", "a", 2), busMessage("note", "a", 3))
				closeBus(t, bus)

				assert.Equal(t, []int{1, 3}, handled.of("a"), "retried, and in order")
				assert.GreaterOrEqual(t, time.Since(start), 3*(50+100)*time.Millisecond, "with pauses")
				require.Len(t, letters.all(), 1)
				d := letters.all()[0]
				assert.Equal(t, uint64(2), d.Message.Version)
				assert.Equal(t, 3, d.Attempts)
				var p *evsourcing.PanicError
				require.ErrorAs(t, d.Err, &p)
				assert.Contains(t, string(p.Stack), "panicFromHere", "the stack says where")
				test.check(t, p)

				warnings := log.find(slog.LevelWarn, "tried again")
				assert.Len(t, warnings, 6)
				errs := log.find(slog.LevelError, "DeadLetter")
				require.Len(t, errs, 1)
				assert.Contains(t, errs[0]["stack"].String(), "panicFromHere")
			})
		})
	}
}

// panicFromHere panics with v, or calls it if it is runtime.Goexit.
func panicFromHere(v any) {
	if exit, ok := v.(func()); ok {
		exit()
	}
	panic(v)
}

// A PanicError that a reactor returns is an error like others.
func TestBusReactorErrorsWrapWhatTheyLike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters busLetters
		bus := quietBus(evsourcing.EventBusOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 2}, DeadLetter: letters.take})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", failing(1, func() error { return context.Canceled }, &r), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "s", 1))
		closeBus(t, bus)
		assert.Equal(t, upTo(1), r.of("s"), "a cancellation that is not the bus's is a failure")
		assert.Empty(t, letters.all())
	})
}

func TestBusLaneWaitsForItsRetriesAndNoOtherDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{
			Retry: evsourcing.RetryPolicy{MaxAttempts: 4, InitialInterval: time.Hour, MaxInterval: time.Hour},
		})
		var bad, good, other busRecord
		reactor := failing(3, failure, &bad)
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			if m.Stream.ID == "bad" && m.Version == 1 {
				return reactor.React(ctx, m)
			}
			return good.React(ctx, m)
		}), "note"))
		require.NoError(t, bus.Subscribe("other", &other, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "bad", 3)...)
		synctest.Wait()
		for _, stream := range busStreams(100) {
			publishEach(t, bus, busMessage("note", stream, 1))
		}
		synctest.Wait()
		assert.Greater(t, good.count(), 50, "other lanes go on")
		assert.Equal(t, 103, other.count(), "other subscriptions go on")
		assert.Empty(t, good.of("bad"), "its own lane waits")
		<-time.After(59 * time.Minute) // at least one attempt, at most two
		assert.Empty(t, good.of("bad"))
		assert.Empty(t, bad.all())
		closeBus(t, bus)
		assert.Equal(t, upTo(1), bad.of("bad"))
		assert.Equal(t, []int{2, 3}, good.of("bad"), "in order")
		assert.Equal(t, 102, good.count())
	})
}

func TestBusLaneWaitsForDeadLetterAndNoOtherDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		bus := quietBus(evsourcing.EventBusOptions{
			Retry: evsourcing.RetryPolicy{MaxAttempts: 1},
			DeadLetter: func(context.Context, evsourcing.DeadLetter) error {
				<-release
				return nil
			},
		})
		var good busRecord
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			if m.Stream.ID == "bad" && m.Version == 1 {
				return errBus
			}
			return good.React(ctx, m)
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "bad", 2)...)
		for _, stream := range busStreams(100) {
			publishEach(t, bus, busMessage("note", stream, 1))
		}
		synctest.Wait()
		assert.Greater(t, good.count(), 50)
		assert.Empty(t, good.of("bad"))
		assert.GreaterOrEqual(t, bus.Pending(), 2, "it is not settled before DeadLetter returns")
		close(release)
		closeBus(t, bus)
		assert.Equal(t, []int{2}, good.of("bad"))
	})
}

// The same message fails in one subscription and not in another.
func TestBusSubscriptionsFailAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters busLetters
		bus := quietBus(evsourcing.EventBusOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 2}, DeadLetter: letters.take})
		var good busRecord
		require.NoError(t, bus.Subscribe("bad", failing(9, failure, &good), "note"))
		require.NoError(t, bus.Subscribe("good", &good, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "s", 1))
		closeBus(t, bus)
		assert.Equal(t, []string{"s 1"}, good.all())
		require.Len(t, letters.all(), 1)
		assert.Equal(t, "bad", letters.all()[0].Subscription)
	})
}

// Goexit ends the goroutine, not the lane: nothing is lost or handled twice,
// though every message ends one.
func TestBusSurvivesGoexitEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 100
		dead := 0
		bus := quietBus(evsourcing.EventBusOptions{
			Buffer: 3, Concurrency: 2, Retry: evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: 1, MaxInterval: 1},
			DeadLetter: func(context.Context, evsourcing.DeadLetter) error {
				dead++
				runtime.Goexit()
				return nil
			},
		})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			defer func() { _ = r.React(ctx, m) }()
			runtime.Goexit()
			return nil
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", messages)...)
		closeBus(t, bus)
		assert.Equal(t, messages, dead)
		var want []int
		for _, v := range upTo(messages) {
			want = append(want, v, v)
		}
		assert.Equal(t, want, r.of("s"))
	})
}

func TestBusLogsToTheDefaultLogger(t *testing.T) {
	var log busLog
	old := slog.Default()
	slog.SetDefault(slog.New(&log))
	defer slog.SetDefault(old)
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 1}})
	require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { return errBus }), "note"))
	require.NoError(t, bus.Listen())
	publishEach(t, bus, busMessage("note", "s", 1))
	closeBus(t, bus)
	assert.Len(t, log.find(slog.LevelError, "dropped"), 1)
	for _, text := range log.texts() {
		assert.True(t, strings.Contains(text, "evsourcing: "), text)
	}
}
