package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Handlers whose transaction saves the checkpoint, over a store that keeps a
// read model in memory: the positions handled.

// txStore has transactions: what a handler adds is there if and only if the
// checkpoint is saved.
type txStore struct {
	*chaosStore
	fate func() txFate // of the next transaction; nil: they are committed

	mu    sync.Mutex // guards the read model, and is held by transactions
	board []uint64
	saves int // transactions without messages
	late  func()
}

// txFate is what becomes of a transaction.
type txFate struct {
	lost   bool  // it is not committed
	late   bool  // it is committed after the answer: just before the next one
	answer error // instead of nil
}

func newTxStore() *txStore {
	s := &txStore{chaosStore: &chaosStore{MemoryStore: evsourcing.NewMemoryStore()}}
	s.calm.Store(true)
	return s
}

// txHandler is the TxHandler of a txStore.
type txHandler struct {
	store *txStore
	work  func(ctx context.Context, tx *[]uint64, msgs []evsourcing.Message) error
}

func (s *txStore) handler(work func(ctx context.Context, tx *[]uint64, msgs []evsourcing.Message) error) *txHandler {
	if work == nil {
		work = func(_ context.Context, tx *[]uint64, msgs []evsourcing.Message) error {
			for _, m := range msgs {
				*tx = append(*tx, m.Position)
			}
			return nil
		}
	}
	return &txHandler{s, work}
}

func (h *txHandler) CheckpointStore() evsourcing.CheckpointStore { return h.store }

func (h *txHandler) Handle(context.Context, []evsourcing.Message) error { return errSub }

func (h *txHandler) HandleTx(ctx context.Context, name string, from, to evsourcing.Checkpoint, msgs []evsourcing.Message) error {
	s := h.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late != nil {
		s.late()
		s.late = nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var fate txFate
	if s.fate != nil {
		fate = s.fate()
	}
	var tx []uint64
	if len(msgs) > 0 {
		if err := h.work(ctx, &tx, msgs); err != nil {
			return err
		}
	} else {
		s.saves++
	}
	commit := func() error {
		cp, ok, err := s.MemoryStore.Checkpoint(context.Background(), name)
		if err != nil {
			return err
		}
		if ok && cp.Position != from.Position || cp.Token > to.Token {
			return fmt.Errorf("%w: it is at %d, and not at %d", evsourcing.ErrFenced, cp.Position, from.Position)
		}
		if err := s.MemoryStore.SaveCheckpoint(context.Background(), name, to); err != nil {
			return err
		}
		s.board = append(s.board, tx...)
		return nil
	}
	switch {
	case fate.lost:
		return fate.answer
	case fate.late:
		s.late = func() { _ = commit() }
		return fate.answer
	}
	if err := commit(); err != nil {
		return err
	}
	return fate.answer
}

func (s *txStore) subscribe(h evsourcing.Handler, o evsourcing.SubscriptionOptions) *evsourcing.Subscription {
	return evsourcing.NewSubscription("board", s, s, subCodec(), h, subOptions(o))
}

func positionsUpTo(n uint64) (list []uint64) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

func TestTxHandlerSavesItsCheckpoint(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	head := write(t, s, "note", "a", 10)
	r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{BatchSize: 3}))
	r.reach(t, head)
	assert.Equal(t, head, checkpointOf(t, s, "board").Position, "it is saved when WaitFor returns")
	r.stop(t)
	assert.Equal(t, positionsUpTo(head), s.board)
	assert.Zero(t, s.saves, "nothing but the handler's transactions saved it")
}

func TestTxHandlerPassesUnwantedEventsByTransactionsWithoutMessages(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	write(t, s, "note", "a", 2)
	head := write(t, s, "other", "a", 2)
	r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"note"}}}))
	r.reach(t, head)
	r.stop(t)
	assert.Equal(t, positionsUpTo(2), s.board)
	assert.Equal(t, head, checkpointOf(t, s, "board").Position)
	assert.Equal(t, 1, s.saves)
}

func TestTxHandlerBeginsFromNow(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	head := write(t, s, "note", "a", 2)
	r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{Start: evsourcing.FromNow}))
	r.reach(t, head)
	r.reach(t, write(t, s, "note", "a", 1))
	r.stop(t)
	assert.Equal(t, []uint64{3}, s.board)
}

func TestTxHandlerThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	head := write(t, s, "note", "a", 5)
	calls := 0
	h := s.handler(func(_ context.Context, tx *[]uint64, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			*tx = append(*tx, m.Position)
			if m.Position == 3 {
				if calls++; calls == 1 {
					panic("once")
				}
				return errSub
			}
		}
		return nil
	})
	var dead []uint64
	r := start(t, s.subscribe(h, evsourcing.SubscriptionOptions{
		Retry: evsourcing.RetryPolicy{MaxAttempts: 2},
		OnFailure: func(_ context.Context, d evsourcing.DeadLetter) error {
			dead = append(dead, d.Message.Position)
			return nil
		},
	}))
	r.reach(t, head)
	r.stop(t)
	assert.Equal(t, []uint64{1, 2, 4, 5}, s.board)
	assert.Equal(t, []uint64{3}, dead)
	assert.Equal(t, head, checkpointOf(t, s, "board").Position)
}

// Whatever the answer to a commit, what it has done stands once.
func TestTxHandlerOutcomes(t *testing.T) {
	t.Parallel()
	uncertain := fmt.Errorf("%w: the line went dead", evsourcing.ErrUncertain)
	for name, fate := range map[string]txFate{
		"committed, and the answer is lost":         {answer: uncertain},
		"lost, and nobody knows":                    {lost: true, answer: uncertain},
		"committed long after the answer":           {late: true, answer: uncertain},
		"lost, because the database is away":        {lost: true, answer: &evsourcing.TxError{Err: errSub}},
		"lost, because of something that is gone":   {lost: true, answer: errSub},
		"lost, by an error that only seems a fence": {lost: true, answer: fmt.Errorf("of something else: %w", evsourcing.ErrFenced)},
	} {
		for nth := 1; nth <= 2; nth++ { // the first one has no checkpoint to compare with
			t.Run(fmt.Sprint(name, ", transaction ", nth), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newTxStore()
					head := write(t, s, "note", "a", 10)
					n := 0
					s.fate = func() txFate {
						if n++; n == nth {
							return fate
						}
						return txFate{}
					}
					r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{BatchSize: 3}))
					r.reach(t, head)
					assert.NoError(t, r.Status().Err)
					r.stop(t)
					assert.Equal(t, positionsUpTo(head), s.board)
				})
			})
		}
	}
}

// The same for transactions that only save a checkpoint.
func TestTxHandlerOutcomesWithoutMessages(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{
		"nobody knows":       evsourcing.ErrUncertain,
		"it seems a fence":   evsourcing.ErrFenced,
		"the database fails": errSub,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTxStore()
				head := write(t, s, "other", "a", 2)
				n := 0
				s.fate = func() txFate {
					if n++; n == 1 {
						return txFate{lost: true, answer: answer}
					}
					return txFate{}
				}
				r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{Filter: evsourcing.Filter{Topics: []string{"note"}}}))
				r.reach(t, head)
				r.stop(t)
				assert.Equal(t, head, checkpointOf(t, s, "board").Position)
				assert.Equal(t, 2, n)
			})
		})
	}
}

func TestTxHandlerEndsAtOnceWhenAnotherHasTheToken(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	write(t, s, "note", "a", 3)
	calls := 0
	h := s.handler(func(ctx context.Context, _ *[]uint64, _ []evsourcing.Message) error {
		calls++
		_, err := s.Claim(ctx, "board", "somebody else", time.Minute)
		return err
	})
	err := s.subscribe(h, evsourcing.SubscriptionOptions{}).Run(within(t, time.Minute))
	require.ErrorIs(t, err, evsourcing.ErrFenced)
	assert.Equal(t, 1, calls)
}

func TestTxHandlerKeepsThatAMessageWasGivenUp(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	head := write(t, s, "note", "a", 1)
	h := s.handler(func(context.Context, *[]uint64, []evsourcing.Message) error { return errSub })
	r := start(t, s.subscribe(h, evsourcing.SubscriptionOptions{
		Retry:     evsourcing.RetryPolicy{MaxAttempts: 1},
		OnFailure: func(context.Context, evsourcing.DeadLetter) error { return nil },
	}))
	r.reach(t, head)
	head = write(t, s, "note", "a", 1)
	r.reach(t, head)
	assert.GreaterOrEqual(t, checkpointOf(t, s, "board").Position, head-1, "it was saved before the next one")
	r.stop(t)
}

func TestTxHandlerNamesTheCauseOfWhatItStores(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	head := write(t, s, "note", "a", 1)
	var cause string
	var m evsourcing.Message
	h := s.handler(func(ctx context.Context, _ *[]uint64, msgs []evsourcing.Message) error {
		m, cause = msgs[0], evsourcing.MetadataFromContext(ctx)[evsourcing.MetaCausationID]
		return nil
	})
	r := start(t, s.subscribe(h, evsourcing.SubscriptionOptions{}))
	r.reach(t, head)
	r.stop(t)
	assert.Equal(t, m.ID.String(), cause)
}

func TestTxHandlerWaitsForItsDatabaseWithoutGivingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTxStore()
		head := write(t, s, "note", "a", 3)
		left := 100 // far more than attempts
		s.fate = func() txFate {
			if left--; left > 0 {
				return txFate{lost: true, answer: &evsourcing.TxError{Err: errSub}}
			}
			return txFate{}
		}
		r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{Retry: evsourcing.RetryPolicy{MaxAttempts: 2}}))
		synctest.Wait()
		assert.ErrorIs(t, r.Status().Err, errSub)
		r.reach(t, head)
		assert.NoError(t, r.Status().Err)
		r.stop(t)
		assert.Equal(t, positionsUpTo(head), s.board)
	})
}

func TestTxHandlerEndsWhenAnotherMovesItsCheckpoint(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	write(t, s, "note", "a", 3)
	h := s.handler(func(ctx context.Context, tx *[]uint64, msgs []evsourcing.Message) error {
		*tx = append(*tx, 0)
		return s.MemoryStore.SaveCheckpoint(ctx, "board", evsourcing.Checkpoint{Position: 2})
	})
	err := s.subscribe(h, evsourcing.SubscriptionOptions{}).Run(within(t, time.Minute))
	require.ErrorIs(t, err, evsourcing.ErrFenced)
	assert.Empty(t, s.board)
}

func TestTxHandlerWithALeaseGoesOnFromARewoundCheckpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTxStore()
		head := write(t, s, "note", "a", 3)
		r := start(t, s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{Lease: time.Second}))
		r.reach(t, head)
		cp := checkpointOf(t, s, "board")
		first, err := firstEvent(s)
		require.NoError(t, err)
		cp.Position, cp.EventID = 1, first.ID
		require.NoError(t, s.SaveCheckpoint(t.Context(), "board", cp))
		r.reach(t, write(t, s, "note", "a", 1))
		r.stop(t)
		assert.Equal(t, []uint64{1, 2, 3, 2, 3, 4}, s.board)
	})
}

func firstEvent(log evsourcing.Log) (evsourcing.StoredEvent, error) {
	for e, err := range log.Events(context.Background(), evsourcing.Range{Limit: 1}, evsourcing.Filter{}) {
		return e, err
	}
	return evsourcing.StoredEvent{}, errors.New("the log is empty")
}

func TestTxHandlerNeedsItsStoreAndOnePartition(t *testing.T) {
	t.Parallel()
	s, other := newTxStore(), newTxStore()
	assert.PanicsWithError(t, `evsourcing: subscription "board": its handler works in transactions of a *evsourcing_test.txStore, which has to be its checkpoint store; that is a *evsourcing_test.txStore: pass the same store, or give one that wraps it a method Unwrap() evsourcing.EventStore`,
		func() { s.subscribe(other.handler(nil), evsourcing.SubscriptionOptions{}) })
	assert.PanicsWithError(t, `evsourcing: subscription "board": 2 partitions: a handler with transactions has one`,
		func() { s.subscribe(s.handler(nil), evsourcing.SubscriptionOptions{Partitions: 2}) })
}

// wrapped is a store around a txStore.
type wrapped struct {
	*txStore
	inner evsourcing.EventStore
}

func (w wrapped) Unwrap() evsourcing.EventStore { return w.inner }

func TestTxHandlerOfAStoreThatIsWrapped(t *testing.T) {
	t.Parallel()
	s := newTxStore()
	head := write(t, s, "note", "a", 3)
	w := wrapped{s, s}
	r := start(t, evsourcing.NewSubscription("board", w, w, subCodec(), s.handler(nil), subOptions(evsourcing.SubscriptionOptions{})))
	r.reach(t, head)
	r.stop(t)
	assert.Equal(t, positionsUpTo(head), s.board)
	endless := &wrapped{txStore: newTxStore()}
	endless.inner = endless
	assert.Panics(t, func() {
		evsourcing.NewSubscription("board", s, endless, subCodec(), s.handler(nil), nil)
	})
}

// A million events, restarts at any moment, transactions of any fate, and two
// instances of which one has the lease or none has: each event once, in order.
func TestTxHandlerDoesEverythingOnce(t *testing.T) {
	for _, lease := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(fmt.Sprint("lease=", lease), func(t *testing.T) {
			t.Run("in synctest", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					huntTx(t, huntEvents(), lease, func() { <-time.After(rand.N(time.Millisecond)) })
				})
			})
			t.Run("in real time", func(t *testing.T) { huntTx(t, huntEvents(), lease, func() {}) })
		})
	}
}

func huntTx(t *testing.T, events int, lease time.Duration, pause func()) {
	h := newHunt(t)
	s := &txStore{chaosStore: h.store}
	s.fate = func() txFate {
		if h.store.calm.Load() {
			return txFate{}
		}
		uncertain := fmt.Errorf("%w: the line went dead", evsourcing.ErrUncertain)
		switch rand.N(30) {
		case 0:
			return txFate{answer: uncertain}
		case 1:
			return txFate{lost: true, answer: uncertain}
		case 2:
			return txFate{late: true, answer: uncertain}
		case 3:
			return txFate{lost: true, answer: &evsourcing.TxError{Err: errSub}}
		}
		return txFate{}
	}
	handler := s.handler(func(_ context.Context, tx *[]uint64, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			*tx = append(*tx, m.Position)
		}
		return misbehave(100, h.interrupt)
	})
	written := make(chan struct{})
	wait := writers(t, h.store.MemoryStore, events, pause)
	go func() {
		wait()
		close(written)
	}()
	var retry evsourcing.RetryPolicy
	retry.MaxAttempts, retry.InitialInterval, retry.MaxInterval = 20, 10*time.Microsecond, time.Millisecond
	subscribe := func() *evsourcing.Subscription {
		return s.subscribe(handler, evsourcing.SubscriptionOptions{
			BatchSize: 1 + rand.N(300), PollInterval: time.Millisecond, Retry: retry, Lease: lease,
			Filter: evsourcing.Filter{Types: []string{"bus"}},
		})
	}
	for last := false; !last; {
		select {
		case <-written:
			last = h.runs > 20+events/4000
		default:
		}
		var rivals sync.WaitGroup
		if !last {
			ctx, cancel := context.WithTimeout(context.Background(), rand.N(30*time.Millisecond))
			defer cancel()
			rivals.Go(func() {
				if err := subscribe().Run(ctx); err != nil && (lease > 0 || !errors.Is(err, evsourcing.ErrFenced)) {
					t.Errorf("the rival: %v", err)
				}
			})
		}
		if err := h.run(subscribe(), last); err != nil && (last || lease > 0 || !errors.Is(err, evsourcing.ErrFenced)) {
			t.Errorf("run %d: %v", h.runs, err)
		}
		rivals.Wait()
	}
	var want []uint64
	for e, err := range h.store.MemoryStore.Events(context.Background(), evsourcing.Range{}, evsourcing.Filter{Types: []string{"bus"}}) {
		require.NoError(t, err)
		want = append(want, e.Position)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.True(t, slices.Equal(want, s.board), "the read model has each event once, in order: %d of %d", len(s.board), len(want))
	t.Logf("%d events, %d runs", len(want), h.runs)
}
