package evsourcing_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hookStore is a store whose Claim and SaveCheckpoint are what a test makes of
// them.
type hookStore struct {
	*evsourcing.MemoryStore
	claim func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error)
	save  func(ctx context.Context, name string, c evsourcing.Checkpoint) error
}

func hooked(store *evsourcing.MemoryStore) *hookStore {
	return &hookStore{MemoryStore: store, claim: store.Claim, save: store.SaveCheckpoint}
}

func (s *hookStore) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	return s.claim(ctx, name, owner, ttl)
}

func (s *hookStore) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	return s.save(ctx, name, c)
}

// busyUntilStopped is a handler that works until its context ends, and notes
// when that was.
func busyUntilStopped(ended chan<- time.Time) evsourcing.Handler {
	return evsourcing.HandlerFunc(func(ctx context.Context, _ []evsourcing.Message) error {
		<-ctx.Done()
		ended <- time.Now()
		return ctx.Err()
	})
}

// However the store answers, or fails to, the handler's context ends before
// another process may have the lease.
func TestLeaseEndsTheHandlerInTime(t *testing.T) {
	const ttl = leaseTime / 4 * 3
	tests := map[string]func(calls int, claim func() (evsourcing.Checkpoint, error)) (evsourcing.Checkpoint, error){
		"the first answer is slow": func(calls int, claim func() (evsourcing.Checkpoint, error)) (evsourcing.Checkpoint, error) {
			if calls > 1 {
				return evsourcing.Checkpoint{}, errChaos
			}
			cp, err := claim()
			<-time.After(ttl / 2)
			return cp, err
		},
		"a later answer is slow": func(calls int, claim func() (evsourcing.Checkpoint, error)) (evsourcing.Checkpoint, error) {
			if calls > 2 {
				return evsourcing.Checkpoint{}, errChaos
			}
			cp, err := claim()
			if calls == 2 {
				<-time.After(ttl / 3)
			}
			return cp, err
		},
		"it fails shortly before": func(calls int, claim func() (evsourcing.Checkpoint, error)) (evsourcing.Checkpoint, error) {
			switch calls {
			case 1:
				return claim()
			case 2:
				<-time.After(leaseTime / 5)
			}
			return evsourcing.Checkpoint{}, errChaos
		},
		"it does not answer and heeds no context": func(calls int, claim func() (evsourcing.Checkpoint, error)) (evsourcing.Checkpoint, error) {
			if calls == 1 {
				return claim()
			}
			<-time.After(10 * leaseTime)
			return evsourcing.Checkpoint{}, errChaos
		},
		"it ends the goroutine": func(calls int, claim func() (evsourcing.Checkpoint, error)) (evsourcing.Checkpoint, error) {
			if calls == 2 {
				runtime.Goexit()
			}
			return claim()
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 1)
				first := hooked(store)
				var calls atomic.Int64
				var claimed atomic.Pointer[time.Time]
				first.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
					return f(int(calls.Add(1)), func() (evsourcing.Checkpoint, error) {
						now := time.Now()
						claimed.Store(&now)
						return store.Claim(ctx, name, owner, ttl)
					})
				}
				ended := make(chan time.Time, 100)
				one := start(t, subscribe(store, first, busyUntilStopped(ended), evsourcing.SubscriptionOptions{Lease: leaseTime}))
				select {
				case at := <-ended:
					assert.LessOrEqual(t, at.Sub(*claimed.Load()), ttl)
				case <-time.After(time.Hour):
					t.Error("the handler goes on for ever")
				}
				one.cancel()
				<-one.done
			})
		})
	}
}

// An answer that comes when the lease has run out already is none.
func TestLeaseClaimedTooSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		slow := hooked(store)
		calls := 0
		slow.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
			cp, err := store.Claim(ctx, name, owner, ttl)
			if calls++; calls == 1 {
				<-time.After(leaseTime)
			}
			return cp, err
		}
		rec := &subRecord{fail: func([]evsourcing.Message) error {
			_, err := store.Claim(context.Background(), "sub", "another", time.Minute)
			assert.ErrorIs(t, err, evsourcing.ErrFenced, "it handles without a lease")
			return nil
		}}
		one := start(t, subscribe(store, slow, rec, evsourcing.SubscriptionOptions{Lease: leaseTime}))
		one.reach(t, 1)
		one.stop(t)
	})
}

// A handler that takes its time to stop still has the lease.
func TestLeaseLastsUntilTheHandlerHasStopped(t *testing.T) {
	for _, how := range []string{"stopped", "failed", "the goroutine of Run ended"} {
		for _, relay := range []bool{false, true} {
			name := how
			if relay {
				name += ", relay"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := evsourcing.NewMemoryStore()
					write(t, store, "note", "slow", 1)
					write(t, store, "note", "fast", 1)
					finish := make(chan struct{})
					react := evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
						if m.Stream.ID == "fast" {
							<-time.After(time.Second)
							if how == "failed" {
								return errSub
							}
							return nil
						}
						<-finish
						return nil
					})
					log := &exitLater{plainLog: plainLog{store}}
					opts := evsourcing.SubscriptionOptions{Lease: leaseTime, Partitions: 64, Retry: evsourcing.RetryPolicy{MaxAttempts: 1}}
					var s *evsourcing.Subscription
					var bus *evsourcing.EventBus
					if relay {
						bus = listening(t, evsourcing.EventBusOptions{Concurrency: 64, Retry: opts.Retry}, map[string]evsourcing.Reactor{"r": react})
						s = evsourcing.Relay("sub", log, store, subCodec(), bus, subOptions(opts))
					} else {
						s = subscribe(log, store, evsourcing.Each(react), opts)
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						_ = s.Run(ctx)
					}()
					<-time.After(2 * time.Second)
					switch how {
					case "stopped":
						cancel()
					case "the goroutine of Run ended":
						log.exit.Store(true)
					}
					for range 100 {
						<-time.After(leaseTime / 3)
						_, err := store.Claim(t.Context(), "sub", "another", leaseTime)
						require.ErrorIs(t, err, evsourcing.ErrFenced, "two owners at once")
					}
					close(finish)
					<-ended
					_, err := store.Claim(t.Context(), "sub", "another", leaseTime)
					require.NoError(t, err, "it is given back")
					if relay {
						closeBus(t, bus)
					}
				})
			})
		}
	}
}

// An owner that learns from its checkpoint that another has the lease stands by
// all the same.
func TestLeaseThatSavingFindsLost(t *testing.T) {
	for _, start0 := range []uint64{0, evsourcing.FromNow} {
		synctest.Test(t, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			first := hooked(store)
			steal := func() {
				_, err := store.Claim(t.Context(), "sub", "me", 0)
				assert.NoError(t, err)
				_, err = store.Claim(t.Context(), "sub", "another", leaseTime)
				assert.NoError(t, err)
			}
			stolen := false
			first.save = func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				if !stolen {
					stolen = true
					steal()
				}
				return store.SaveCheckpoint(ctx, name, c)
			}
			one := start(t, subscribe(store, first, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime, Owner: "me", Start: start0}))
			synctest.Wait()
			write(t, store, "note", "a", 1)
			synctest.Wait()
			assert.True(t, stolen)
			assert.Equal(t, evsourcing.StateStandby, one.Status().State)
			<-time.After(2 * leaseTime)
			assert.Equal(t, evsourcing.StateRunning, one.Status().State)
			one.reach(t, write(t, store, "note", "a", 1))
			one.stop(t)
		})
	}
}

// What failed before does not stay in the status when it works again.
func TestLeaseAndTheStatusOfFailuresThatAreOver(t *testing.T) {
	t.Run("claiming", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			_, err := store.Claim(t.Context(), "sub", "another", time.Hour)
			require.NoError(t, err)
			first := &leaseStore{MemoryStore: store}
			first.cut.Store(true)
			one := start(t, subscribe(store, first, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime}))
			<-time.After(time.Minute)
			require.ErrorIs(t, one.Status().Err, errChaos)
			first.cut.Store(false)
			<-time.After(time.Minute)
			require.NoError(t, one.Status().Err)
			one.stop(t)
		})
	})
	t.Run("in an earlier session", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			first := &leaseStore{MemoryStore: store}
			write(t, store, "note", "a", 1)
			rec := &subRecord{fail: failOn("error", 1)}
			one := start(t, subscribe(store, first, rec, evsourcing.SubscriptionOptions{
				Lease: leaseTime, Retry: evsourcing.RetryPolicy{InitialInterval: time.Hour, MaxInterval: time.Hour},
			}))
			synctest.Wait()
			require.ErrorIs(t, one.Status().Err, errSub)
			first.cut.Store(true)
			<-time.After(2 * leaseTime)
			assert.Equal(t, evsourcing.StateStandby, one.Status().State)
			rec.fail = nil
			first.cut.Store(false)
			<-time.After(2 * time.Hour)
			one.reach(t, 1)
			require.NoError(t, one.Status().Err)
			one.stop(t)
		})
	})
}

// However slow the rest of the store is, and after whatever outage, one that
// stands by takes over in time.
func TestLeaseIsTakenOverInTimeAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		first, second := &leaseStore{MemoryStore: store}, &leaseStore{MemoryStore: store}
		opts := evsourcing.SubscriptionOptions{Lease: leaseTime, Retry: evsourcing.RetryPolicy{InitialInterval: time.Hour, MaxInterval: time.Hour}}
		one := start(t, subscribe(store, first, &subRecord{}, opts))
		synctest.Wait()
		two := start(t, subscribe(store, second, &subRecord{}, opts))
		synctest.Wait()
		second.cut.Store(true)
		<-time.After(time.Minute)
		second.cut.Store(false)
		synctest.Wait()
		began := time.Now()
		first.cut.Store(true)
		two.reach(t, write(t, store, "note", "a", 1))
		assert.LessOrEqual(t, time.Since(began), leaseTime)
		first.cut.Store(false)
		two.stop(t)
		one.stop(t)
	})
}

// Nor does it matter what the store leaves unanswered while one stands by.
func TestLeaseIsTakenOverInTimeFromAStoreThatHangs(t *testing.T) {
	for _, what := range []string{"Checkpoint", "Claim"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				first := &leaseStore{MemoryStore: store}
				second := &hangingStore{hookStore: hooked(store)}
				opts := evsourcing.SubscriptionOptions{Lease: leaseTime}
				one := start(t, subscribe(store, first, &subRecord{}, opts))
				synctest.Wait()
				claims := 0
				second.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
					if claims++; claims == 2 && what == "Claim" {
						<-ctx.Done()
						return evsourcing.Checkpoint{}, ctx.Err()
					}
					return store.Claim(ctx, name, owner, ttl)
				}
				second.hang.Store(what == "Checkpoint")
				two := start(t, subscribe(store, second, &subRecord{}, opts))
				synctest.Wait()
				first.cut.Store(true)
				<-time.After(leaseTime + time.Second) // of which the claim took up most
				assert.Equal(t, evsourcing.StateRunning, two.Status().State)
				second.hang.Store(false)
				two.stop(t)
				first.cut.Store(false)
				one.stop(t)
			})
		})
	}
}

// hangingStore does not answer to Checkpoint once it has been told to.
type hangingStore struct {
	*hookStore
	hang atomic.Bool
}

func (s *hangingStore) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if s.hang.Load() {
		<-ctx.Done()
		return evsourcing.Checkpoint{}, false, ctx.Err()
	}
	return s.MemoryStore.Checkpoint(ctx, name)
}

// A claim that is under way when the owner stops does not outlive it.
func TestLeaseIsGivenBackAfterTheLastClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		first := hooked(store)
		calls := 0
		first.claim = func(_ context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
			if calls++; calls == 2 {
				<-time.After(time.Second)
			}
			return store.Claim(context.Background(), name, owner, ttl)
		}
		one := start(t, subscribe(store, first, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime}))
		<-time.After(leaseTime/4 + 1)
		one.stop(t)
		<-time.After(2 * time.Second)
		_, err := store.Claim(t.Context(), "sub", "another", leaseTime)
		require.NoError(t, err)
	})
}

// An owner that is told that another has been it ends its handler at once, also
// when the name is its own again.
func TestLeaseThatAnotherHasHadIsLostAtOnce(t *testing.T) {
	for _, ttl := range []time.Duration{time.Hour, 1} {
		synctest.Test(t, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			write(t, store, "note", "a", 1)
			ended := make(chan time.Time, 10)
			one := start(t, subscribe(store, store, busyUntilStopped(ended), evsourcing.SubscriptionOptions{Lease: leaseTime, Owner: "me"}))
			synctest.Wait()
			_, err := store.Claim(t.Context(), "sub", "me", 0)
			require.NoError(t, err)
			_, err = store.Claim(t.Context(), "sub", "another", ttl)
			require.NoError(t, err)
			stolen := time.Now()
			select {
			case at := <-ended:
				assert.LessOrEqual(t, at.Sub(stolen), leaseTime/4)
			case <-time.After(time.Hour):
				t.Error("the handler goes on")
			}
			one.stop(t)
		})
	}
}

// A logger that panics or ends the goroutine does not end the process, nor the
// renewal of a lease.
func TestLeaseSurvivesAHostileLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		first := hooked(store)
		calls := 0
		first.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
			if calls++; calls%2 == 0 && ttl > 0 {
				return evsourcing.Checkpoint{}, errChaos
			}
			return store.Claim(ctx, name, owner, ttl)
		}
		saves := 0
		first.save = func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
			if saves++; saves%2 == 1 {
				return errChaos
			}
			return store.SaveCheckpoint(ctx, name, c)
		}
		one := start(t, subscribe(store, first, &subRecord{}, evsourcing.SubscriptionOptions{Lease: leaseTime, Logger: slog.New(panickingLog{})}))
		one.reach(t, write(t, store, "note", "a", 1))
		<-time.After(time.Hour)
		one.reach(t, write(t, store, "note", "a", 1))
		one.stop(t)
		assert.Equal(t, uint64(1), checkpointOf(t, store, "sub").Token)
	})
}

func TestLeaseThatIsTooShort(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	for _, lease := range []time.Duration{1, time.Microsecond, time.Millisecond - 1} {
		assert.Panics(t, func() {
			subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{Lease: lease})
		}, "%v", lease)
	}
}
