package evsourcing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plainLog is a log that can do nothing else: no waiting, no filtering.
type plainLog struct{ store *evsourcing.MemoryStore }

func (l plainLog) Head(ctx context.Context) (evsourcing.Mark, error) { return l.store.Head(ctx) }

func (l plainLog) Events(ctx context.Context, r evsourcing.Range, _ evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return l.store.Events(ctx, r, evsourcing.Filter{})
}

// subscribe returns a subscription of the name "sub".
func subscribe(log evsourcing.Log, cp evsourcing.CheckpointStore, h evsourcing.Handler, o evsourcing.SubscriptionOptions) *evsourcing.Subscription {
	return evsourcing.NewSubscription("sub", log, cp, subCodec(), h, subOptions(o))
}

func TestSubscriptionCatchesUpAndFollows(t *testing.T) {
	for _, name := range []string{"a log that wakes", "a log that is polled"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				var log evsourcing.Log = store
				if name != "a log that wakes" {
					log = plainLog{store}
				}
				write(t, store, "note", "a", 3)
				rec := &subRecord{}
				sub := start(t, subscribe(log, store, rec, evsourcing.SubscriptionOptions{}))
				sub.reach(t, 3)
				began := time.Now()
				sub.reach(t, write(t, store, "note", "b", 2))
				assert.Zero(t, time.Since(began), "who waits does not wait for a timer")
				write(t, store, "note", "c", 1)
				if name != "a log that wakes" {
					<-time.After(500 * time.Millisecond) // the default PollInterval
				}
				synctest.Wait()
				assert.Equal(t, uint64(6), sub.Status().Position)
				assert.Equal(t, []string{"a 1", "a 2", "a 3", "b 1", "b 2", "c 1"}, rec.all())
				cp := checkpointOf(t, store, "sub")
				assert.Equal(t, uint64(6), cp.Position)
				head, err := store.Head(t.Context())
				require.NoError(t, err)
				assert.Equal(t, head.EventID, cp.EventID)
				sub.stop(t)
			})
		})
	}
}

func TestSubscriptionHandsOverDecodedMessages(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	aircraft := newAircraft(store, nil)
	ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{"user": "ada"})
	_, err := aircraft.Create(ctx, "DM2018", record(Diverted{Airport: "SVO", Reason: "snow"}))
	require.NoError(t, err)
	codec := evsourcing.NewRegistry(Landed{})
	codec.Upcast("aircraft.diverted", "aircraft.landed", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) { return e, nil })
	rec := &subRecord{}
	sub := start(t, evsourcing.NewSubscription("sub", store, store, codec, rec, subOptions(evsourcing.SubscriptionOptions{
		Filter: evsourcing.Filter{Topics: []string{"aircraft.landed"}},
	})))
	sub.reach(t, 1)
	sub.stop(t)
	require.Len(t, rec.last, 1)
	m := rec.last[0]
	assert.Equal(t, Landed{Airport: "SVO"}, m.Event)
	assert.Equal(t, "aircraft.landed", m.Topic, "the current name")
	assert.Equal(t, []string{"airport:SVO", "reason:snow"}, m.Tags)
	stored := history(t, store, "DM2018")[0]
	assert.Equal(t, stored.ID, m.ID)
	assert.Equal(t, stored.Stream, m.Stream)
	assert.Equal(t, [2]uint64{1, 1}, [2]uint64{m.Version, m.Position})
	assert.Equal(t, "ada", m.Metadata["user"])
	assert.Equal(t, stored.Time, m.Time)
}

func TestSubscriptionBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 10)
		var positions []uint64
		rec := &subRecord{}
		rec.fail = func([]evsourcing.Message) error {
			cp, _, err := store.Checkpoint(context.Background(), "sub")
			positions = append(positions, cp.Position)
			return err
		}
		sub := start(t, subscribe(store, store, rec, evsourcing.SubscriptionOptions{BatchSize: 4}))
		sub.reach(t, 10)
		sub.stop(t)
		assert.Equal(t, []int{4, 4, 2}, rec.sizes())
		assert.Equal(t, []uint64{0, 4, 8}, positions, "a checkpoint after each batch")
		assert.Equal(t, uint64(10), checkpointOf(t, store, "sub").Position)
	})
}

func TestSubscriptionFilters(t *testing.T) {
	tests := []struct {
		name   string
		filter evsourcing.Filter
		want   []string
	}{
		{"by topic", evsourcing.Filter{Topics: []string{"other"}}, []string{"a 3", "b 1"}},
		{"by a topic with an alias", evsourcing.Filter{Topics: []string{"note"}}, []string{"a 1", "a 2", "a 4", "c 1"}},
		{"by type", evsourcing.Filter{Types: []string{"bus"}}, []string{"a 1", "a 2", "a 3", "a 4", "b 1"}},
		{"by both", evsourcing.Filter{Topics: []string{"note"}, Types: []string{"train"}}, []string{"c 1"}},
		{"to nothing", evsourcing.Filter{Types: []string{"ship"}}, nil},
	}
	for _, tt := range tests {
		for _, name := range []string{"in the store", "here"} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := evsourcing.NewMemoryStore()
					var log evsourcing.Log = store
					if name == "here" {
						log = plainLog{store}
					}
					write(t, store, "note", "a", 2)
					write(t, store, "other", "a", 1)
					write(t, store, "old note", "a", 1)
					write(t, store, "other", "b", 1)
					writeTyped(t, store, "train", "note", "c", 1)
					end := writeTyped(t, store, "train", "other", "d", 1)
					if tt.filter.Types == nil || tt.filter.Topics != nil {
						end = writeTyped(t, store, "train", "unknown", "d", 2) // is not even decoded
					}
					codec := subCodec()
					codec.Alias("old note", busNote{})
					rec := &subRecord{}
					sub := start(t, evsourcing.NewSubscription("sub", log, store, codec, rec, subOptions(evsourcing.SubscriptionOptions{Filter: tt.filter})))
					sub.reach(t, end) // what the filter leaves out is passed
					want := tt.want
					if tt.name == "by topic" {
						want = append(want, "d 1")
					}
					assert.Equal(t, want, rec.all())
					<-time.After(2 * time.Second)
					synctest.Wait()
					assert.Equal(t, end, checkpointOf(t, store, "sub").Position, "the checkpoint advances with the head")
					sub.stop(t)
				})
			})
		}
	}
}

// A filtered log is read in stages, whose ends are checkpoints.
func TestSubscriptionReadsALongFilteredLogInStages(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	for range 30 {
		write(t, store, "note", "a", 10_000)
	}
	write(t, store, "other", "b", 1)
	write(t, store, "note", "a", 10)
	rec := &subRecord{}
	spy := &windowSpy{Log: store}
	sub := start(t, subscribe(spy, store, rec, evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"other"}}}))
	sub.reach(t, 300_011)
	sub.stop(t)
	assert.Equal(t, []string{"b 1"}, rec.all())
	assert.Equal(t, []uint64{1 << 17, 2 << 17, 300_011}, spy.untils)
}

// windowSpy notes up to where a log is read.
type windowSpy struct {
	evsourcing.Log
	untils []uint64
}

func (s *windowSpy) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if r.Limit == 0 {
		s.untils = append(s.untils, r.Until)
	}
	return s.Log.Events(ctx, r, f)
}

func TestSubscriptionStarts(t *testing.T) {
	tests := []struct {
		name  string
		start uint64
		want  []string
	}{
		{"at the beginning", 0, []string{"a 1", "a 2", "a 3", "a 4", "a 5"}},
		{"after a position", 2, []string{"a 3", "a 4", "a 5"}},
		{"from now on", evsourcing.FromNow, []string{"a 4", "a 5"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := evsourcing.NewMemoryStore()
				write(t, store, "note", "a", 3)
				rec := &subRecord{}
				opts := evsourcing.SubscriptionOptions{Start: tt.start}
				sub := start(t, subscribe(store, store, rec, opts))
				sub.reach(t, 3)
				sub.stop(t)
				write(t, store, "note", "a", 2) // while it does not run
				sub = start(t, subscribe(store, store, rec, opts))
				sub.reach(t, 5)
				sub.stop(t)
				assert.Equal(t, tt.want, rec.all(), "a checkpoint goes before Start")
			})
		})
	}
}

func TestSubscriptionFromNowOnAnEmptyLogMissesNothingAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		rec := &subRecord{}
		opts := evsourcing.SubscriptionOptions{Start: evsourcing.FromNow}
		sub := start(t, subscribe(store, store, rec, opts))
		synctest.Wait()
		sub.stop(t)
		write(t, store, "note", "a", 2)
		sub = start(t, subscribe(store, store, rec, opts))
		sub.reach(t, 2)
		sub.stop(t)
		assert.Equal(t, []string{"a 1", "a 2"}, rec.all())
	})
}

func TestSubscriptionRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		rec := &subRecord{}
		s := subscribe(store, store, rec, evsourcing.SubscriptionOptions{})
		assert.Equal(t, evsourcing.StateStopped, s.Status().State)
		for i := range 3 {
			write(t, store, "note", "a", 2)
			sub := start(t, s)
			synctest.Wait() // else WaitFor may find the run before it
			sub.reach(t, uint64(2*i+2))
			require.ErrorIs(t, s.Run(t.Context()), evsourcing.ErrRunning)
			sub.stop(t)
		}
		assert.Len(t, rec.all(), 6)
	})
}

func TestNewSubscriptionRefuses(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	h := &subRecord{}
	codec := subCodec()
	onNote := evsourcing.Each(evsourcing.On(func(context.Context, string, busNote) error { return nil }))
	type args struct {
		name  string
		log   evsourcing.Log
		cp    evsourcing.CheckpointStore
		codec evsourcing.Codec
		h     evsourcing.Handler
		opts  *evsourcing.SubscriptionOptions
	}
	tests := []struct {
		name   string
		change func(a *args)
		want   string
		is     error
	}{
		{"no name", func(a *args) { a.name = "" }, `evsourcing: subscription "": the name is empty`, nil},
		{"a store that is no log", func(a *args) { a.log = nil }, "the log is nil: unsupported operation: a subscription needs a store that is an evsourcing.Log; Require says whether one is", errors.ErrUnsupported},
		{"no checkpoint store", func(a *args) { a.cp = nil }, "the checkpoint store is nil", nil},
		{"no codec", func(a *args) { a.codec = nil }, "the codec is nil", nil},
		{"no handler", func(a *args) { a.h = nil }, "the handler is nil", nil},
		{"a topic that is unknown", func(a *args) {
			a.opts = &evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"nota"}}}
		}, `evsourcing: unknown topic "nota"`, evsourcing.ErrUnknownTopic},
		{"a reactor's topic that the filter lacks", func(a *args) {
			a.h = onNote
			a.opts = &evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"other"}}}
		}, `its filter has topic "other", but its reactor is for events of topic ["note"]`, nil},
		{"a lease without a Claimer", func(a *args) {
			a.cp = struct{ evsourcing.CheckpointStore }{store}
			a.opts = &evsourcing.SubscriptionOptions{Lease: time.Second}
		}, "a lease needs a checkpoint store that is an evsourcing.Claimer", errors.ErrUnsupported},
		{"a bad owner", func(a *args) {
			a.opts = &evsourcing.SubscriptionOptions{Lease: time.Second, Owner: "a\x00b"}
		}, "the owner has a NUL byte", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := args{"sub", store, store, codec, h, nil}
			tt.change(&a)
			defer func() {
				err, ok := recover().(error)
				require.True(t, ok, "NewSubscription did not panic with an error")
				require.ErrorContains(t, err, tt.want)
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
			}()
			evsourcing.NewSubscription(a.name, a.log, a.cp, a.codec, a.h, a.opts)
		})
	}
}

func TestRequireNamesTheStoreAndWhatItLacks(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	log, err := evsourcing.Require[evsourcing.Log](&spyStore{EventStore: store})
	require.NoError(t, err)
	assert.Same(t, store, log)
	_, err = evsourcing.Require[evsourcing.Log](struct{ evsourcing.EventStore }{store})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "is no evsourcing.Log")
}

func TestSubscriptionToALogThatHasDiverged(t *testing.T) {
	tests := []struct {
		name string
		cp   func(mark evsourcing.Mark) evsourcing.Checkpoint
		want string
	}{
		{"its checkpoint is beyond the head", func(evsourcing.Mark) evsourcing.Checkpoint {
			return evsourcing.Checkpoint{Position: 9, EventID: uuid.New()}
		}, "has come to position 9, but the log ends at 5"},
		{"its last event is another", func(evsourcing.Mark) evsourcing.Checkpoint {
			return evsourcing.Checkpoint{Position: 5, EventID: uuid.New()}
		}, "the event at position 5 is "},
		{"another stands at its checkpoint", func(m evsourcing.Mark) evsourcing.Checkpoint {
			return evsourcing.Checkpoint{Position: 3, EventID: m.EventID}
		}, "the event at position 3 is "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := evsourcing.NewMemoryStore()
			write(t, store, "note", "a", 5)
			head, err := store.Head(t.Context())
			require.NoError(t, err)
			cp := tt.cp(head)
			require.NoError(t, store.SaveCheckpoint(t.Context(), "sub", cp))
			rec := &subRecord{}
			s := subscribe(store, store, rec, evsourcing.SubscriptionOptions{})
			err = s.Run(t.Context())
			require.ErrorIs(t, err, evsourcing.ErrDiverged)
			require.ErrorContains(t, err, `subscription "sub"`)
			require.ErrorContains(t, err, tt.want)
			for _, position := range []uint64{1, cp.Position, 20} {
				require.ErrorIs(t, s.WaitFor(t.Context(), position), evsourcing.ErrDiverged, "WaitFor returns Run's error")
			}
			assert.Zero(t, s.Status().Position, "what another log's subscription has come to")
			require.ErrorIs(t, s.Status().Err, evsourcing.ErrDiverged)
			assert.Empty(t, rec.all(), "nothing is skipped silently")
			assert.Equal(t, cp, checkpointOf(t, store, "sub"))
		})
	}
}

// swapLog is a log that a failover replaces.
type swapLog struct {
	*evsourcing.MemoryStore
	next *evsourcing.MemoryStore // takes the place once Wait has failed
}

func (l *swapLog) Wait(ctx context.Context, after uint64) error {
	if l.next != nil {
		l.MemoryStore, l.next = l.next, nil
		return nil
	}
	return l.MemoryStore.Wait(ctx, after)
}

func TestSubscriptionNoticesThatTheLogIsAnotherWhileItRuns(t *testing.T) {
	for _, n := range []int{2, 3} { // a tail is gone, or gone and written anew
		synctest.Test(t, func(t *testing.T) {
			store, restored := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
			write(t, store, "note", "a", 3)
			write(t, restored, "note", "a", n)
			err := subscribe(&swapLog{store, restored}, store, &subRecord{}, evsourcing.SubscriptionOptions{}).Run(t.Context())
			require.ErrorIs(t, err, evsourcing.ErrDiverged)
		})
	}
}

func TestSubscriptionWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		gate := make(chan struct{})
		rec := &subRecord{fail: func([]evsourcing.Message) error { <-gate; return nil }}
		s := subscribe(store, store, rec, evsourcing.SubscriptionOptions{BatchSize: 1})
		require.NoError(t, s.WaitFor(t.Context(), 0))
		early := after(func() error { return s.WaitFor(context.Background(), 1) })
		require.ErrorIs(t, s.WaitFor(within(t, time.Second), 1), context.DeadlineExceeded)
		sub := start(t, s)
		second := after(func() error { return s.WaitFor(context.Background(), 2) })
		synctest.Wait()
		assert.False(t, answered(early), "the handler is not done")
		gate <- struct{}{}
		synctest.Wait()
		assert.True(t, answered(early), "at once when it is")
		assert.False(t, answered(second))
		gate <- struct{}{}
		require.NoError(t, <-second)
		require.NoError(t, <-early)
		third := after(func() error { return s.WaitFor(context.Background(), 3) })
		synctest.Wait()
		sub.stop(t)
		require.ErrorIs(t, <-third, evsourcing.ErrClosed)
		require.ErrorIs(t, s.WaitFor(t.Context(), 3), evsourcing.ErrClosed)
		require.NoError(t, s.WaitFor(t.Context(), 2))
	})
}

func TestSubscriptionStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 5)
		gate := make(chan error)
		s := subscribe(store, store, &subRecord{fail: func([]evsourcing.Message) error { return <-gate }}, evsourcing.SubscriptionOptions{BatchSize: 2})
		sub := start(t, s)
		synctest.Wait()
		assert.Equal(t, evsourcing.Status{Name: "sub", State: evsourcing.StateRunning, Head: 5, Lag: 5}, s.Status())
		gate <- errSub
		<-time.After(time.Second)
		assert.Equal(t, evsourcing.Status{Name: "sub", State: evsourcing.StateRunning, Head: 5, Lag: 5, Err: errSub}, s.Status())
		gate <- nil
		synctest.Wait()
		assert.Equal(t, evsourcing.Status{Name: "sub", State: evsourcing.StateRunning, Position: 2, Head: 5, Lag: 3, Handled: 2}, s.Status())
		close(gate)
		sub.reach(t, 5)
		sub.stop(t)
		assert.Equal(t, evsourcing.Status{Name: "sub", State: evsourcing.StateStopped, Position: 5, Head: 5, Handled: 5}, s.Status())
	})
}

func TestStatusAsJSON(t *testing.T) {
	s := evsourcing.Status{Name: "sub", State: evsourcing.StateRunning, Position: 2, Head: 5, Lag: 3, Handled: 2, Err: errSub}
	data, err := json.Marshal(s)
	require.NoError(t, err)
	assert.JSONEq(t, `{"Name":"sub","State":"running","Position":2,"Head":5,"Lag":3,"Handled":2,"GivenUp":0,"Err":"the handler does not like it"}`, string(data))
	s.Err = nil
	data, err = json.Marshal([]evsourcing.Status{s})
	require.NoError(t, err)
	assert.NotContains(t, string(data), "Err")
}

func TestSubscriptionEndsItsHandlersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "a", 2)
		finish := make(chan struct{})
		sub := start(t, subscribe(store, store, evsourcing.HandlerFunc(func(ctx context.Context, msgs []evsourcing.Message) error {
			<-ctx.Done()
			<-finish
			if msgs[0].Version == 1 {
				return nil // it was done all the same
			}
			return ctx.Err()
		}), evsourcing.SubscriptionOptions{BatchSize: 1}))
		synctest.Wait()
		sub.cancel()
		synctest.Wait()
		assert.False(t, answered(sub.done), "Run waits for the handler")
		close(finish)
		require.NoError(t, <-sub.done)
		assert.Equal(t, uint64(1), checkpointOf(t, store, "sub").Position, "what was handled has a checkpoint")
		assert.Nil(t, sub.Status().Err)
	})
}

func TestSubscriptionNamesTheCause(t *testing.T) {
	for _, size := range []int{1, 10} {
		t.Run(fmt.Sprintf("in batches of %d", size), func(t *testing.T) {
			store, effects := evsourcing.NewMemoryStore(), evsourcing.NewMemoryStore()
			write(t, store, "note", "a", 3)
			hangars := evsourcing.NewRepository[Hangar]("hangar", effects, newCodec(), nil)
			sweep := func(ctx context.Context, m evsourcing.Message) error {
				_, err := hangars.CreateOrUpdate(ctx, fmt.Sprint(m.Version), func(h *Hangar) error {
					evsourcing.Record(h, Swept{})
					return nil
				})
				return err
			}
			handlers := map[string]evsourcing.Handler{
				"each": evsourcing.Each(evsourcing.ReactorFunc(sweep)),
				"batch": evsourcing.HandlerFunc(func(ctx context.Context, msgs []evsourcing.Message) error {
					var errs []error
					for _, m := range msgs {
						c := ctx
						if len(msgs) > 1 {
							c = evsourcing.ContextWithCause(ctx, m)
						}
						errs = append(errs, sweep(c, m))
					}
					return errors.Join(errs...)
				}),
			}
			for name, h := range handlers {
				s := evsourcing.NewSubscription(name, store, store, subCodec(), h, subOptions(evsourcing.SubscriptionOptions{BatchSize: size}))
				sub := start(t, s)
				sub.reach(t, 3)
				sub.stop(t)
			}
			causes := map[string]string{}
			for e, err := range store.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
				require.NoError(t, err)
				causes[fmt.Sprint(e.Version)] = e.ID.String()
			}
			n := 0
			for e, err := range effects.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
				require.NoError(t, err)
				n++
				assert.Equal(t, causes[e.Stream.ID], e.Metadata[evsourcing.MetaCausationID])
				assert.Equal(t, causes[e.Stream.ID], e.Metadata[evsourcing.MetaCorrelationID])
			}
			assert.Equal(t, 6, n)
		})
	}
}

func TestEachTakesTheTopicOfItsReactor(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	write(t, store, "other", "a", 3)
	write(t, store, "note", "b", 2)
	n := 0
	h := evsourcing.Each(evsourcing.On(func(_ context.Context, id string, _ busNote) error {
		assert.Equal(t, "b", id)
		n++
		return nil
	}))
	sub := start(t, subscribe(store, store, h, evsourcing.SubscriptionOptions{}))
	sub.reach(t, 5)
	sub.stop(t)
	assert.Equal(t, 2, n)
	assert.Panics(t, func() { evsourcing.Each(nil) })
	// By itself, too.
	err := h.Handle(t.Context(), []evsourcing.Message{{StoredEvent: evsourcing.StoredEvent{Stream: evsourcing.StreamID{ID: "b"}}, Event: busNote{}}, {Event: subOther{}}})
	require.ErrorContains(t, err, "got evsourcing_test.subOther")
	assert.Equal(t, 3, n)
}

func TestSubscriptionPartitionsKeepStreamsInOrderAndRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		for range 5 {
			for i := range 40 {
				write(t, store, "note", fmt.Sprint(i), 2)
			}
		}
		a := newAudit()
		sub := start(t, subscribe(store, store, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			<-time.After(time.Duration(len(msgs)) * time.Second)
			a.see(msgs...)
			return nil
		}), evsourcing.SubscriptionOptions{Partitions: 8}))
		began := time.Now()
		require.NoError(t, sub.WaitFor(within(t, time.Hour), 400))
		assert.Less(t, time.Since(began), 200*time.Second, "at least two ran at a time")
		sub.stop(t)
		assert.Zero(t, a.check(t, store))
	})
}

// The checkpoint stays below what one partition has not finished, however far
// the others are.
func TestSubscriptionCheckpointStaysBelowTheFirstUnfinishedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "fast", 1)
		write(t, store, "other", "fast", 1)
		write(t, store, "note", "slow", 1)
		for i := range 50 {
			write(t, store, "note", fmt.Sprint(i), 1)
		}
		gate := make(chan struct{})
		s := subscribe(store, store, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			if msgs[0].Stream.ID == "slow" {
				<-gate
			}
			return nil
		}), evsourcing.SubscriptionOptions{Partitions: 16, BatchSize: 1, Filter: evsourcing.Filter{Topics: []string{"note"}}})
		sub := start(t, s)
		sub.reach(t, 2) // the second is filtered out, and passed
		synctest.Wait()
		assert.NotZero(t, s.Status().Handled) // the others go on, as far as the reader gets
		assert.Equal(t, uint64(2), s.Status().Position)
		assert.Equal(t, uint64(1), checkpointOf(t, store, "sub").Position, "an event that it has seen")
		close(gate)
		sub.reach(t, 53)
		sub.stop(t)
	})
}

// One partition that is stuck does not make the others run ahead for ever.
func TestSubscriptionReadsAheadWithinLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		write(t, store, "note", "slow", 1)
		for i := range 20 {
			write(t, store, "note", fmt.Sprint(i), 10_000)
		}
		gate := make(chan struct{})
		s := subscribe(store, store, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			if msgs[0].Stream.ID == "slow" {
				<-gate
			}
			return nil
		}), evsourcing.SubscriptionOptions{Partitions: 32})
		sub := start(t, s)
		synctest.Wait()
		assert.LessOrEqual(t, s.Status().Handled, uint64(1<<16+256))
		close(gate)
		sub.reach(t, 200_001)
		sub.stop(t)
		assert.Equal(t, uint64(200_001), s.Status().Handled)
	})
}

func TestSubscriptionTellsHowItCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := evsourcing.NewMemoryStore()
		for range 30 {
			write(t, store, "note", "a", 10_000)
		}
		var lines busLog
		sub := start(t, subscribe(store, store, evsourcing.HandlerFunc(func(context.Context, []evsourcing.Message) error {
			<-time.After(15 * time.Second)
			return nil
		}), evsourcing.SubscriptionOptions{BatchSize: 100_000, Filter: evsourcing.Filter{Types: []string{"bus"}}, Logger: slog.New(&lines)}))
		require.NoError(t, sub.WaitFor(within(t, time.Hour), 300_000))
		sub.stop(t)
		found := lines.find(slog.LevelInfo, "catching up")
		require.NotEmpty(t, found)
		assert.Equal(t, uint64(300_000), found[0]["head"].Uint64())
	})
}
