package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// The names of the subscriptions.
const (
	exact = "exact" // its handler is the store's
	plain = "plain" // its handler prints
	lanes = "lanes" // the same on partitions
)

// lease is short, so that owners lose it often.
const lease = 200 * time.Millisecond

// wanted is what the subscriptions are about.
var wanted = evsourcing.Filter{Types: []string{"in"}}

// subscriber is what a process does: it runs the subscriptions, again and again, until the
// context ends, and prints what becomes of them.
func subscriber(ctx context.Context, args []string) error {
	place, owner, m := args[0], args[1], mode(args[2])
	s, err := durable.Open(ctx, place)
	for err != nil && ctx.Err() == nil { // the server is down
		pause(ctx, 20*time.Millisecond)
		s, err = durable.Open(ctx, place)
	}
	if err != nil {
		return nil
	}
	var log evsourcing.Log = s
	if m == late {
		log = &lateLog{Store: s, seen: map[uint64]time.Time{}}
	}
	var wg sync.WaitGroup
	for _, name := range m.names() {
		wg.Go(func() {
			for ctx.Err() == nil {
				run(ctx, s, log, name, owner, m)
			}
		})
	}
	wg.Wait()
	return s.Close(context.Background())
}

// run is one run of a subscription.
func run(ctx context.Context, s durable.Store, log evsourcing.Log, name, owner string, m mode) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond+rand.N(3*time.Second))
	defer cancel()
	t := &tracker{Store: s, name: name, mode: m, over: true}
	var h evsourcing.Handler = evsourcing.HandlerFunc(t.print)
	if name == exact {
		h = newExactHandler(s, owner, m)
	}
	opts := evsourcing.SubscriptionOptions{
		Filter: wanted, Lease: lease, Owner: fmt.Sprint(owner, "-", rand.Uint32()), BatchSize: 1 + rand.N(400), PollInterval: 20 * time.Millisecond,
		Retry:  evsourcing.RetryPolicy{MaxAttempts: 1000, InitialInterval: time.Millisecond, MaxInterval: 20 * time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	}
	if name == lanes {
		opts.Partitions = 4
	}
	sub := evsourcing.NewSubscription(name, log, t, durable.Codec{}, h, &opts)
	var watching sync.WaitGroup
	if name == exact {
		watching.Go(func() { watchStatus(ctx, s, sub) })
		watching.Go(func() { watchRows(ctx, s, sub) })
	}
	err := sub.Run(ctx)
	if errors.Is(err, evsourcing.ErrDiverged) || errors.Is(err, evsourcing.ErrFenced) {
		fmt.Println("bad run of", name, "ends:", err)
	}
	cancel()
	watching.Wait()
}

// watchStatus watches that what is shown never falls below an event that it has shown as
// handled. (Above that it may: over events that the filter leaves out, a checkpoint is saved
// later. And a subscription that is not exact falls back, when it has lost its lease, from
// what it has handled to what was saved.)
func watchStatus(ctx context.Context, s durable.Store, sub *evsourcing.Subscription) {
	for last := uint64(0); ctx.Err() == nil; pause(ctx, 3*time.Millisecond) {
		p := sub.Status().Position
		if p < last {
			for e, err := range s.Events(ctx, evsourcing.Range{After: p, Until: last, Limit: 1}, wanted) {
				if err == nil {
					fmt.Println("bad status: it shows", p, "after", last, "and there is an event at", e.Position)
				}
			}
		}
		last = p
	}
}

// watchRows watches that WaitFor returns when there are the rows, whoever has written them.
func watchRows(ctx context.Context, s durable.Store, sub *evsourcing.Subscription) {
	for ; ctx.Err() == nil; pause(ctx, 20*time.Millisecond) {
		head, err := s.Head(ctx)
		if err != nil {
			continue
		}
		last := uint64(0)
		for e, err := range s.Events(ctx, evsourcing.Range{Until: head.Position, Backward: true, Limit: 1}, wanted) {
			if err == nil {
				last = e.Position
			}
		}
		if sub.WaitFor(ctx, last) != nil {
			continue
		}
		var got uint64
		err = s.Rows(ctx, "SELECT position FROM handled ORDER BY n DESC LIMIT 1", func(columns []string) error {
			_, err := fmt.Sscan(columns[0], &got)
			return err
		})
		if err == nil && got < last {
			fmt.Println("bad wait: WaitFor has returned for", last, "and the last row is of", got)
		}
	}
}

// An exactHandler writes a row for each message in the transaction of the checkpoint, with
// the token of the owner. It is stubborn: it may take longer than the lease, and does not
// heed it when its context ends, as if it had been paused after looking.
type exactHandler struct {
	evsourcing.TxHandler
	store durable.Store
	owner string
	mode  mode
}

type tokenKey struct{}

func newExactHandler(s durable.Store, owner string, m mode) *exactHandler {
	h := &exactHandler{store: s, owner: owner, mode: m}
	h.TxHandler = s.Handler(func(ctx context.Context, exec durable.Exec, msgs []evsourcing.Message) error {
		if m == outside {
			return fate()
		}
		if err := h.insert(ctx, exec, msgs); err != nil {
			return err
		}
		return fate()
	})
	return h
}

func (h *exactHandler) HandleTx(ctx context.Context, name string, from, to evsourcing.Checkpoint, msgs []evsourcing.Message) error {
	token := to.Token
	ctx = context.WithValue(ctx, tokenKey{}, token)
	stubborn, slow := 2, 100 // one in so many times
	if h.mode == unfenced {
		stubborn, slow = 1, 10 // or it might take long to find
	}
	if rand.N(stubborn) == 0 {
		ctx = context.WithoutCancel(ctx)
	}
	if rand.N(slow) == 0 {
		<-time.After(lease * 3 / 2)
	}
	switch h.mode {
	case outside:
		err := h.store.InTx(ctx, func(ctx context.Context, exec durable.Exec) error { return h.insert(ctx, exec, msgs) })
		if err != nil {
			return err
		}
		pause(ctx, 3*time.Millisecond) // it takes a while to save a checkpoint elsewhere
	case unfenced:
		now, ok, err := h.store.Checkpoint(ctx, name)
		if err != nil {
			return err
		}
		if ok {
			from, to.Token = now, max(to.Token, now.Token)
		}
	}
	err := h.TxHandler.HandleTx(ctx, name, from, to, msgs)
	switch {
	case err == nil:
		fmt.Println("saved", name, token, to.Position)
	case errors.Is(err, evsourcing.ErrFenced):
		fmt.Println("fenced", name, token)
	}
	return err
}

func (h *exactHandler) insert(ctx context.Context, exec durable.Exec, msgs []evsourcing.Message) error {
	values := make([]string, len(msgs))
	for i := range msgs {
		values[i] = fmt.Sprintf("(%d,%d,'%s')", msgs[i].Position, ctx.Value(tokenKey{}), h.owner)
	}
	return exec("INSERT INTO handled (position, token, owner) VALUES " + strings.Join(values, ","))
}

// fate fails now and then, in one way or another.
func fate() error {
	switch rand.N(200) {
	case 0:
		return errors.New("fate")
	case 1:
		panic("fate")
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
