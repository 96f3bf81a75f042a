package evsourcing_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What nobody thought of: a million events, writers that race, and restarts at
// any moment.

// huntEvents is how many events each hunt is about: two million in all in a
// plain run. With EVSOURCING_FULL=1 it is a million each.
func huntEvents() int {
	if os.Getenv("EVSOURCING_FULL") != "" {
		return 1_000_000
	}
	return busScale(250_000, 25_000, 7_500)
}

// writers append about n notes in all to many streams, from several goroutines,
// until they are done. pause is called now and then.
func writers(t *testing.T, store evsourcing.EventStore, n int, pause func()) (wait func()) {
	const goroutines, streams = 4, 200
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for left := n / goroutines; left > 0; {
				size := min(left, 1+rand.N(20))
				left -= size
				events := make([]evsourcing.StoredEvent, size)
				for i := range events {
					events[i] = evsourcing.StoredEvent{ID: uuid.New(), Topic: "note", ContentType: "application/json", Data: []byte("{}")}
				}
				id := evsourcing.StreamID{Type: "bus", ID: strconv.Itoa(rand.N(streams))}
				if rand.N(5) == 0 {
					id.Type = "other"
				}
				_, err := store.Append(context.Background(), evsourcing.Batch{Stream: id, Expected: evsourcing.AnyVersion, Events: events})
				assert.NoError(t, err)
				if rand.N(50) == 0 {
					pause()
				}
			}
		})
	}
	return wg.Wait
}

// A hunt runs a subscription again and again until it has handled everything.
type hunt struct {
	t      *testing.T
	store  *chaosStore
	cancel atomic.Pointer[context.CancelFunc] // of the current run
	runs   int
}

func newHunt(t *testing.T) *hunt {
	h := &hunt{t: t, store: &chaosStore{MemoryStore: evsourcing.NewMemoryStore()}}
	h.store.interrupt = h.interrupt
	return h
}

// interrupt ends the current run.
func (h *hunt) interrupt() {
	if h.store.calm.Load() {
		return
	}
	if cancel := h.cancel.Load(); cancel != nil {
		(*cancel)()
	}
}

// run calls s.Run until something ends it. When the writers are done, it is the
// last one: nothing fails any more, and it ends when all is handled.
func (h *hunt) run(s *evsourcing.Subscription, last bool) error {
	h.runs++
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h.cancel.Store(&cancel)
	if !last {
		defer time.AfterFunc(rand.N(30*time.Millisecond), cancel).Stop()
		return s.Run(ctx)
	}
	h.store.calm.Store(true)
	h.store.dead.Store(false)
	head := headOf(h.t, h.store.MemoryStore)
	done := after(func() error { return s.Run(ctx) })
	require.NoError(h.t, s.WaitFor(within(h.t, 5*time.Minute), head))
	cancel()
	return <-done
}

func TestSubscriptionMissesNothing(t *testing.T) {
	for _, partitions := range []int{1, 8} {
		for _, each := range []bool{false, true} {
			t.Run(fmt.Sprintf("partitions=%d each=%v", partitions, each), func(t *testing.T) {
				t.Run("in synctest", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						huntSubscription(t, huntEvents(), partitions, each, 5, func() { <-time.After(rand.N(time.Millisecond)) })
					})
				})
				t.Run("in real time", func(t *testing.T) {
					huntSubscription(t, huntEvents(), partitions, each, 0, func() {})
				})
			})
		}
	}
}

// huntSubscription restarts a subscription at any moment while writers race.
// Without partitions, an event is handled again only after a run whose checkpoint
// could not be saved.
// So many runs, deaths, can save none at all.
func huntSubscription(t *testing.T, events, partitions int, each bool, deaths int, pause func()) {
	h := newHunt(t)
	a := newAudit()
	var handler evsourcing.Handler
	if each {
		handler = evsourcing.Each(evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
			if err := misbehave(busScale(20_000, 5_000, 5_000), h.interrupt); err != nil {
				return err
			}
			a.see(m)
			return nil
		}))
	} else {
		handler = evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			if err := misbehave(100, h.interrupt); err != nil {
				return err
			}
			if rand.N(50) == 0 {
				pause()
			}
			a.see(msgs...)
			return nil
		})
	}
	written := make(chan struct{})
	wait := writers(t, h.store.MemoryStore, events, pause)
	go func() {
		wait()
		close(written)
	}()
	var retry evsourcing.RetryPolicy
	retry.MaxAttempts, retry.InitialInterval, retry.MaxInterval = 20, 10*time.Microsecond, time.Millisecond
	for last, allowed := false, 0; ; {
		select {
		case <-written:
			last = h.runs > 20+events/4000
		default:
		}
		dead := !last && deaths > 0 && rand.N(5) == 0
		if dead {
			deaths--
		}
		h.store.dead.Store(dead)
		s := evsourcing.NewSubscription("hunt", h.store, h.store, subCodec(), handler, subOptions(evsourcing.SubscriptionOptions{
			Partitions: partitions, BatchSize: 1 + rand.N(300), PollInterval: time.Millisecond, Retry: retry,
		}))
		a.restart()
		before := a.repeated
		err := h.run(s, last)
		if !dead {
			require.NoError(t, err)
		}
		if partitions == 1 {
			repeated := a.repeated - before
			assert.LessOrEqual(t, repeated, allowed, "events were handled again though the checkpoint was saved")
			unsaved := a.handled() - int(checkpointAt(h.store)) // positions have no gaps
			if !dead {
				assert.LessOrEqual(t, unsaved, allowed-repeated, "events were handled and no checkpoint saved")
			}
			allowed = unsaved
		}
		if last {
			break
		}
	}
	repeated := a.check(t, h.store.MemoryStore)
	t.Logf("%d events, %d runs, %d handled again", headOf(t, h.store.MemoryStore), h.runs, repeated)
}

// checkpointAt returns the position of the hunt's checkpoint.
func checkpointAt(s *chaosStore) uint64 {
	cp, _, _ := s.MemoryStore.Checkpoint(context.Background(), "hunt")
	return cp.Position
}
