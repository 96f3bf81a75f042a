package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/evsourcing/evsourcing"
)

// A reporter is the part of a *testing.T that a case needs. The tests of this
// package have another one, which records what broken stores are accused of.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// A config says how long and how hard to try.
type config struct {
	patience time.Duration // a call that takes longer is stuck
	short    bool          // fewer events and rounds
}

// maxErrors is how many failures of one case are printed. A store that breaks a
// rule once often breaks it a thousand times.
const maxErrors = 10

// A suite is one case running on one store. All methods may be called from any
// goroutine of the case.
type suite struct {
	config
	t     reporter
	rule  rule
	store evsourcing.EventStore
	ctx   context.Context // ends with the case
	model model

	mu    sync.Mutex // guards what follows
	over  bool       // the case has ended, and t must not be used any more
	fails int
	calls map[*call]struct{} // those under way
}

// A call is something that may block.
type call struct {
	what  string
	about any
	ctx   context.Context // nil if it has none
	since time.Time       // zero while it is the caller's turn
}

func (c *call) String() string {
	if c.about == nil {
		return c.what
	}
	return fmt.Sprintf("%s %v", c.what, c.about)
}

// run runs the case on the store. It returns when the case has ended, or when
// a call is stuck; then the goroutines of the case are left behind.
func (c testCase) run(t reporter, store evsourcing.EventStore, cfg config) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &suite{config: cfg, t: t, rule: c.rule, store: store, ctx: ctx, calls: map[*call]struct{}{}}
	done := make(chan struct{})
	// The case has a goroutine of its own, so that this one can fail the test
	// while that one is stuck in the store.
	go func() {
		defer close(done)
		defer s.recovered()
		c.check(s)
	}()
	s.watch(done)
}

// watch returns when done is closed, or fails the case when a call is stuck.
func (s *suite) watch(done <-chan struct{}) {
	s.t.Helper()
	tick := time.NewTicker(max(s.patience/20, time.Millisecond))
	defer tick.Stop()
	defer func() {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
	}()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if stuck := s.stuck(); stuck != "" {
				s.errorf("%s", stuck)
				return
			}
		}
	}
}

// stuck describes a call that has been under way for too long, or returns "".
func (s *suite) stuck() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.calls {
		if c.since.IsZero() || time.Since(c.since) < s.patience {
			continue
		}
		if c.ctx != nil && c.ctx.Err() != nil {
			return fmt.Sprintf("%v did not return within %v, though its context had ended", c, s.patience)
		}
		return fmt.Sprintf("%v did not return within %v", c, s.patience)
	}
	return ""
}

// begin notes that a call starts. The caller ends it with s.end.
func (s *suite) begin(ctx context.Context, what string, about any) *call {
	c := &call{what: what, about: about, ctx: ctx, since: time.Now()}
	s.mu.Lock()
	s.calls[c] = struct{}{}
	s.mu.Unlock()
	return c
}

func (s *suite) end(c *call) {
	s.mu.Lock()
	delete(s.calls, c)
	s.mu.Unlock()
}

// turn stops the clock of a call, or starts it anew.
func (s *suite) turn(c *call, callers bool) {
	now := time.Time{}
	if !callers {
		now = time.Now()
	}
	s.mu.Lock()
	c.since = now
	s.mu.Unlock()
}

// errorf fails the case.
func (s *suite) errorf(format string, args ...any) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails++
	if !s.over && s.fails <= maxErrors {
		s.t.Errorf("%v: %s", s.rule, fmt.Sprintf(format, args...))
	}
}

// fatalf fails the case and ends the calling goroutine.
func (s *suite) fatalf(format string, args ...any) {
	s.t.Helper()
	s.errorf(format, args...)
	runtime.Goexit()
}

func (s *suite) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails > 0
}

// stopIfFailed ends the calling goroutine if the case has failed, where going
// on would only add follow-up failures.
func (s *suite) stopIfFailed() {
	if s.failed() {
		runtime.Goexit()
	}
}

// recovered turns a panic into a failure. It must be deferred.
func (s *suite) recovered() {
	if v := recover(); v != nil {
		s.errorf("panic: %v\n%s", v, debug.Stack())
	}
}

// size returns full, or short under go test -short.
func (s *suite) size(full, short int) int {
	if s.short {
		return short
	}
	return full
}

// A group is goroutines of a case.
type group struct {
	s  *suite
	wg sync.WaitGroup
}

func (s *suite) group() *group { return &group{s: s} }

// start runs f in a goroutine. Whatever f waits for must be a call known to
// the suite, so that wait returns or the case is given up.
func (g *group) start(f func()) {
	g.wg.Go(func() {
		defer g.s.recovered()
		f()
	})
}

func (g *group) wait() { g.wg.Wait() }

// together runs f(0) to f(n-1) in goroutines that are released at once, and
// waits for all. If the case has failed then, the calling goroutine ends.
func (s *suite) together(n int, f func(i int)) {
	var ready sync.WaitGroup
	ready.Add(n)
	release := make(chan struct{})
	g := s.group()
	for i := range n {
		g.start(func() {
			ready.Done()
			<-release
			f(i)
		})
	}
	ready.Wait()
	close(release)
	g.wait()
	s.stopIfFailed()
}

// await waits for ch to be closed, as a call that the suite knows.
func (s *suite) await(what string, ch <-chan struct{}) {
	//lint:ignore SA1012 begin takes nil for a call without a context of its own
	c := s.begin(nil, what, nil)
	defer s.end(c)
	select {
	case <-ch:
	case <-s.ctx.Done():
		runtime.Goexit()
	}
}

// eventually calls f until it returns true, and fails the case if that takes
// too long.
func (s *suite) eventually(what string, f func() bool) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !f(); {
		if time.Since(began) > s.patience {
			s.fatalf("%s did not come within %v", what, s.patience)
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			runtime.Goexit()
		}
	}
}

// wantCancelled checks the error of a call whose context was cancelled.
func (s *suite) wantCancelled(what string, err error) {
	s.t.Helper()
	if !errors.Is(err, context.Canceled) {
		s.errorf("%s under a cancelled context returned the error %v, want one that is context.Canceled", what, err)
	}
}

// cancelledContext returns a context that has ended.
func (s *suite) cancelledContext() context.Context {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	return ctx
}
