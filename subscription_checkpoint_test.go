package evsourcing_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// saveSpy notes the checkpoints that are saved; each takes a while.
type saveSpy struct {
	*evsourcing.MemoryStore
	saving atomic.Int64
	most   atomic.Int64 // that were being saved at the same time
	saved  []uint64
}

func (s *saveSpy) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	n := s.saving.Add(1)
	defer s.saving.Add(-1)
	s.most.Store(max(s.most.Load(), n))
	<-time.After(time.Millisecond)
	s.saved = append(s.saved, c.Position)
	return s.MemoryStore.SaveCheckpoint(ctx, name, c)
}

// However many partitions there are, one checkpoint is saved after the other,
// or an older one might come last.
func TestSubscriptionSavesOneCheckpointAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &saveSpy{MemoryStore: evsourcing.NewMemoryStore()}
		for i := range 200 {
			write(t, store, "note", string(rune('a'+i%20)), 1)
		}
		sub := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Partitions: 8, BatchSize: 1}))
		sub.reach(t, 200)
		<-time.After(time.Second)
		sub.stop(t)
		assert.Equal(t, int64(1), store.most.Load())
		for i := range store.saved[1:] {
			require.Less(t, store.saved[i], store.saved[i+1], "it rises with every one")
		}
	})
}

// What the filter passes over becomes a checkpoint once a second, and what is a
// checkpoint already is not saved again.
func TestSubscriptionSavesNoMoreThanNeedBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &saveSpy{MemoryStore: evsourcing.NewMemoryStore()}
		sub := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"other"}}}))
		for range 1000 {
			write(t, store, "note", "a", 1)
			<-time.After(10 * time.Millisecond)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		assert.InDelta(t, 10, len(store.saved), 2)
		sub.stop(t)
		sub = start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{}))
		<-time.After(time.Minute)
		synctest.Wait()
		sub.stop(t)
		assert.InDelta(t, 10, len(store.saved), 2)
		assert.Equal(t, uint64(1000), checkpointOf(t, store, "sub").Position)
	})
}

// A run without a lease takes over the token of a name that had one.
func TestSubscriptionWithoutALeaseAfterOneThatHadIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		one := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime}))
		one.reach(t, 1)
		one.stop(t)
		two := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{}))
		two.reach(t, write(t, store, "note", "a", 1))
		two.stop(t)
		assert.Equal(t, uint64(2), checkpointOf(t, store, "sub").Position)
	})
}

// The event that a subscription starts after is remembered as one that it has
// seen.
func TestSubscriptionNoticesThatItsStartIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, restored := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		write(t, restored, "note", "b", 5)
		rec := &subRecord{}
		sub := start(t, subscribe(&failoverLog{store, restored}, store, rec, evsourcing.SubscriptionOptions{Start: 3}))
		<-time.After(time.Minute)
		synctest.Wait()
		require.ErrorIs(t, <-sub.done, evsourcing.ErrDiverged)
		assert.Empty(t, rec.all())
	})
}

// A log that fails to be read may be another when it can be read again.
func TestSubscriptionNoticesAFailoverThatBreaksReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, restored := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		write(t, restored, "note", "b", 9)
		rec := &subRecord{}
		log := &brokenSub{MemoryStore: store, err: errChaos}
		swap := newReplacedLog(log)
		sub := start(t, subscribe(swap, store, rec, evsourcing.SubscriptionOptions{PollInterval: time.Second}))
		<-time.After(time.Minute)
		synctest.Wait()
		log.head.Store(true)
		<-time.After(time.Minute)
		synctest.Wait()
		write(t, store, "note", "a", 1)
		swap.replace(restored)
		<-time.After(time.Minute)
		synctest.Wait()
		require.True(t, answered(sub.done), "what was written anew is skipped")
		require.ErrorIs(t, <-sub.done, evsourcing.ErrDiverged)
		assert.Len(t, rec.all(), 2)
	})
}

// One of the same length is noticed without any failure.
func TestSubscriptionNoticesAnotherLogThatEndsWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, restored := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		write(t, restored, "note", "b", 2)
		log := newReplacedLog(store)
		sub := start(t, subscribe(log, store, &subRecord{}, evsourcing.SubscriptionOptions{}))
		<-time.After(time.Minute)
		synctest.Wait()
		log.replace(restored)
		<-time.After(time.Minute)
		synctest.Wait()
		require.True(t, answered(sub.done))
		require.ErrorIs(t, <-sub.done, evsourcing.ErrDiverged)
	})
}

// What a log has yielded before it failed is handled without waiting for what
// comes after it.
func TestSubscriptionHandlesWhatWasReadBeforeAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 5)
		rec := &subRecord{}
		sub := start(t, subscribe(brittleLog{store}, store, rec, evsourcing.SubscriptionOptions{
			Retry: evsourcing.RetryPolicy{InitialInterval: time.Hour, MaxInterval: time.Hour},
		}))
		synctest.Wait()
		assert.Equal(t, []string{"a 1", "a 2", "a 3"}, rec.all())
		assert.Equal(t, uint64(3), checkpointOf(t, store, "sub").Position)
		sub.stop(t)
	})
}

// brittleLog fails after three events.
type brittleLog struct{ *evsourcing.MemoryStore }

func (l brittleLog) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		n := 0
		for e, err := range l.MemoryStore.Events(ctx, r, f) {
			if n++; n > 3 {
				yield(evsourcing.StoredEvent{}, errChaos)
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// replacedLog is a log that another takes the place of, and is no Waiter.
type replacedLog struct {
	now atomic.Pointer[evsourcing.Log]
}

func newReplacedLog(log evsourcing.Log) *replacedLog {
	l := &replacedLog{}
	l.now.Store(&log)
	return l
}

func (l *replacedLog) replace(log evsourcing.Log) { l.now.Store(&log) }

func (l *replacedLog) Head(ctx context.Context) (evsourcing.Mark, error) {
	return (*l.now.Load()).Head(ctx)
}

func (l *replacedLog) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return (*l.now.Load()).Events(ctx, r, f)
}

// A subscription that is rewound says where it is, and makes those wait who come
// after it.
func TestSubscriptionThatIsRewoundWaitsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 5)
		gate := make(chan struct{})
		handled := 0
		s := subscribe(store, store, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			if handled += len(msgs); handled > 5 {
				<-gate
			}
			return nil
		}), evsourcing.SubscriptionOptions{})
		sub := start(t, s)
		sub.reach(t, 5)
		sub.stop(t)
		require.NoError(t, store.SaveCheckpoint(t.Context(), "sub", evsourcing.Checkpoint{Position: 2, EventID: eventAt(t, store, 2)}))
		sub = start(t, s)
		synctest.Wait()
		assert.Equal(t, [3]uint64{2, 5, 3}, [3]uint64{s.Status().Position, s.Status().Head, s.Status().Lag})
		waits := after(func() error { return s.WaitFor(context.Background(), 5) })
		synctest.Wait()
		assert.False(t, answered(waits), "neither handled, nor has Run returned")
		close(gate)
		require.NoError(t, <-waits)
		sub.stop(t)
	})
}

// A log that goes back is none that a subscription can follow.
func TestSubscriptionToALogThatGoesBack(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	write(t, store, "note", "a", 5)
	rec := &subRecord{}
	err := subscribe(backLog{store}, store, rec, evsourcing.SubscriptionOptions{BatchSize: 1}).Run(within(t, 5*time.Second))
	require.ErrorIs(t, err, evsourcing.ErrDiverged)
	require.ErrorContains(t, err, "position 3 follows position 3")
	assert.LessOrEqual(t, len(rec.all()), 3, "nothing is handled twice")
}

// backLog yields each third event twice.
type backLog struct{ *evsourcing.MemoryStore }

func (l backLog) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		for e, err := range l.MemoryStore.Events(ctx, r, f) {
			if !yield(e, err) || e.Position%3 == 0 && !yield(e, err) {
				return
			}
		}
	}
}
