package evsourcing_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A handler may do with its slice what it likes, and gets the same batch again.
func TestSubscriptionWhoseHandlerChangesItsSlice(t *testing.T) {
	for _, failures := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d failures", failures), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 5)
				var got, given []uint64
				var kept [][]evsourcing.Message
				calls := 0
				s := subscribe(store, store, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
					calls++
					kept = append(kept, msgs)
					var versions []uint64
					for _, m := range msgs {
						versions = append(versions, m.Version)
					}
					slices.Reverse(msgs)
					if len(msgs) == 1 && versions[0] == 3 {
						msgs[0] = evsourcing.Message{}
						return errSub
					}
					if calls <= failures {
						return errSub
					}
					got = append(got, versions...)
					return nil
				}), evsourcing.SubscriptionOptions{
					Retry: evsourcing.RetryPolicy{MaxAttempts: 3},
					OnFailure: func(_ context.Context, d evsourcing.DeadLetter) error {
						given = append(given, d.Message.Version)
						return nil
					},
				})
				sub := start(t, s)
				sub.reach(t, 5)
				sub.stop(t)
				if failures < 3 {
					assert.Equal(t, []uint64{1, 2, 3, 4, 5}, got)
				} else {
					assert.Equal(t, []uint64{1, 2, 4, 5}, got)
					assert.Equal(t, []uint64{3}, given)
				}
				assert.Equal(t, uint64(5), kept[0][0].Version, "what it keeps is its own")
			})
		})
	}
}

// An upcaster's error may be anything, too.
func TestSubscriptionSurvivesAnUpcastersHostileError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "old", "a", 1)
		codec := subCodec()
		codec.Upcast("old", "note", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			return e, (*hostileError)(nil)
		})
		err := evsourcing.NewSubscription("sub", store, store, codec, &subRecord{}, subOptions(evsourcing.SubscriptionOptions{SkipUnknown: true})).Run(t.Context())
		require.ErrorContains(t, err, "failed in 5 attempts")
	})
}

// A transport's error as well.
func TestRelaySurvivesATransportsHostileError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		transport := newFakeRelayTransport()
		var hostile error = (*hostileError)(nil)
		transport.fail.Store(&hostile)
		bus := listening(t, evsourcing.EventBusOptions{Transport: transport, Codec: subCodec()}, map[string]evsourcing.Reactor{"r": &busRecord{}})
		require.ErrorContains(t, relayTo(bus, store, evsourcing.SubscriptionOptions{}).Run(t.Context()), "failed in 5 attempts")
		closeBus(t, bus)
		require.NoError(t, transport.Close(t.Context()))
	})
}

// So may an error of the checkpoint store, of which the logger can't make
// anything.
func TestSubscriptionSurvivesAStoresHostileError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: (*hostileError)(nil)}
		store.save.Store(true)
		store.wait.Store(true)
		write(t, store, "note", "a", 1)
		sub := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Logger: slog.New(panickingLog{})}))
		<-time.After(time.Minute)
		store.save.Store(false)
		store.head.Store(true)
		<-time.After(time.Minute)
		store.head.Store(false)
		sub.reach(t, write(t, store, "note", "a", 1))
		sub.stop(t)
	})
}

// A logger that ends the goroutine makes nothing be handled twice.
func TestSubscriptionWhoseLoggerEndsTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "strange", "a", 1)
		write(t, store, "note", "a", 1)
		write(t, store, "weird", "a", 1)
		write(t, store, "note", "a", 100)
		rec := &subRecord{}
		sub := start(t, subscribe(store, store, rec, evsourcing.SubscriptionOptions{
			SkipUnknown: true, BatchSize: 5, Logger: slog.New(exitingLog{}),
		}))
		synctest.Wait()
		sub.cancel()
		<-sub.done
		assert.Len(t, slices.Compact(slices.Sorted(slices.Values(rec.all()))), len(rec.all()), "something was handled twice")
	})
}

type exitingLog struct{ slog.Handler }

func (exitingLog) Enabled(context.Context, slog.Level) bool  { return true }
func (exitingLog) Handle(context.Context, slog.Record) error { runtime.Goexit(); return nil }

// failoverLog is a log that another takes the place of when Wait fails.
type failoverLog struct {
	*evsourcing.MemoryStore
	next *evsourcing.MemoryStore
}

func (l *failoverLog) Wait(ctx context.Context, after uint64) error {
	if l.next != nil && after == 3 {
		l.MemoryStore, l.next = l.next, nil
		return errChaos
	}
	return l.MemoryStore.Wait(ctx, after)
}

// A log that has lost its tail and grown beyond it again is noticed, if only
// waiting for it has failed.
func TestSubscriptionNoticesAFailoverThatBreaksWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, restored := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		write(t, restored, "note", "b", 5)
		rec := &subRecord{}
		sub := start(t, subscribe(&failoverLog{store, restored}, store, rec, evsourcing.SubscriptionOptions{}))
		synctest.Wait()
		write(t, store, "note", "a", 1)
		<-time.After(time.Minute)
		require.True(t, answered(sub.done), "what was written anew is skipped")
		require.ErrorIs(t, <-sub.done, evsourcing.ErrDiverged)
		assert.Len(t, rec.all(), 3)
	})
}

// A stage of a filtered log in which there is nothing wanted becomes a checkpoint
// before the head is reached.
func TestSubscriptionSavesTheStagesOfALongFilteredLog(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	for range 30 {
		write(t, store, "note", "a", 10_000)
	}
	var seen []uint64
	spy := &stageSpy{Log: store, look: func() {
		cp, _, err := store.Checkpoint(context.Background(), "sub")
		assert.NoError(t, err)
		seen = append(seen, cp.Position)
	}}
	sub := start(t, subscribe(spy, store, &subRecord{}, evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"other"}}}))
	sub.reach(t, 300_000)
	sub.stop(t)
	assert.Equal(t, []uint64{0, 1 << 17}, seen[:2])
}

// stageSpy looks when a stage is read.
type stageSpy struct {
	evsourcing.Log
	look func()
}

func (s *stageSpy) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if r.Limit == 0 {
		s.look()
	}
	return s.Log.Events(ctx, r, f)
}

func TestSubscriptionThatCantSaveItsLastCheckpointSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenSub{MemoryStore: evsourcing.NewMemoryStore(), err: errChaos}
		store.save.Store(true)
		sub := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{}))
		sub.reach(t, write(t, store.MemoryStore, "note", "a", 3))
		sub.cancel()
		require.ErrorIs(t, <-sub.done, errChaos)
	})
}

// gapLog is a log whose positions are multiplied, and all stores allow that.
type gapLog struct {
	store  *evsourcing.MemoryStore
	factor uint64
}

func (l gapLog) Head(ctx context.Context) (evsourcing.Mark, error) {
	m, err := l.store.Head(ctx)
	m.Position *= l.factor
	return m, err
}

func (l gapLog) Wait(ctx context.Context, after uint64) error {
	return l.store.Wait(ctx, after/l.factor)
}

func (l gapLog) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	inner := r
	inner.After /= l.factor
	inner.Until /= l.factor
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		if r.Until != 0 && inner.Until == 0 {
			return
		}
		for e, err := range l.store.Events(ctx, inner, f) {
			e.Position *= l.factor
			if !yield(e, err) {
				return
			}
		}
	}
}

// Gaps between positions, also ones that are larger than a stage, change
// nothing.
func TestSubscriptionToALogWithGaps(t *testing.T) {
	for _, factor := range []uint64{2, 7, 1 << 16, 1 << 17, 1<<17 + 1, 1 << 40} {
		for _, partitions := range []int{1, 5} {
			for _, from := range []uint64{0, 1, factor - 1, factor, factor + 1, 5*factor + 1} {
				t.Run(fmt.Sprintf("factor=%d partitions=%d start=%d", factor, partitions, from), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := evsourcing.NewMemoryStore()
						for i := range 40 {
							write(t, store, []string{"note", "other"}[i%2], fmt.Sprint(i%3), 1+i%4)
						}
						log := gapLog{store, factor}
						head, err := log.Head(t.Context())
						require.NoError(t, err)
						for _, filter := range []evsourcing.Filter{{}, {Topics: []string{"note"}}} {
							require.NoError(t, store.SaveCheckpoint(t.Context(), "sub", evsourcing.Checkpoint{Position: from / factor * factor, EventID: eventAt(t, store, from/factor)}))
							want, seen := 0, 0
							for e, err := range store.Events(t.Context(), evsourcing.Range{After: from / factor}, filter) {
								require.NoError(t, err)
								if filter.Match(e) {
									want++
								}
							}
							rec := &subRecord{}
							sub := start(t, subscribe(log, store, rec, evsourcing.SubscriptionOptions{Partitions: partitions, BatchSize: 3, Filter: filter, Start: from}))
							sub.reach(t, head.Position)
							<-time.After(2 * time.Second)
							assert.Equal(t, evsourcing.Checkpoint{Position: head.Position, EventID: head.EventID}, checkpointOf(t, store, "sub"))
							sub.stop(t)
							seen = len(rec.all())
							assert.Equal(t, want, seen)
						}
					})
				})
			}
		}
	}
}

func eventAt(t *testing.T, store *evsourcing.MemoryStore, position uint64) (id [16]byte) {
	t.Helper()
	if position == 0 {
		return id
	}
	for e, err := range store.Events(t.Context(), evsourcing.Range{After: position - 1, Until: position}, evsourcing.Filter{}) {
		require.NoError(t, err)
		id = e.ID
	}
	return id
}

func TestSubscriptionWithExtremeOptions(t *testing.T) {
	for name, o := range map[string]evsourcing.SubscriptionOptions{
		"negative":         {BatchSize: -1, Partitions: -1, PollInterval: -1, Lease: -1, Retry: evsourcing.RetryPolicy{MaxAttempts: -1, InitialInterval: -1, MaxInterval: -1}},
		"a huge batch":     {BatchSize: math.MaxInt, Partitions: 3, PollInterval: math.MaxInt64},
		"huge partitions":  {Partitions: math.MaxInt},
		"a long lease":     {Lease: math.MaxInt64},
		"as long as it is": {Retry: evsourcing.RetryPolicy{MaxAttempts: math.MaxInt, InitialInterval: math.MaxInt64, MaxInterval: math.MaxInt64}},
	} {
		t.Run(name, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			rec := &subRecord{}
			sub := start(t, evsourcing.NewSubscription("sub", store, store, subCodec(), rec, &o))
			sub.reach(t, write(t, store, "note", "a", 70_000))
			sub.stop(t)
			assert.Len(t, rec.all(), 70_000)
		})
	}
}

func TestSubscriptionThatStartsBeyondTheHead(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	write(t, store, "note", "a", 3)
	for _, start := range []uint64{4, 1 << 62, math.MaxUint64 - 1} {
		rec := &subRecord{}
		var err error
		func() {
			defer func() {
				if v := recover(); v != nil {
					err = v.(error)
				}
			}()
			err = subscribe(store, store, rec, evsourcing.SubscriptionOptions{Start: start}).Run(t.Context())
		}()
		require.Error(t, err)
		assert.Empty(t, rec.all())
	}
}
