package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failOn returns a function that fails on batches with one of the versions, in
// the ways of a handler.
func failOn(how string, versions ...uint64) func([]evsourcing.Message) error {
	return func(msgs []evsourcing.Message) error {
		for _, m := range msgs {
			for _, v := range versions {
				if m.Version != v {
					continue
				}
				switch how {
				case "panic":
					panic(errSub)
				case "Goexit":
					runtime.Goexit()
				}
				return errSub
			}
		}
		return nil
	}
}

func TestSubscriptionGivesUpTheBadEventAlone(t *testing.T) {
	for _, how := range []string{"error", "panic", "Goexit"} {
		for _, each := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s each=%v", how, each), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := evsourcing.NewMemoryStore()
					write(t, store, "note", "a", 10)
					fail := failOn(how, 3, 8)
					calls, given := 0, []string{}
					rec := &subRecord{fail: func(msgs []evsourcing.Message) error {
						calls++
						return fail(msgs)
					}}
					var h evsourcing.Handler = rec
					if each {
						h = evsourcing.Each(evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
							return rec.Handle(ctx, []evsourcing.Message{m})
						}))
					}
					s := subscribe(store, store, h, evsourcing.SubscriptionOptions{
						BatchSize: 5, Retry: evsourcing.RetryPolicy{MaxAttempts: 3},
						OnFailure: func(ctx context.Context, d evsourcing.DeadLetter) error {
							given = append(given, fmt.Sprint(d.Subscription, " ", d.Message.Stream.ID, " ", d.Message.Version, " ", d.Attempts))
							if how == "error" {
								assert.Equal(t, errSub, d.Err)
							} else {
								assert.ErrorAs(t, d.Err, new(*evsourcing.PanicError))
							}
							assert.Equal(t, d.Message.ID.String(), evsourcing.MetadataFromContext(ctx)[evsourcing.MetaCausationID])
							return nil
						},
					})
					sub := start(t, s)
					sub.reach(t, 10)
					sub.stop(t)
					assert.Equal(t, []string{"sub a 3 3", "sub a 8 3"}, given)
					assert.Equal(t, []string{"a 1", "a 2", "a 4", "a 5", "a 6", "a 7", "a 9", "a 10"}, rec.all())
					want := 2 * (3 + 4 + 3) // whole batches, good messages, the bad one
					if each {
						want = 8 + 2*3
					}
					assert.Equal(t, want, calls)
					assert.Equal(t, [2]uint64{8, 2}, [2]uint64{s.Status().Handled, s.Status().GivenUp})
					assert.Equal(t, uint64(10), checkpointOf(t, store, "sub").Position)
				})
			})
		}
	}
}

func TestSubscriptionStopsAtTheBadEvent(t *testing.T) {
	for _, how := range []string{"error", "panic", "Goexit"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 10)
				rec := &subRecord{fail: failOn(how, 6)}
				var log busLog
				s := subscribe(store, store, rec, evsourcing.SubscriptionOptions{
					Retry: evsourcing.RetryPolicy{MaxAttempts: 2}, Logger: slog.New(&log),
				})
				err := s.Run(t.Context())
				if how != "Goexit" {
					require.ErrorIs(t, err, errSub)
				}
				if how != "error" {
					require.ErrorAs(t, err, new(*evsourcing.PanicError))
				}
				require.ErrorContains(t, err, `evsourcing: subscription "sub": the event at position 6, version 6 of bus/a, topic "note", failed in 2 attempts`)
				assert.Equal(t, uint64(5), checkpointOf(t, store, "sub").Position)
				assert.Equal(t, []string{"a 1", "a 2", "a 3", "a 4", "a 5"}, rec.all())
				assert.Equal(t, err, s.Status().Err)
				require.ErrorIs(t, s.WaitFor(t.Context(), 6), err)
				require.NoError(t, s.WaitFor(t.Context(), 5))
				assert.Len(t, log.find(slog.LevelWarn, "will be tried again"), 2)
				assert.Len(t, log.find(slog.LevelError, "set OnFailure"), 1)

				rec.fail = nil
				sub := start(t, s)
				synctest.Wait()
				sub.reach(t, 10)
				sub.stop(t)
				assert.Len(t, rec.all(), 10, "nothing is missing, nothing twice")
			})
		})
	}
}

// Event by event, nothing that was handled before the bad one is handled again
// if the process dies while that one is tried again.
func TestSubscriptionSavesBeforeItTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 10)
		fail := failOn("error", 4)
		h := evsourcing.Each(evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
			return fail([]evsourcing.Message{m})
		}))
		sub := start(t, subscribe(store, store, h, evsourcing.SubscriptionOptions{
			Retry: evsourcing.RetryPolicy{InitialInterval: time.Hour, MaxInterval: time.Hour},
		}))
		synctest.Wait()
		assert.Equal(t, uint64(3), checkpointOf(t, store, "sub").Position)
		sub.stop(t)
	})
}

func TestSubscriptionRetriesWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		var times []time.Duration
		began := time.Now()
		err := subscribe(store, store, evsourcing.HandlerFunc(func(context.Context, []evsourcing.Message) error {
			times = append(times, time.Since(began))
			return errSub
		}), evsourcing.SubscriptionOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 5, InitialInterval: time.Second, MaxInterval: 4 * time.Second}}).Run(t.Context())
		require.ErrorIs(t, err, errSub)
		require.Len(t, times, 5)
		for i, most := range []time.Duration{1, 2, 4, 4} {
			pause := times[i+1] - times[i]
			assert.GreaterOrEqual(t, pause, most*time.Second/2)
			assert.LessOrEqual(t, pause, most*time.Second)
		}
	})
}

func TestSubscriptionWhoseOnFailureFails(t *testing.T) {
	errLetter := errors.New("no room for letters")
	for how, onFailure := range map[string]func() error{
		"error":  func() error { return errLetter },
		"panic":  func() error { panic(errLetter) },
		"Goexit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 3)
				calls := 0
				err := subscribe(store, store, &subRecord{fail: failOn("error", 2)}, evsourcing.SubscriptionOptions{
					OnFailure: func(context.Context, evsourcing.DeadLetter) error { calls++; return onFailure() },
				}).Run(t.Context())
				require.ErrorIs(t, err, errSub)
				if how != "Goexit" {
					require.ErrorIs(t, err, errLetter)
				}
				require.ErrorContains(t, err, "OnFailure")
				assert.Equal(t, 1, calls)
				assert.Equal(t, uint64(1), checkpointOf(t, store, "sub").Position, "the event is not settled")
			})
		})
	}
}

func TestSubscriptionToAnUnknownTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		write(t, store, "strange", "a", 2)
		write(t, store, "note", "a", 1)
		write(t, store, "strange", "a", 1)

		rec := &subRecord{}
		s := subscribe(store, store, rec, evsourcing.SubscriptionOptions{})
		err := s.Run(t.Context())
		require.ErrorIs(t, err, evsourcing.ErrUnknownTopic)
		require.ErrorContains(t, err, `the event at position 3, version 3 of bus/a, topic "strange", failed in 1 attempts`)
		assert.Equal(t, []string{"a 1", "a 2"}, rec.all(), "what comes before is handled")
		assert.Equal(t, uint64(2), checkpointOf(t, store, "sub").Position)

		var log busLog
		skip := start(t, evsourcing.NewSubscription("skip", store, store, subCodec(), rec,
			&evsourcing.SubscriptionOptions{SkipUnknown: true, Logger: slog.New(&log)}))
		skip.reach(t, 6)
		skip.stop(t)
		assert.Equal(t, []string{"a 1", "a 2", "a 1", "a 2", "a 5"}, rec.all())
		assert.Equal(t, uint64(6), checkpointOf(t, store, "skip").Position)
		assert.Equal(t, uint64(3), skip.Status().Handled)
		assert.Len(t, log.find(slog.LevelWarn, "unknown topic"), 1, "once a topic")

		var given []uint64
		letters := start(t, evsourcing.NewSubscription("letters", store, store, subCodec(), rec, subOptions(evsourcing.SubscriptionOptions{
			OnFailure: func(_ context.Context, d evsourcing.DeadLetter) error {
				assert.Nil(t, d.Message.Event)
				assert.Equal(t, "{}", string(d.Message.Data))
				given = append(given, d.Message.Position)
				return nil
			},
		})))
		letters.reach(t, 6)
		letters.stop(t)
		assert.Equal(t, []uint64{3, 4, 6}, given)
	})
}

// What a lane remembers of topics that it skips is bounded, and so is what it logs.
func TestSubscriptionLogsSoManyUnknownTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		const topics = 1030
		batch := evsourcing.Batch{Stream: evsourcing.StreamID{Type: "bus", ID: "a"}, Expected: evsourcing.AnyVersion}
		for i := range topics {
			batch.Events = append(batch.Events, evsourcing.StoredEvent{ID: uuid.New(), Topic: fmt.Sprint("strange-", i), ContentType: "application/json", Data: []byte("{}")})
		}
		_, err := store.Append(t.Context(), batch)
		require.NoError(t, err)
		var log busLog
		skip := start(t, evsourcing.NewSubscription("skip", store, store, subCodec(), &subRecord{},
			&evsourcing.SubscriptionOptions{SkipUnknown: true, Logger: slog.New(&log)}))
		skip.reach(t, topics)
		skip.stop(t)
		assert.Len(t, log.find(slog.LevelWarn, "unknown topic"), 1024)
	})
}

// A payload that can't be decoded is tried again, from what was stored.
func TestSubscriptionTriesToDecodeAgain(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 2)
				write(t, store, "old", "a", 1)
				write(t, store, "note", "a", 1)
				codec := subCodec()
				attempts := 0
				codec.Upcast("old", "note", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
					assert.Equal(t, "old", e.Topic)
					assert.Equal(t, "{}", string(e.Data))
					if attempts++; attempts < 4 {
						if how == "panic" {
							panic(errSub)
						}
						return e, errSub
					}
					e.Data = []byte(`{"text":"old"}`)
					return e, nil
				})
				var texts []string
				sub := start(t, evsourcing.NewSubscription("sub", store, store, codec, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
					for _, m := range msgs {
						texts = append(texts, m.Event.(busNote).Text)
					}
					return nil
				}), subOptions(evsourcing.SubscriptionOptions{})))
				sub.reach(t, 4)
				sub.stop(t)
				assert.Equal(t, 4, attempts)
				assert.Equal(t, []string{"", "", "old", ""}, texts)
			})
		})
	}
}

func TestSubscriptionWhoseCodecEndsTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "old", "a", 1)
		codec := subCodec()
		codec.Upcast("old", "note", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			runtime.Goexit()
			return e, nil
		})
		err := evsourcing.NewSubscription("sub", store, store, codec, &subRecord{}, subOptions(evsourcing.SubscriptionOptions{})).Run(t.Context())
		require.ErrorContains(t, err, "the codec has called runtime.Goexit")
	})
}

// An error that can't be asked anything, and a logger that can't take it, end
// neither the process nor the subscription.
func TestSubscriptionSurvivesHostileErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		failures := 0
		sub := start(t, subscribe(store, store, evsourcing.HandlerFunc(func(context.Context, []evsourcing.Message) error {
			if failures++; failures < 4 {
				return (*hostileError)(nil)
			}
			return nil
		}), evsourcing.SubscriptionOptions{Logger: slog.New(panickingLog{})}))
		sub.reach(t, 2)
		sub.stop(t)

		err := evsourcing.NewSubscription("stops", store, store, subCodec(), evsourcing.HandlerFunc(func(context.Context, []evsourcing.Message) error {
			return (*hostileError)(nil)
		}), subOptions(evsourcing.SubscriptionOptions{})).Run(t.Context())
		require.ErrorContains(t, err, "failed in 5 attempts")
	})
}

type hostileError struct{ text string }

func (e *hostileError) Error() string   { return e.text }
func (e *hostileError) Is(error) bool   { return e.text == "" }
func (e *hostileError) Unwrap() error   { return errors.New(e.text) }
func (e *hostileError) LogValue() error { panic(e.text) }

type panickingLog struct{ slog.Handler }

func (panickingLog) Enabled(context.Context, slog.Level) bool  { return true }
func (panickingLog) Handle(context.Context, slog.Record) error { panic("the log is full") }

// brokenSub is a log and checkpoint store whose methods fail while they are
// told to.
type brokenSub struct {
	*evsourcing.MemoryStore
	head, events, wait, load, save atomic.Bool
	err                            error
}

func (s *brokenSub) errIf(b *atomic.Bool) error {
	if b.Load() {
		return s.err
	}
	return nil
}

func (s *brokenSub) Head(ctx context.Context) (evsourcing.Mark, error) {
	if err := s.errIf(&s.head); err != nil {
		return evsourcing.Mark{}, err
	}
	return s.MemoryStore.Head(ctx)
}

func (s *brokenSub) Wait(ctx context.Context, after uint64) error {
	if err := s.errIf(&s.wait); err != nil {
		return err
	}
	return s.MemoryStore.Wait(ctx, after)
}

func (s *brokenSub) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if err := s.errIf(&s.events); err != nil {
		return func(yield func(evsourcing.StoredEvent, error) bool) { yield(evsourcing.StoredEvent{}, err) }
	}
	return s.MemoryStore.Events(ctx, r, f)
}

func (s *brokenSub) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if err := s.errIf(&s.load); err != nil {
		return evsourcing.Checkpoint{}, false, err
	}
	return s.MemoryStore.Checkpoint(ctx, name)
}

func (s *brokenSub) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if err := s.errIf(&s.save); err != nil {
		return err
	}
	return s.MemoryStore.SaveCheckpoint(ctx, name, c)
}

func TestSubscriptionOutlastsFailuresOfTheStores(t *testing.T) {
	for name, which := range map[string]func(s *brokenSub) *atomic.Bool{
		"Head":           func(s *brokenSub) *atomic.Bool { return &s.head },
		"Events":         func(s *brokenSub) *atomic.Bool { return &s.events },
		"Checkpoint":     func(s *brokenSub) *atomic.Bool { return &s.load },
		"SaveCheckpoint": func(s *brokenSub) *atomic.Bool { return &s.save },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: errChaos}
				broken := which(store)
				broken.Store(true)
				write(t, store.MemoryStore, "note", "a", 3)
				rec := &subRecord{}
				var log busLog
				s := subscribe(store, store, rec, evsourcing.SubscriptionOptions{Logger: slog.New(&log), Retry: evsourcing.RetryPolicy{MaxAttempts: 2}})
				sub := start(t, s)
				<-time.After(time.Minute)
				assert.False(t, answered(sub.done), "longer than MaxAttempts")
				require.ErrorIs(t, s.Status().Err, errChaos)
				assert.NotEmpty(t, log.find(slog.LevelWarn, "try again"))
				broken.Store(false)
				sub.reach(t, 3)
				<-time.After(time.Minute)
				require.NoError(t, s.Status().Err)
				assert.Len(t, rec.all(), 3)
				assert.Equal(t, uint64(3), checkpointOf(t, store.MemoryStore, "sub").Position)
				sub.stop(t)
			})
		})
	}
}

func TestSubscriptionPollsWhenWaitingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: errChaos}
		store.wait.Store(true)
		var log busLog
		s := subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{PollInterval: time.Second, Logger: slog.New(&log)})
		sub := start(t, s)
		<-time.After(1000 * time.Second)
		began := time.Now()
		sub.reach(t, write(t, store.MemoryStore, "note", "a", 1))
		assert.LessOrEqual(t, time.Since(began), time.Second)
		require.ErrorIs(t, s.Status().Err, errChaos)
		assert.Len(t, log.find(slog.LevelWarn, "polls"), 10, "after 1, 2, 4, ... failures")
		store.wait.Store(false)
		<-time.After(time.Minute)
		require.NoError(t, s.Status().Err)
		sub.stop(t)
	})
}

func TestSubscriptionThatCantSaveItsLastCheckpointSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: errChaos}
		store.save.Store(true)
		sub := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{}))
		sub.reach(t, write(t, store.MemoryStore, "note", "a", 3))
		sub.cancel()
		began := time.Now()
		err := <-sub.done
		require.ErrorContains(t, err, `evsourcing: subscription "sub": saving the checkpoint: `)
		assert.LessOrEqual(t, time.Since(began), 5*time.Second)
	})
}

func TestSubscriptionEndsAtOnceOnWhatWillNotChange(t *testing.T) {
	for name, which := range map[string]func(s *brokenSub) *atomic.Bool{
		"Events":         func(s *brokenSub) *atomic.Bool { return &s.events },
		"SaveCheckpoint": func(s *brokenSub) *atomic.Bool { return &s.save },
	} {
		for _, err := range []error{evsourcing.ErrFenced, errors.ErrUnsupported} {
			t.Run(fmt.Sprint(name, " ", err), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: err}
					which(store).Store(true)
					write(t, store.MemoryStore, "note", "a", 3)
					require.ErrorIs(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{}).Run(t.Context()), err)
				})
			})
		}
	}
}

func TestSubscriptionStopsWhateverItWaitsFor(t *testing.T) {
	for _, broken := range []string{"nothing", "Head", "Events", "Wait", "Checkpoint", "handler"} {
		t.Run(broken, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: errChaos}
				write(t, store.MemoryStore, "note", "a", 3)
				store.head.Store(broken == "Head")
				store.events.Store(broken == "Events")
				store.wait.Store(broken == "Wait")
				store.load.Store(broken == "Checkpoint")
				rec := &subRecord{}
				if broken == "handler" {
					rec.fail = failOn("error", 2)
				}
				sub := start(t, subscribe(store, store, rec, evsourcing.SubscriptionOptions{
					Retry: evsourcing.RetryPolicy{InitialInterval: time.Hour, MaxInterval: time.Hour}, PollInterval: time.Hour,
				}))
				<-time.After(time.Minute)
				began := time.Now()
				sub.stop(t)
				assert.Zero(t, time.Since(began))
			})
		})
	}
}

func TestSubscriptionUnderAContextThatHasEnded(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	write(t, store, "note", "a", 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec := &subRecord{}
	require.NoError(t, subscribe(store, store, rec, evsourcing.SubscriptionOptions{Lease: time.Second}).Run(ctx))
	require.NoError(t, subscribe(store, store, rec, evsourcing.SubscriptionOptions{}).Run(ctx))
	assert.Empty(t, rec.all())
}

// A test that ends in a log's method must not leave anything behind.
func TestSubscriptionWhoseGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		s := subscribe(exitLog{plainLog{store}}, store, &subRecord{}, evsourcing.SubscriptionOptions{Partitions: 4, Lease: time.Minute})
		go func() { _ = s.Run(context.Background()) }()
		require.ErrorContains(t, s.WaitFor(t.Context(), 1), "the goroutine of Run has ended")
	})
}

type exitLog struct{ plainLog }

func (exitLog) Head(context.Context) (evsourcing.Mark, error) {
	runtime.Goexit()
	return evsourcing.Mark{}, nil
}
