package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
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

// What nobody thought of: many events, and random programs.

// A million events through slow and failing reactors: none is lost, handled
// twice, or out of order within its stream. EVSOURCING_FULL=1 sends as many with
// -race and -short, too.
func TestBusMillionEventsInOrder(t *testing.T) {
	events := busScale(1_000_000, 100_000, 20_000)
	if os.Getenv("EVSOURCING_FULL") != "" {
		events = 1_000_000
	}
	const streams, publishers, batch = 500, 4, 8
	synctest.Test(t, func(t *testing.T) {
		names := busStreams(streams)
		slow := newBusInOrder(t, "slow", names, func(context.Context, evsourcing.Message) error {
			if rand.N(50) == 0 {
				<-time.After(rand.N(10 * time.Millisecond))
			}
			return nil
		})
		fails := newBusInOrder(t, "failing", names, func(context.Context, evsourcing.Message) error {
			switch rand.N(300) {
			case 0, 1, 2:
				return errBus
			case 3:
				panic("now and then")
			case 4:
				runtime.Goexit()
			}
			return nil
		})
		dooms := newBusInOrder(t, "doomed", names, func(_ context.Context, m evsourcing.Message) error {
			if m.Version%50 == 7 {
				return errBus // for good; it must not hold up the rest
			}
			return nil
		})
		var dead atomic.Int64
		bus := quietBus(evsourcing.EventBusOptions{
			Buffer: 512, Retry: evsourcing.RetryPolicy{MaxAttempts: 8, InitialInterval: time.Millisecond, MaxInterval: 4 * time.Millisecond},
			DeadLetter: func(_ context.Context, d evsourcing.DeadLetter) error {
				dead.Add(1)
				dooms.streams[d.Message.Stream.ID].version = d.Message.Version
				return nil
			},
		})
		require.NoError(t, bus.Subscribe("slow", slow, "note"))
		require.NoError(t, bus.Subscribe("failing", fails, "note"))
		require.NoError(t, bus.Subscribe("doomed", dooms, "note"))
		require.NoError(t, bus.Listen())
		var publishing sync.WaitGroup
		for p := range publishers {
			publishing.Go(func() {
				msgs := make([]evsourcing.Message, batch)
				for i := 0; i < events/publishers/batch; i++ {
					stream := i%(streams/publishers)*publishers + p
					first := i / (streams / publishers) * batch
					for j := range msgs {
						msgs[j] = evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
							ID: uuid.UUID{1}, Stream: evsourcing.StreamID{Type: "bus", ID: names[stream]}, Version: uint64(first + j + 1), Topic: "note",
						}}
					}
					if err := bus.Publish(context.Background(), msgs...); err != nil {
						t.Errorf("publish: %v", err)
						return
					}
				}
			})
		}
		publishing.Wait()
		closeBus(t, bus)
		published := int64(events / publishers / batch * batch * publishers)
		assert.Equal(t, published, slow.handled.Load())
		assert.Equal(t, published, fails.handled.Load())
		assert.Equal(t, published, dooms.handled.Load()+dead.Load())
		assert.GreaterOrEqual(t, dead.Load(), published/50/2)
	})
}

// A busProgram is a random program around one bus. It is checked for deadlocks
// and goroutines left over, by the bubble it runs in; for messages that are lost
// or handled twice; and for order.
type busProgram struct {
	t      *testing.T
	bus    busLike
	topics []string
	routes map[string]int // subscriptions by topic

	mu      sync.Mutex
	rand    *rand.Rand
	budget  int // of messages that reactors publish
	clocks  map[string]int
	sent    map[string]int             // routes of messages published
	settled map[string]map[string]bool // subscriptions that settled a message
	last    map[string]int             // versions, by subscription and stream
	wrong   []error
}

// fails notes what is wrong with the bus. mu is not held.
func (p *busProgram) fails(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Errorf(format, args...))
}

func (p *busProgram) n(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rand.IntN(n)
}

func (p *busProgram) pause(ctx context.Context, most time.Duration) {
	d := time.Duration(p.n(int(most)))
	if p.n(8) == 0 { // deaf
		ctx = context.Background()
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// publish publishes a batch of the stream, in a while or at once.
func (p *busProgram) publish(ctx context.Context, stream string, size int) {
	batch := make([]evsourcing.Message, size)
	p.mu.Lock()
	for i := range batch {
		p.clocks[stream]++
		batch[i] = busMessage(p.topics[p.rand.IntN(len(p.topics))], stream, p.clocks[stream])
	}
	p.mu.Unlock()
	err := p.bus.Publish(ctx, batch...)
	switch {
	case err == nil:
		p.mu.Lock()
		for _, m := range batch {
			p.sent[m.Stream.ID+" "+fmt.Sprint(m.Version)] = p.routes[m.Topic]
		}
		p.mu.Unlock()
	case !errors.Is(err, evsourcing.ErrBusClosed) && !errors.Is(err, evsourcing.ErrBusFull) &&
		!errors.Is(err, evsourcing.ErrNotListening) && (ctx.Err() == nil || !errors.Is(err, ctx.Err())):
		p.fails("publish: %w", err)
	}
}

func (p *busProgram) settle(sub string, m evsourcing.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := m.Stream.ID + " " + fmt.Sprint(m.Version)
	if p.settled[key] == nil {
		p.settled[key] = map[string]bool{}
	}
	if p.settled[key][sub] {
		p.wrong = append(p.wrong, fmt.Errorf("%s: %s is settled twice", sub, key))
	}
	p.settled[key][sub] = true
}

func (p *busProgram) order(sub string, m evsourcing.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := sub + " " + m.Stream.ID
	if int(m.Version) < p.last[at] { // equal: another attempt
		p.wrong = append(p.wrong, fmt.Errorf("%s: version %d after %d of %s", sub, m.Version, p.last[at], m.Stream.ID))
	}
	p.last[at] = int(m.Version)
}

// reactor returns a reactor with a character of its own.
func (p *busProgram) reactor(sub string) evsourcing.Reactor {
	fails, publishes, pauses, closes := 2+p.n(20), 1+p.n(6), 1+p.n(4), p.n(10) == 0
	return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
		p.order(sub, m)
		if p.n(pauses) == 0 {
			p.pause(ctx, 3*time.Millisecond)
		}
		switch p.n(fails * 3) {
		case 0:
			return errBus
		case 1:
			panic(errBus)
		case 2:
			runtime.Goexit()
		}
		if closes && p.n(10) == 0 {
			ctx, cancel := context.WithTimeout(ctx, time.Duration(p.n(int(5*time.Millisecond))))
			defer cancel()
			_ = p.bus.Close(ctx)
		}
		if p.n(publishes) == 0 {
			p.mu.Lock()
			p.budget--
			more := p.budget > 0
			p.mu.Unlock()
			if more {
				stream := "of " + sub + ": " + m.Stream.ID
				if len(stream) > 60 {
					stream = sub + " " + stream[len(stream)-8:] + fmt.Sprint(p.n(1_000_000_000))
				}
				p.publish(ctx, stream, 1+p.n(2))
			}
		}
		p.settle(sub, m)
		return nil
	})
}

// runBusProgram runs the program of a seed on a bus, which bus may wrap, and returns
// what is wrong with it. It is in a bubble.
func runBusProgram(t *testing.T, seed int, wrap func(*evsourcing.EventBus) busLike) error {
	p := &busProgram{
		t: t, rand: rand.New(rand.NewPCG(uint64(seed), 1)), routes: map[string]int{}, clocks: map[string]int{},
		sent: map[string]int{}, settled: map[string]map[string]bool{}, last: map[string]int{}, topics: []string{"1", "2", "3"},
	}
	p.budget = p.n(300)
	base, stop := context.WithCancel(context.Background())
	defer stop()
	opts := evsourcing.EventBusOptions{
		Buffer: 1 + p.n(6), Concurrency: 1 + p.n(4), OnFull: evsourcing.FullPolicy(p.n(2)), BaseContext: base,
		Retry: evsourcing.RetryPolicy{MaxAttempts: 1 + p.n(3), InitialInterval: time.Millisecond, MaxInterval: time.Duration(1 + p.n(int(10*time.Millisecond)))},
		DeadLetter: func(ctx context.Context, d evsourcing.DeadLetter) error {
			p.settle(d.Subscription, d.Message)
			switch p.n(12) {
			case 0:
				return errBus
			case 1:
				panic(errBus)
			case 2:
				if d.Attempts > 0 { // else it is the publisher's goroutine
					runtime.Goexit()
				}
			}
			return nil
		},
	}
	if p.n(2) == 0 {
		opts.MaxPending = opts.Buffer + p.n(10)
	}
	p.bus = wrap(quietBus(opts))
	// A program takes no hour. If it does, all of it waits; then let it end.
	deadlock := time.AfterFunc(time.Hour, func() {
		p.fails("deadlock")
		stop()
	})
	defer deadlock.Stop()
	for i := range p.n(5) {
		sub := fmt.Sprint("sub", i)
		for _, topic := range p.topics {
			if p.n(2) == 0 {
				p.routes[topic]++
				require.NoError(t, p.bus.Subscribe(sub, p.reactor(sub), topic))
			}
		}
	}
	var running sync.WaitGroup
	for i := range 1 + p.n(8) {
		running.Go(func() {
			stream := fmt.Sprint("stream", i)
			for range p.n(20) {
				ctx, cancel := context.Background(), context.CancelFunc(func() {})
				if p.n(3) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(p.n(int(5*time.Millisecond))))
				}
				p.publish(ctx, stream, 1+p.n(opts.Buffer+2))
				cancel()
				if p.n(4) == 0 {
					p.pause(context.Background(), 2*time.Millisecond)
				}
			}
		})
	}
	for range p.n(3) {
		running.Go(func() {
			p.pause(context.Background(), 40*time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(p.n(int(60*time.Millisecond))))
			defer cancel()
			_ = p.bus.Close(ctx)
		})
	}
	if p.n(10) == 0 {
		time.AfterFunc(time.Duration(p.n(int(40*time.Millisecond))), stop)
	}
	if p.n(4) == 0 {
		p.pause(context.Background(), time.Millisecond)
	}
	if p.n(20) > 0 {
		_ = p.bus.Listen()
	}
	running.Wait()
	err := p.bus.Close(context.Background())
	synctest.Wait()

	undelivered := p.bus.Pending()
	var u *evsourcing.UndeliveredError
	switch {
	case errors.As(err, &u) && u.Count != undelivered:
		p.fails("%d are undelivered, and %d pending", u.Count, undelivered)
	case u == nil && (err != nil || undelivered != 0):
		p.fails("Close returned %w, and %d are pending", errors.Join(err), undelivered)
	}
	least, most := 0, 0
	for key, routes := range p.sent {
		if n := len(p.settled[key]); n > 0 { // it was dispatched
			least, most = least+routes-n, most+routes-n
		} else { // nobody can tell whether it was kept, which counts once
			least, most = least+min(1, routes), most+max(1, routes)
		}
	}
	for key := range p.settled {
		if _, ok := p.sent[key]; !ok {
			p.fails("%s was handled, though publishing it failed", key)
		}
	}
	if undelivered < least || undelivered > most || p.routes["1"]+p.routes["2"]+p.routes["3"] == 0 && undelivered != 0 && err == nil {
		p.fails("%d undelivered, want %d to %d", undelivered, least, most)
	}
	return errors.Join(p.wrong...)
}

// asItIs wraps nothing.
func asItIs(b *evsourcing.EventBus) busLike { return b }

// Random programs of publishers, reactors that publish, fail, panic and close, and
// callers of Close, each in a bubble: no deadlock, no goroutine left, and no message lost,
// handled twice or out of order. EVSOURCING_SEED runs the program of one seed.
func TestBusRandomPrograms(t *testing.T) {
	from, programs := 0, busScale(3000, 500, 300)
	if seed, err := strconv.Atoi(os.Getenv("EVSOURCING_SEED")); err == nil {
		from, programs = seed, 1
	}
	for seed := range programs {
		if !t.Run(fmt.Sprint("seed=", from+seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := runBusProgram(t, from+seed, asItIs); err != nil {
					t.Error(err)
				}
			})
		}) {
			return
		}
	}
	t.Attr("figure", fmt.Sprintf("%d random programs: 0 deadlocks, 0 goroutines left, 0 messages lost, handled twice or out of order", programs))
}

// A bus whose reactors wait for room as others do deadlocks, and one that drops
// messages loses them: the programs find both.
func TestBusRandomProgramsControl(t *testing.T) {
	for name, broken := range map[string]struct {
		wrap  func(*evsourcing.EventBus) busLike
		finds string
	}{
		"reactors wait for room":     {func(b *evsourcing.EventBus) busLike { return waitingBus{b} }, "deadlock"},
		"messages are dropped":       {func(b *evsourcing.EventBus) busLike { return &droppingBus{EventBus: b, one: 20} }, "undelivered, want"},
		"messages are dropped later": {func(b *evsourcing.EventBus) busLike { return &droppingBus{EventBus: b} }, "undelivered, want"},
	} {
		t.Run(name, func(t *testing.T) {
			programs, found := 0, error(nil)
			for ; programs < 300 && found == nil; programs++ {
				synctest.Test(t, func(t *testing.T) { found = runBusProgram(t, programs, broken.wrap) })
			}
			require.ErrorContains(t, found, broken.finds)
			t.Attr("figure", fmt.Sprintf("a bus of which %s: found by program %d", name, programs))
		})
	}
}
