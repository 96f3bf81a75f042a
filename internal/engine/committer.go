package engine

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/evsourcing/evsourcing"
)

// state says how far an append has come.
type state int

const (
	waiting state = iota
	writing       // it can't be withdrawn any more
	settled
)

// A Committer commits appends in groups: whatever waits when a writer is free
// goes together, and nothing ever waits for a timer. That is group commit, as
// databases do it for their logs: one sync makes many appends durable. Who comes
// when nothing waits and nothing is written, with a context that can't end, writes
// in its own goroutine: that saves two switches between goroutines, and who may have
// to return before the write does needs them.
//
// All methods may be called concurrently.
type Committer struct {
	write  func(group []*Append)
	begin  func(idle func() bool) (bool, error)
	events int
	bytes  int
	total  int // writers

	writers sync.WaitGroup

	mu          sync.Mutex // guards everything below
	ready       *sync.Cond // something waits, or the committer is closed
	first, last *Append    // of those that wait
	busy        int        // groups that are written, or begun
	closed      bool
	drained     chan struct{} // closed when the writers have ended
}

// CommitterOptions bound a [Committer].
type CommitterOptions struct {
	Events  int // of a group, at most, unless one append has more; if zero, no bound
	Bytes   int // likewise; if zero, no bound
	Writers int // groups that are written at the same time; if zero, one

	// Begin gets what a writer needs before it can write, a lock for example.
	// It is called when something waits, and while it runs all that waits can
	// still be withdrawn: so it may take long. It gives up, and returns false,
	// when idle says that nothing waits any more. After true, write follows,
	// with an empty group if all was withdrawn meanwhile; an error becomes that
	// of a group. If nil, writers need nothing.
	Begin func(idle func() bool) (bool, error)
}

// NewCommitter returns a committer that hands groups to write, which sets the
// outcome of each append before it returns, and has to judge each on its own.
func NewCommitter(o CommitterOptions, write func(group []*Append)) *Committer {
	c := &Committer{write: write, begin: o.Begin, events: o.Events, bytes: o.Bytes, total: max(1, o.Writers), drained: make(chan struct{})}
	c.ready = sync.NewCond(&c.mu)
	for range c.total {
		c.writers.Go(c.loop)
	}
	go func() {
		c.writers.Wait()
		close(c.drained)
	}()
	return c
}

// Commit queues the append and waits for its outcome. When ctx ends while it
// waits for a writer it is withdrawn, and the context's error returned; later,
// Commit returns [evsourcing.ErrUncertain], and the append goes on.
func (c *Committer) Commit(ctx context.Context, a *Append) (evsourcing.AppendResult, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return evsourcing.AppendResult{}, fmt.Errorf("%w: the store", evsourcing.ErrClosed)
	}
	own := c.first == nil && c.busy == 0 && ctx.Done() == nil
	c.push(a)
	if own {
		c.busy++
		c.writers.Add(1)
	}
	c.mu.Unlock()
	if own {
		c.round(make([]*Append, 0, 1))
		c.writers.Done()
	} else {
		c.ready.Signal()
	}
	select {
	case <-a.done:
		return a.Result, a.Err
	case <-ctx.Done():
	}
	c.mu.Lock()
	was := a.state
	if was == waiting {
		c.remove(a)
	}
	c.mu.Unlock()
	switch was {
	case waiting:
		return evsourcing.AppendResult{}, ctx.Err()
	case settled:
		return a.Result, a.Err
	}
	return evsourcing.AppendResult{}, fmt.Errorf("%w: %w", evsourcing.ErrUncertain, ctx.Err())
}

// Close refuses new appends, and returns when those that wait are settled. When
// ctx ends first, those that have not begun fail with [evsourcing.ErrClosed], and
// Close returns the context's error without waiting for those that have.
func (c *Committer) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.ready.Broadcast()
	select {
	case <-c.drained:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	var refused []*Append
	for c.first != nil {
		refused = append(refused, c.first)
		c.remove(c.first)
	}
	c.mu.Unlock()
	for _, a := range refused {
		a.Err = fmt.Errorf("%w: the store", evsourcing.ErrClosed)
	}
	c.settle(refused)
	return ctx.Err()
}

func (c *Committer) loop() {
	var group []*Append
	for {
		if len(group) > 1 {
			runtime.Gosched() // who has got an answer may have more to say
		}
		if !c.await() {
			return
		}
		group = c.round(group[:0])
		clear(group)
	}
}

// round writes a group of what waits, which it appends to the given one and returns.
// The caller has made itself busy.
func (c *Committer) round(group []*Append) []*Append {
	defer c.rest()
	var err error
	if c.begin != nil {
		var ok bool
		if ok, err = c.begin(c.idle); !ok && err == nil {
			return group
		}
	}
	// All of them may have been withdrawn, or taken by another writer.
	group = c.take(group)
	switch {
	case err != nil:
		for _, a := range group {
			a.Err = err
		}
	case len(group) > 0 || c.begin != nil:
		c.write(group)
	}
	c.settle(group)
	return group
}

// await returns when something waits that may be written, or false if nothing will any
// more.
func (c *Committer) await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.first == nil || c.busy == c.total {
		if c.first == nil && c.closed {
			return false
		}
		c.ready.Wait()
	}
	c.busy++
	return true
}

// rest ends what await began.
func (c *Committer) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	if c.first != nil || c.closed {
		c.ready.Broadcast()
	}
}

// idle reports whether nothing waits.
func (c *Committer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first == nil
}

// Waiting returns how many appends wait for a writer.
func (c *Committer) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for a := c.first; a != nil; a = a.next {
		n++
	}
	return n
}

// take takes a group of what waits.
func (c *Committer) take(group []*Append) []*Append {
	c.mu.Lock()
	defer c.mu.Unlock()
	events, bytes := 0, 0
	for c.first != nil {
		a := c.first
		events += a.Events()
		bytes += a.Size
		if len(group) > 0 && (c.events > 0 && events > c.events || c.bytes > 0 && bytes > c.bytes) {
			c.ready.Signal() // for another writer
			break
		}
		c.remove(a)
		a.state = writing
		group = append(group, a)
	}
	return group
}

// settle tells the callers.
func (c *Committer) settle(group []*Append) {
	c.mu.Lock()
	for _, a := range group {
		a.state = settled
	}
	c.mu.Unlock()
	for _, a := range group {
		a.done <- struct{}{}
	}
}

// push adds a to the queue, with mu held.
func (c *Committer) push(a *Append) {
	a.prev, a.next = c.last, nil
	if c.last == nil {
		c.first = a
	} else {
		c.last.next = a
	}
	c.last = a
}

// remove takes a out of the queue, with mu held.
func (c *Committer) remove(a *Append) {
	if a.prev == nil {
		c.first = a.next
	} else {
		a.prev.next = a.next
	}
	if a.next == nil {
		c.last = a.prev
	} else {
		a.next.prev = a.prev
	}
	a.prev, a.next = nil, nil
}
