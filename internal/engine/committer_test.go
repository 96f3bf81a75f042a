package engine_test

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

func newAppend(id string) *engine.Append {
	return engine.NewAppend([]evsourcing.Batch{{
		Stream: evsourcing.StreamID{Type: "t", ID: id},
		Events: []evsourcing.StoredEvent{{ID: uuid.New(), Topic: "x", Version: 1, Data: []byte(id)}},
	}})
}

// A gate is a write function that waits to be let through.
type gate struct {
	enter chan []string // the streams of a group
	leave chan struct{}
}

func newGate() *gate { return &gate{enter: make(chan []string), leave: make(chan struct{})} }

func (g *gate) write(group []*engine.Append) {
	var names []string
	for i, a := range group {
		names = append(names, a.Batches[0].Stream.ID)
		a.Result = evsourcing.AppendResult{Position: uint64(i + 1)}
	}
	g.enter <- names
	<-g.leave
}

func TestCommitterWritesWhatWaitsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := engine.NewCommitter(engine.CommitterOptions{Events: 3}, g.write)
		var wg sync.WaitGroup
		commit := func(id string) {
			wg.Go(func() {
				if _, err := c.Commit(t.Context(), newAppend(id)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		commit("a")
		if got := <-g.enter; len(got) != 1 {
			t.Errorf("the first group is %v", got)
		}
		for _, id := range []string{"b", "c", "d", "e"} {
			commit(id)
		}
		g.leave <- struct{}{}
		if got := <-g.enter; len(got) != 3 {
			t.Errorf("the second group is %v, want three of the four that wait", got)
		}
		g.leave <- struct{}{}
		if got := <-g.enter; len(got) != 1 {
			t.Errorf("the third group is %v", got)
		}
		g.leave <- struct{}{}
		wg.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := c.Commit(t.Context(), newAppend("f")); !errors.Is(err, evsourcing.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestCommitterWithdrawsWhatWaitsAndNotWhatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := engine.NewCommitter(engine.CommitterOptions{}, g.write)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Commit(ctx, newAppend("written")); !errors.Is(err, evsourcing.ErrUncertain) || !errors.Is(err, context.Canceled) {
				t.Errorf("while it is written: %v", err)
			}
		})
		<-g.enter
		wg.Go(func() {
			if _, err := c.Commit(ctx, newAppend("withdrawn")); errors.Is(err, evsourcing.ErrUncertain) || !errors.Is(err, context.Canceled) {
				t.Errorf("while it waits: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := c.Commit(t.Context(), newAppend("other")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		g.leave <- struct{}{}
		if got := <-g.enter; len(got) != 1 || got[0] != "other" {
			t.Errorf("the next group is %v", got)
		}
		g.leave <- struct{}{}
		wg.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitterLetsACallerThatCanWaitWriteItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var own []bool // whether a group was written in a call of Commit
		c := engine.NewCommitter(engine.CommitterOptions{}, func(group []*engine.Append) {
			own = append(own, strings.Contains(string(debug.Stack()), ".(*Committer).Commit("))
			g.write(group)
		})
		var wg sync.WaitGroup
		commit := func(ctx context.Context, id string, want error) {
			wg.Go(func() {
				if _, err := c.Commit(ctx, newAppend(id)); !errors.Is(err, want) || errors.Is(err, evsourcing.ErrUncertain) {
					t.Errorf("%s: %v, want %v", id, err, want)
				}
			})
			synctest.Wait()
		}
		commit(context.Background(), "first", nil)
		if got := <-g.enter; len(got) != 1 || got[0] != "first" {
			t.Errorf("the first group is %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		commit(context.Background(), "second", nil)
		commit(ctx, "withdrawn", context.Canceled)
		select {
		case got := <-g.enter:
			t.Errorf("%v is written beside another group, and there is one writer", got)
		default:
		}
		cancel()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- c.Close(t.Context()) }()
		synctest.Wait()
		g.leave <- struct{}{}
		if got := <-g.enter; len(got) != 1 || got[0] != "second" {
			t.Errorf("the second group is %v", got)
		}
		select {
		case <-closed:
			t.Error("Close did not wait")
		default:
		}
		g.leave <- struct{}{}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		wg.Wait()
		if !slices.Equal(own, []bool{true, false}) {
			t.Errorf("written in the caller's goroutine: %v, want the first only, because the second had to wait", own)
		}
	})
}

func TestCommitterCloseWaitsForACallerThatWritesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := engine.NewCommitter(engine.CommitterOptions{}, g.write)
		go func() { _, _ = c.Commit(context.Background(), newAppend("a")) }()
		<-g.enter
		ctx, cancel := context.WithCancel(t.Context())
		closed := make(chan error)
		go func() { closed <- c.Close(ctx) }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Errorf("Close returned %v while an append is written", err)
		default:
		}
		cancel()
		if err := <-closed; !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v", err)
		}
		g.leave <- struct{}{}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitterCloseReturnsWhenWhatWaitedForACallerWasWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := engine.NewCommitter(engine.CommitterOptions{}, g.write)
		go func() { _, _ = c.Commit(context.Background(), newAppend("a")) }()
		<-g.enter
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = c.Commit(ctx, newAppend("b")) }()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- c.Close(t.Context()) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		g.leave <- struct{}{}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestCommitterCloseReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := engine.NewCommitter(engine.CommitterOptions{}, g.write)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Commit(t.Context(), newAppend("written")); err != nil {
				t.Error(err)
			}
		})
		<-g.enter
		wg.Go(func() {
			if _, err := c.Commit(t.Context(), newAppend("waiting")); !errors.Is(err, evsourcing.ErrClosed) {
				t.Errorf("what waits: %v", err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v", err)
		}
		g.leave <- struct{}{}
		wg.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitterUnderLoad(t *testing.T) {
	var mu sync.Mutex
	seen := map[uuid.UUID]bool{}
	c := engine.NewCommitter(engine.CommitterOptions{Events: 16, Writers: 2}, func(group []*engine.Append) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range group {
			id := a.Batches[0].Events[0].ID
			if seen[id] {
				t.Error("written twice")
			}
			seen[id] = true
			a.Result.Position = 1
		}
	})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				switch i % 3 {
				case 0:
					go cancel()
				case 1:
					ctx = context.Background()
				}
				a := newAppend("s")
				id := a.Batches[0].Events[0].ID
				r, err := c.Commit(ctx, a)
				mu.Lock()
				switch {
				case err == nil && (r.Position != 1 || !seen[id]):
					t.Error("acknowledged and not written")
				case err != nil && !errors.Is(err, evsourcing.ErrUncertain) && seen[id]:
					t.Error("withdrawn and written")
				}
				mu.Unlock()
				cancel()
			}
		})
	}
	wg.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCommitterBeginsBeforeItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		begun := make(chan error)
		var idle func() bool
		c := engine.NewCommitter(engine.CommitterOptions{Begin: func(f func() bool) (bool, error) {
			idle = f
			err, ok := <-begun
			return ok && err == nil, err
		}}, g.write)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		commit := func(ctx context.Context, id string, want error) {
			wg.Go(func() {
				_, err := c.Commit(ctx, newAppend(id))
				if !errors.Is(err, want) || errors.Is(err, evsourcing.ErrUncertain) {
					t.Errorf("%s: %v, want %v", id, err, want)
				}
			})
			synctest.Wait()
		}
		commit(ctx, "a", context.Canceled)
		commit(t.Context(), "b", nil)
		if c.Waiting() != 2 || idle() {
			t.Errorf("%d wait while the writer begins, idle %t", c.Waiting(), idle())
		}
		cancel()
		synctest.Wait()
		begun <- nil
		if got := <-g.enter; len(got) != 1 || got[0] != "b" {
			t.Errorf("the group is %v", got)
		}
		g.leave <- struct{}{}
		// All are withdrawn while the writer begins.
		ctx, cancel = context.WithCancel(t.Context())
		commit(ctx, "c", context.Canceled)
		cancel()
		synctest.Wait()
		if !idle() {
			t.Error("it is not idle")
		}
		begun <- nil
		if got := <-g.enter; len(got) != 0 {
			t.Errorf("the group is %v", got)
		}
		g.leave <- struct{}{}
		// Beginning fails.
		boom := errors.New("boom")
		commit(t.Context(), "d", boom)
		begun <- boom
		synctest.Wait()
		// And is given up.
		ctx, cancel = context.WithCancel(t.Context())
		commit(ctx, "e", context.Canceled)
		cancel()
		synctest.Wait()
		close(begun)
		wg.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
