package evsourcing_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rule 5: reactors run under BaseContext with the message's metadata.

type busKey struct{}

func TestBusPublishersContextDoesNotReachReactors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := quietBus(evsourcing.EventBusOptions{})
		release := make(chan struct{})
		handled := false
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			<-release
			assert.NoError(t, ctx.Err())
			_, deadline := ctx.Deadline()
			assert.False(t, deadline)
			assert.Nil(t, ctx.Value(busKey{}))
			handled = true
			return nil
		}), "note"))
		require.NoError(t, bus.Listen())
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), busKey{}, "publisher's"), time.Second)
		ctx = evsourcing.ContextWithMetadata(ctx, evsourcing.Metadata{"from": "the publisher's context, not the message's"})
		require.NoError(t, bus.Publish(ctx, busMessage("note", "s", 1)))
		cancel()
		close(release)
		closeBus(t, bus)
		assert.True(t, handled)
	})
}

func TestBusBaseContextReachesReactorsAndDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := context.WithValue(t.Context(), busKey{}, "base")
		base = evsourcing.ContextWithMetadata(base, evsourcing.Metadata{"host": "h1", "color": "base"})
		calls := 0
		check := func(ctx context.Context) {
			calls++
			assert.Equal(t, "base", ctx.Value(busKey{}))
			meta := evsourcing.MetadataFromContext(ctx)
			assert.Equal(t, "h1", meta["host"])
			assert.Equal(t, busMessage("note", "s", 1).ID.String(), meta[evsourcing.MetaCausationID])
		}
		bus := quietBus(evsourcing.EventBusOptions{
			BaseContext: base, Retry: evsourcing.RetryPolicy{MaxAttempts: 2},
			DeadLetter: func(ctx context.Context, _ evsourcing.DeadLetter) error { check(ctx); return nil },
		})
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			check(ctx)
			return errBus
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessage("note", "s", 1))
		closeBus(t, bus)
		assert.Equal(t, 3, calls)
	})
}

func TestBusReactorsContextCarriesTheMessagesMetadata(t *testing.T) {
	root := busMessage("note", "root", 1)
	link := busMessage("note", "link", 1)
	link.Metadata = evsourcing.Metadata{
		evsourcing.MetaCausationID: "cause", evsourcing.MetaCorrelationID: "chain", "user": "u",
		evsourcing.MetaCommandID: "c1", "es.other": "x",
	}
	for _, test := range []struct {
		name    string
		message evsourcing.Message
		want    evsourcing.Metadata
	}{
		{"of a root", root, evsourcing.Metadata{
			evsourcing.MetaCausationID: root.ID.String(), evsourcing.MetaCorrelationID: root.ID.String(),
		}},
		{"of a later link", link, evsourcing.Metadata{
			evsourcing.MetaCausationID: link.ID.String(), evsourcing.MetaCorrelationID: "chain", "user": "u",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bus := quietBus(evsourcing.EventBusOptions{})
			for _, name := range []string{"one", "two"} {
				require.NoError(t, bus.Subscribe(name, evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
					meta := evsourcing.MetadataFromContext(ctx)
					assert.Equal(t, test.want, meta)
					meta["user"] = "changed" // the reactor's own map
					ctx, cancel := context.WithCancel(ctx)
					defer cancel()
					assert.Equal(t, test.want, evsourcing.MetadataFromContext(ctx), "also through derived contexts")
					return nil
				}), "note"))
			}
			require.NoError(t, bus.Listen())
			publishEach(t, bus, test.message)
			closeBus(t, bus)
		})
	}
}

// What reactors store names its cause, down a chain of three.
func TestBusCausationAndCorrelationTravel(t *testing.T) {
	bus := quietBus(evsourcing.EventBusOptions{})
	accounts := busAccounts(bus, evsourcing.NewMemoryStore())
	var seen busRecord
	next := map[string]string{"a": "b", "b": "c"}
	require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
		_ = seen.React(ctx, m)
		if to, ok := next[m.Stream.ID]; ok {
			return busWrite(ctx, accounts, to)
		}
		return nil
	}), "note"))
	require.NoError(t, bus.Listen())
	ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{"user": "u"})
	_, err := accounts.Create(ctx, "a", func(a *busAccount) error {
		evsourcing.Record(a, evsourcing.EventOf[*busAccount](busNote{}))
		return nil
	}, evsourcing.CommandID("command"))
	require.NoError(t, err)
	closeBus(t, bus)
	require.Equal(t, []string{"a 1", "b 1", "c 1"}, seen.all())
	a, b, c := seen.messages[0], seen.messages[1], seen.messages[2]
	assert.Equal(t, evsourcing.Metadata{"user": "u", evsourcing.MetaCommandID: "command"}, a.Metadata)
	for _, link := range []struct{ cause, effect evsourcing.Message }{{a, b}, {b, c}} {
		assert.Equal(t, evsourcing.Metadata{
			"user": "u", evsourcing.MetaCausationID: link.cause.ID.String(), evsourcing.MetaCorrelationID: a.ID.String(),
		}, link.effect.Metadata)
	}
}

func TestBusStopsWhenBaseContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("the service stops")
		base, stop := context.WithCancelCause(t.Context())
		bus := quietBus(evsourcing.EventBusOptions{BaseContext: base, Buffer: 2, Concurrency: 1})
		var causes []error
		var mu sync.Mutex
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			causes = append(causes, context.Cause(ctx))
			return ctx.Err()
		}), "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 2)...)
		waiting := publishing(t.Context(), bus, busMessage("note", "t", 1))
		require.False(t, answered(waiting))
		start := time.Now()
		stop(reason)
		synctest.Wait()
		assert.Equal(t, start, time.Now())
		require.Equal(t, []error{reason}, causes, "one was running")
		require.True(t, answered(waiting), "publishers do not wait for a bus that has stopped")
		require.NoError(t, <-waiting)
		publishEach(t, bus, busMessage("note", "t", 2))
		requireOnly(t, bus.Publish(t.Context(), busMessage("note", "t", 3)), evsourcing.ErrBusClosed)
		assert.Equal(t, 4, bus.Pending())
		requireUndelivered(t, bus.Close(t.Context()), 4, reason)
		requireOnly(t, bus.Listen(), evsourcing.ErrBusClosed)
	})
}

// The very moment BaseContext ends, before anybody could be told.
func TestBusRefusesAsClosedOnceBaseContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, stop := context.WithCancel(t.Context())
		bus := quietBus(evsourcing.EventBusOptions{BaseContext: base, Buffer: 1})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		require.NoError(t, bus.Listen())
		stop()
		publishEach(t, bus, busMessage("note", "s", 1))
		requireOnly(t, bus.Publish(t.Context(), busMessage("note", "s", 2)), evsourcing.ErrBusClosed)
		synctest.Wait()
		assert.Empty(t, r.all(), "nothing is dispatched")
		requireUndelivered(t, bus.Close(t.Context()), 1, context.Canceled)
	})
}

func TestBusCloseReportsWhyWhenBaseContextEndsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("the service stops")
		base, stop := context.WithCancelCause(t.Context())
		bus := quietBus(evsourcing.EventBusOptions{BaseContext: base})
		gate := newBusGate()
		require.NoError(t, bus.Subscribe("sub", gate, "note"))
		require.NoError(t, bus.Listen())
		publishEach(t, bus, busMessages("note", "s", 3)...)
		closing := after(func() error { return bus.Close(context.Background()) })
		synctest.Wait()
		require.False(t, answered(closing))
		stop(reason)
		requireUndelivered(t, <-closing, 3, reason)
	})
}

func TestBusListenUnderAContextThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, stop := context.WithCancel(t.Context())
		stop()
		bus := quietBus(evsourcing.EventBusOptions{BaseContext: base})
		var r busRecord
		require.NoError(t, bus.Subscribe("sub", &r, "note"))
		publishEach(t, bus, busMessages("note", "s", 3)...)
		require.NoError(t, bus.Listen())
		synctest.Wait()
		assert.Empty(t, r.all())
		requireUndelivered(t, bus.Close(t.Context()), 3, context.Canceled)
	})
}

// watchedContext counts those who watch for its end.
type watchedContext struct {
	context.Context
	mu       sync.Mutex
	watchers int
}

func (c *watchedContext) Done() <-chan struct{} { return make(chan struct{}) }

func (c *watchedContext) AfterFunc(func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers++
	return sync.OnceValue(func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers--
		return true
	})
}

func TestBusIsForgottenByBaseContextOnceClosed(t *testing.T) {
	for _, test := range []struct {
		name          string
		listen        bool
		before, after int // messages
	}{
		{name: "drained", listen: true, before: 3},
		{name: "never listened"},
		{name: "never listened, with messages", before: 3},
		{name: "late messages", listen: true, after: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := &watchedContext{Context: context.Background()}
			bus := quietBus(evsourcing.EventBusOptions{BaseContext: base})
			var r busRecord
			require.NoError(t, bus.Subscribe("sub", &r, "note"))
			if test.listen {
				require.NoError(t, bus.Listen())
			}
			publishEach(t, bus, busMessages("note", "s", test.before)...)
			_ = bus.Close(context.Background())
			publishEach(t, bus, busMessages("note", "t", test.after)...)
			_ = bus.Close(context.Background())
			assert.Zero(t, base.watchers)
		})
	}
}
