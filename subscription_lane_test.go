package evsourcing_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spoilCodec counts what it decodes, and spoils what it fails on.
type spoilCodec struct {
	evsourcing.Codec
	decoded int
	fail    string // topic
}

func (c *spoilCodec) Decode(ctx context.Context, src *evsourcing.StoredEvent) (evsourcing.Event, error) {
	c.decoded++
	if src.Topic == c.fail {
		src.Topic, src.Data, src.Tags = "spoilt", nil, []string{"spoilt"}
		return nil, errSub
	}
	return c.Codec.Decode(ctx, src)
}

// Every message is decoded once, also where they are handled one by one.
func TestSubscriptionDecodesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 100)
		codec := &spoilCodec{Codec: subCodec()}
		fail := failOn("error", 5)
		tries := 0
		h := evsourcing.Each(evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
			if tries++; tries > 10 {
				return nil
			}
			return fail([]evsourcing.Message{m})
		}))
		sub := start(t, evsourcing.NewSubscription("sub", store, store, codec, h, subOptions(evsourcing.SubscriptionOptions{
			BatchSize: 30, Retry: evsourcing.RetryPolicy{MaxAttempts: 100},
		})))
		sub.reach(t, 100)
		sub.stop(t)
		assert.Equal(t, 100, codec.decoded)
	})
}

// What can't be decoded is given up as it was stored, and the status forgets it.
func TestSubscriptionGivesUpWhatWasStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		write(t, store, "other", "a", 1)
		write(t, store, "note", "a", 2)
		var given []evsourcing.Message
		rec := &subRecord{}
		sub := start(t, evsourcing.NewSubscription("sub", store, store, &spoilCodec{Codec: subCodec(), fail: "other"}, rec, subOptions(evsourcing.SubscriptionOptions{
			OnFailure: func(_ context.Context, d evsourcing.DeadLetter) error {
				assert.Equal(t, 5, d.Attempts)
				given = append(given, d.Message)
				return nil
			},
		})))
		sub.reach(t, 5)
		sub.stop(t)
		require.Len(t, given, 1)
		assert.Equal(t, "other", given[0].Topic)
		assert.Equal(t, "{}", string(given[0].Data))
		assert.Empty(t, given[0].Tags)
		assert.Equal(t, []string{"a 1", "a 2", "a 4", "a 5"}, rec.all())
	})
}

func TestSubscriptionForgetsTheErrorOfWhatWasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		sub := start(t, subscribe(store, store, &subRecord{fail: failOn("error", 1)}, evsourcing.SubscriptionOptions{
			OnFailure: func(context.Context, evsourcing.DeadLetter) error { return nil },
		}))
		sub.reach(t, 1)
		synctest.Wait()
		require.NoError(t, sub.Status().Err)
		sub.stop(t)
	})
}

// A handler that fails because it is to stop has not failed for good.
func TestSubscriptionThatStopsGivesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 1)
		sub := start(t, subscribe(store, store, evsourcing.HandlerFunc(func(ctx context.Context, _ []evsourcing.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}), evsourcing.SubscriptionOptions{
			Retry:     evsourcing.RetryPolicy{MaxAttempts: 1},
			OnFailure: func(context.Context, evsourcing.DeadLetter) error { t.Error("it is given up"); return nil },
		}))
		synctest.Wait()
		sub.stop(t)
		assert.Zero(t, sub.Status().Position)
		_, ok, err := store.Checkpoint(t.Context(), "sub")
		require.NoError(t, err)
		assert.False(t, ok)
	})
}

// Skipped events become a checkpoint, also if there is nothing else for long.
func TestSubscriptionSavesWhatItSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "strange", "a", 3)
		sub := start(t, subscribe(store, store, &subRecord{}, evsourcing.SubscriptionOptions{SkipUnknown: true, Logger: slog.New(slowLog{})}))
		<-time.After(time.Minute)
		assert.Equal(t, uint64(3), checkpointOf(t, store, "sub").Position)
		sub.stop(t)
	})
}

type slowLog struct{ slog.Handler }

func (slowLog) Enabled(context.Context, slog.Level) bool { return true }
func (slowLog) Handle(context.Context, slog.Record) error {
	<-time.After(10 * time.Second)
	return nil
}

// A bus that does not listen is no fault of the events.
func TestRelayGivesNothingUpToABusThatDoesNotListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 3)
		bus := quietBus(evsourcing.EventBusOptions{})
		began := time.Now()
		err := relayTo(bus, store, evsourcing.SubscriptionOptions{
			OnFailure: func(context.Context, evsourcing.DeadLetter) error { t.Error("it is given up"); return nil },
		}).Run(t.Context())
		require.ErrorIs(t, err, evsourcing.ErrNotListening)
		assert.Zero(t, time.Since(began), "at once")
		assert.Zero(t, relayCheckpoint(t, store))
	})
}
