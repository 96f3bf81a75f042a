package mixed

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evsourcing/evsourcing"
)

// A Result is what came of a loop.
type Result struct {
	Elapsed time.Duration
	Updates int64 // that succeeded: as many events
	Loads   int64 // that succeeded

	Conflicts int64 // updates that gave up after too many attempts
	Cancelled int64 // by Options.Context: nothing was stored
	Uncertain int64 // updates of which nobody knows: ErrUncertain
	Failed    int64 // all else: nothing was stored
	Err       error // one of those that failed

	Backlog    int64  // most operations that were due and found no client
	Projection uint64 // most positions that the projection was behind
	Reactor    int    // most messages that the reactor was behind
}

// Rate returns how many operations have succeeded, a second.
func (r Result) Rate() float64 { return float64(r.Updates+r.Loads) / r.Elapsed.Seconds() }

// Add adds what came of another loop, one after the other.
func (r *Result) Add(o Result) {
	r.Elapsed += o.Elapsed
	r.Updates += o.Updates
	r.Loads += o.Loads
	r.Conflicts += o.Conflicts
	r.Cancelled += o.Cancelled
	r.Uncertain += o.Uncertain
	r.Failed += o.Failed
	if r.Err == nil {
		r.Err = o.Err
	}
	r.Backlog = max(r.Backlog, o.Backlog)
	r.Projection = max(r.Projection, o.Projection)
	r.Reactor = max(r.Reactor, o.Reactor)
}

// An arrival is an operation that is due.
type arrival struct {
	number uint64 // decides what it does
	due    time.Time
}

// A loop is one under way.
type loop struct {
	*Service
	mu     sync.Mutex // guards result
	result Result
}

// Closed lets the clients work as fast as they can for the duration, or until ctx ends.
// It returns when all of them have their last answer.
func (s *Service) Closed(ctx context.Context, d time.Duration) Result {
	var next atomic.Uint64
	end := time.Now().Add(d)
	return s.run(ctx, func() (arrival, bool) {
		now := time.Now()
		return arrival{next.Add(1), now}, now.Before(end)
	})
}

// Open lets operations arrive at the rate, a second, for the duration, or until ctx
// ends. What the n-th operation is and when it is due was fixed beforehand. An arrival
// that finds all clients busy waits for one. Open returns when all that have arrived
// have their answer, which takes longer than d if the store is too slow.
func (s *Service) Open(ctx context.Context, rate float64, d time.Duration) Result {
	n := uint64(rate * d.Seconds())
	arrivals := make(chan arrival, min(n, 1<<16)+1)
	start := time.Now()
	var backlog int
	var generator sync.WaitGroup
	generator.Go(func() {
		defer close(arrivals)
		for i := range n {
			due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			if !sleepUntil(ctx, due) {
				return
			}
			s.opts.Observe(Late, time.Since(due))
			// Not full, or so many are late by now that this one will be too.
			arrivals <- arrival{i, due}
			backlog = max(backlog, len(arrivals)-1)
		}
	})
	r := s.run(ctx, func() (arrival, bool) {
		a, ok := <-arrivals
		return a, ok
	})
	for range arrivals { // after ctx has ended
	}
	generator.Wait()
	r.Backlog = int64(backlog)
	return r
}

// sleepUntil sleeps until the time, and returns false when ctx has ended.
func sleepUntil(ctx context.Context, t time.Time) bool {
	if d := time.Until(t); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// run lets the clients work on what next returns until it returns false.
func (s *Service) run(ctx context.Context, next func() (arrival, bool)) Result {
	l := &loop{Service: s}
	start := time.Now()
	watching, stop := context.WithCancel(ctx)
	var clients, watcher sync.WaitGroup
	watcher.Go(func() { l.watch(watching) })
	for range s.opts.Clients {
		clients.Go(func() {
			c := newClient(l)
			for ctx.Err() == nil {
				a, ok := next()
				if !ok {
					break
				}
				c.do(ctx, a)
			}
			l.mu.Lock()
			l.result.Add(c.result)
			l.mu.Unlock()
		})
	}
	clients.Wait()
	stop()
	watcher.Wait()
	l.result.Elapsed = time.Since(start)
	return l.result
}

// watch looks how far those who follow are behind.
func (l *loop) watch(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		lag := l.Lag()
		l.mu.Lock()
		l.result.Projection = max(l.result.Projection, lag.Projection)
		l.result.Reactor = max(l.result.Reactor, lag.Reactor)
		l.mu.Unlock()
		asked := time.Now()
		if l.projection != nil && l.CatchUp(ctx) == nil {
			l.opts.Observe(Project, time.Since(asked))
		}
	}
}

// A client makes one operation after the other.
type client struct {
	*loop
	source *rand.PCG
	random *rand.Rand
	zipf   *rand.Zipf
	result Result
}

func newClient(l *loop) *client {
	source := rand.NewPCG(0, 0)
	random := rand.New(source)
	return &client{
		loop: l, source: source, random: random,
		zipf: rand.NewZipf(random, l.opts.Skew, l.opts.Flat, uint64(len(l.streams)-1)),
	}
}

// do makes an operation, and observes its latency from when it was due.
func (c *client) do(ctx context.Context, a arrival) {
	c.source.Seed(c.opts.Seed, a.number)
	load := c.random.Float64() < c.opts.Loads
	id := c.streams[c.zipf.Uint64()]
	event := Posted{Amount: c.random.Int64N(1000), By: c.opts.Name, Note: c.note}
	own, cancel := c.opts.Context(ctx)
	defer cancel()
	kind, count := Update, &c.result.Updates
	var err error
	if load {
		kind, count = Load, &c.result.Loads
		_, err = c.repo.Load(own, id)
	} else {
		_, err = c.repo.Update(own, id, func(a *Account) error {
			evsourcing.Record(a, event)
			return nil
		})
	}
	if err == nil {
		*count++
		c.opts.Observe(kind, time.Since(a.due))
		return
	}
	switch {
	case errors.Is(err, evsourcing.ErrUncertain):
		c.result.Uncertain++
	case own.Err() != nil:
		c.result.Cancelled++
	case errors.Is(err, evsourcing.ErrConflict):
		c.result.Conflicts++
	default:
		c.result.Failed++
		if c.result.Err == nil {
			c.result.Err = err
		}
	}
}
