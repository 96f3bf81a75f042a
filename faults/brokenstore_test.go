package faults

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// A brokenStore has one bug, which the machine must find.
type brokenStore struct {
	name string
	make func(s store) store // of a new store without any
	says string              // part of what a failure must say, or several with | between
}

// bound is how many steps the machine may take to find a bug. It needs 1,000 at
// most on average.
const bound = 20_000

// TestBrokenStores proves that the machine finds bugs.
func TestBrokenStores(t *testing.T) {
	setRapid(t, map[string]string{"checks": "5", "steps": strconv.Itoa(stepsInCheck), "shrinktime": "0s", "nofailfile": "true"})
	var list []brokenStore
	list = append(list, brokenAppends()...)
	list = append(list, brokenReads()...)
	list = append(list, brokenCheckpoints()...)
	t.Attr("figure", fmt.Sprintf("%d stores with one bug each, to be found all", len(list)))
	for _, b := range list {
		t.Run(b.name, func(t *testing.T) {
			wait := patience
			if strings.Contains(b.says, "stuck") {
				wait = 200 * time.Millisecond
			}
			steps, text := 0, "nothing"
			for steps < bound {
				r := &recorder{}
				r.run(func() { rapid.Check(r, checkBroken(b.make, wait, &steps)) })
				if !r.Failed() {
					continue
				}
				if text = r.String(); containsOne(text, b.says) {
					t.Logf("found after %d steps: %.600s", steps, text)
					return
				}
			}
			t.Fatalf("not found in %d steps. The last failure was not that, but:\n%s", steps, text)
		})
	}
}

// checkBroken returns a check of a broken store that counts the steps up to the
// first failure. What follows is only rapid trying to repeat it.
func checkBroken(broken func(store) store, wait time.Duration, steps *int) func(*rapid.T) {
	found := false
	return func(t *rapid.T) {
		m := &machine{patience: wait}
		defer func() {
			if !found {
				*steps += m.steps + 1
				found = t.Failed()
			}
		}()
		m.run(t, func(context.Context) (site, error) {
			return brokenSite{memorySite{broken(evsourcing.NewMemoryStore())}}, nil
		})
	}
}

// TestSoundStore proves that the machine finds neither the wrappers nor what a
// store may do.
func TestSoundStore(t *testing.T) {
	setRapid(t, map[string]string{"checks": "10", "steps": strconv.Itoa(stepsInCheck), "nofailfile": "true"})
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{patience: patience}
		m.run(t, func(context.Context) (site, error) {
			s := uncertain(evsourcing.NewMemoryStore())
			s = editIn(s, func(*evsourcing.Batch, *evsourcing.StoredEvent) {})
			s = editResult(s, func(_ context.Context, _ *evsourcing.AppendResult, err error) error { return err })
			s = editOut(s, func(seq eventSeq) eventSeq { return seq })
			s = editRange(s, func(*evsourcing.Range) {})
			s = editStream(s, func(id evsourcing.StreamID) evsourcing.StreamID { return id })
			return brokenSite{memorySite{s}}, nil
		})
	})
}

// uncertain returns s, with appends of uncertain outcome if their context ends,
// some of them stored and some not; and with filters that are not looked at.
func uncertain(s store) store {
	var calls atomic.Int64
	appends := withAppend{s, func(ctx context.Context, list ...evsourcing.Batch) (result evsourcing.AppendResult, err error) {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		if err := evsourcing.Validate(list...); err != nil {
			return result, err
		}
		before := calls.Add(1)%2 == 0
		if before {
			result, err = s.Append(context.WithoutCancel(ctx), list...)
		}
		linger(ctx)
		if ctx.Err() != nil {
			return evsourcing.AppendResult{}, fmt.Errorf("%w: %w", evsourcing.ErrUncertain, ctx.Err())
		}
		if !before {
			result, err = s.Append(context.WithoutCancel(ctx), list...)
		}
		return result, err
	}}
	return withEvents{appends, func(ctx context.Context, r evsourcing.Range, _ evsourcing.Filter) eventSeq {
		return s.Events(ctx, r, evsourcing.Filter{})
	}}
}

// A brokenSite tells its store when it is opened again.
type brokenSite struct{ memorySite }

func (s brokenSite) close(context.Context, store) error {
	if r, ok := s.store.(interface{ reopened() }); ok {
		r.reopened()
	}
	return nil
}

func containsOne(text, parts string) bool {
	for part := range strings.SplitSeq(parts, "|") {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// A recorder is a test that may fail.
type recorder struct {
	mu     sync.Mutex // guards everything below
	failed bool
	text   []string
}

// run runs f, which FailNow ends.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.text, "\n")
}

// Failed implements rapid.TB, as do the following.
func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.text = append(r.text, text)
}

func (r *recorder) Helper()                           {}
func (r *recorder) Name() string                      { return "a broken store" }
func (r *recorder) Logf(string, ...any)               {}
func (r *recorder) Log(...any)                        {}
func (r *recorder) Skipf(string, ...any)              { r.SkipNow() }
func (r *recorder) Skip(...any)                       { r.SkipNow() }
func (r *recorder) SkipNow()                          { runtime.Goexit() }
func (r *recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...)) }
func (r *recorder) Error(args ...any)                 { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); r.FailNow() }
func (r *recorder) FailNow()                          { r.Fail(); runtime.Goexit() }
func (r *recorder) Fail()                             { r.fail("failed") }
