package evsourcing_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leaseStore is the store as one process sees it: it can be cut off.
type leaseStore struct {
	*evsourcing.MemoryStore
	cut    atomic.Bool
	claims atomic.Int64
}

func (s *leaseStore) err(ctx context.Context) error {
	if !s.cut.Load() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errChaos
}

func (s *leaseStore) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	s.claims.Add(1)
	if err := s.err(ctx); err != nil {
		return evsourcing.Checkpoint{}, err
	}
	return s.MemoryStore.Claim(ctx, name, owner, ttl)
}

func (s *leaseStore) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if err := s.err(ctx); err != nil {
		return err
	}
	return s.MemoryStore.SaveCheckpoint(ctx, name, c)
}

const leaseTime = 10 * time.Second

func TestLeaseHasOneOwnerAndASecondTakesOver(t *testing.T) {
	for _, how := range []string{"when the first stops", "when the first dies"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				first, second := &leaseStore{MemoryStore: store}, &leaseStore{MemoryStore: store}
				a, b := &subRecord{}, &subRecord{}
				opts := evsourcing.SubscriptionOptions{Lease: leaseTime}
				one := start(t, subscribe(store, first, a, opts))
				synctest.Wait()
				two := start(t, subscribe(store, second, b, opts))
				one.reach(t, write(t, store, "note", "s", 3))
				<-time.After(time.Hour)
				assert.Equal(t, evsourcing.StateRunning, one.Status().State)
				st := two.Status()
				assert.Equal(t, evsourcing.StateStandby, st.State)
				assert.Equal(t, [3]uint64{3, 3, 0}, [3]uint64{st.Position, st.Head, st.Lag}, "it sees how far the owner is")
				two.reach(t, 3)
				assert.Empty(t, b.all())

				began := time.Now()
				if how == "when the first stops" {
					one.stop(t)
				} else {
					first.cut.Store(true)
				}
				two.reach(t, write(t, store, "note", "s", 2))
				assert.LessOrEqual(t, time.Since(began), leaseTime)
				if how == "when the first stops" {
					assert.LessOrEqual(t, time.Since(began), leaseTime/4)
				} else {
					<-time.After(leaseTime)
					assert.Equal(t, evsourcing.StateStandby, one.Status().State, "it noticed, and stands by")
					first.cut.Store(false)
					<-time.After(time.Minute)
					assert.Equal(t, evsourcing.StateStandby, one.Status().State)
					one.stop(t)
				}
				assert.Equal(t, []string{"s 4", "s 5"}, b.all())
				two.stop(t)
			})
		})
	}
}

// An owner that was paused, and whose lease another has, can't save.
func TestLeaseFencesAPausedOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		first := &leaseStore{MemoryStore: store}
		gate := make(chan struct{})
		var log busLog
		one := start(t, subscribe(store, first, &subRecord{fail: func([]evsourcing.Message) error { <-gate; return nil }},
			evsourcing.SubscriptionOptions{Lease: leaseTime, Logger: slog.New(&log)}))
		write(t, store, "note", "s", 3)
		synctest.Wait()
		first.cut.Store(true) // paused in its handler: nothing renews
		b := &subRecord{}
		two := start(t, subscribe(store, store, b, evsourcing.SubscriptionOptions{Lease: leaseTime}))
		two.reach(t, 3)
		synctest.Wait()
		cp := checkpointOf(t, store, "sub")
		assert.Equal(t, uint64(2), cp.Token)
		first.cut.Store(false)
		close(gate)
		<-time.After(time.Minute)
		assert.Equal(t, cp, checkpointOf(t, store, "sub"), "the old token saves nothing")
		assert.Equal(t, evsourcing.StateStandby, one.Status().State)
		assert.Len(t, log.find(slog.LevelWarn, "lost its lease"), 1)
		two.stop(t)
		one.reach(t, write(t, store, "note", "s", 1))
		one.stop(t)
		assert.Equal(t, uint64(3), checkpointOf(t, store, "sub").Token)
	})
}

// A store that can't be reached for less than the lease changes nothing.
func TestLeaseOutlastsAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leaseStore{MemoryStore: evsourcing.NewMemoryStore()}
		one := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime}))
		for range 20 {
			synctest.Wait()
			store.cut.Store(true)
			<-time.After(leaseTime / 4)
			store.cut.Store(false)
			<-time.After(leaseTime / 2)
		}
		one.reach(t, write(t, store.MemoryStore, "note", "s", 1))
		require.NoError(t, one.Status().Err, "it is overcome")
		one.stop(t)
		assert.Equal(t, uint64(1), checkpointOf(t, store.MemoryStore, "sub").Token, "it never changed hands")
	})
}

func TestLeaseIsRenewedFourTimesInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leaseStore{MemoryStore: evsourcing.NewMemoryStore()}
		one := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime}))
		<-time.After(100*leaseTime + time.Second)
		assert.Equal(t, int64(401), store.claims.Load())
		one.stop(t)
	})
}

// Without a lease, a name that another has claimed since ends the run.
func TestSubscriptionWithoutALeaseIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		one := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{}))
		one.reach(t, write(t, store, "note", "s", 1))
		_, err := store.Claim(t.Context(), "sub", "another", time.Hour)
		require.NoError(t, err)
		write(t, store, "note", "s", 1)
		require.ErrorIs(t, <-one.done, evsourcing.ErrFenced)
	})
}

func TestLeaseThatCantBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unclaimable{evsourcing.NewMemoryStore()}
		err := subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime}).Run(t.Context())
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

type unclaimable struct{ *evsourcing.MemoryStore }

func (unclaimable) Claim(context.Context, string, string, time.Duration) (evsourcing.Checkpoint, error) {
	return evsourcing.Checkpoint{}, errors.ErrUnsupported
}

// Who waits where another process has the lease waits for no more than the
// PollInterval, however long the lease is.
func TestLeaseWaitForInAProcessThatStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		o := evsourcing.SubscriptionOptions{Lease: time.Hour, PollInterval: time.Second}
		owner := start(t, subscribe(store, store, &subRecord{}, o))
		owner.reach(t, write(t, store, "note", "a", 1))
		other := start(t, subscribe(store, store, &subRecord{}, o))
		synctest.Wait()
		require.Equal(t, evsourcing.StateStandby, other.Status().State)
		for range 3 {
			<-time.After(time.Minute)
			begin := time.Now()
			other.reach(t, write(t, store, "note", "a", 1))
			assert.LessOrEqual(t, time.Since(begin), time.Second)
		}
		other.stop(t)
		owner.stop(t)
	})
}
