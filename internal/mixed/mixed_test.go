package mixed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evsourcing/evsourcing"
)

// slowStore takes a millisecond for each append, and stands still for a second after
// the first half second.
type slowStore struct {
	Store
	start time.Time
}

func (s *slowStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	d := time.Millisecond
	if since := time.Since(s.start); since > 500*time.Millisecond && since < 1500*time.Millisecond {
		d = 1500*time.Millisecond - since
	}
	<-time.After(d)
	return s.Store.Append(ctx, batches...)
}

// slowShare returns which part of the updates took longer than 100 ms.
func slowShare(t *testing.T, loop func(context.Context, *Service) Result) (share float64) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		all, slow := 0, 0
		store := &slowStore{Store: evsourcing.NewMemoryStore()}
		s, err := Start(t.Context(), store, &Options{Clients: 4, Loads: -1, Observe: func(k Kind, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if k == Update {
				all++
				if d > 100*time.Millisecond {
					slow++
				}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		store.start = time.Now()
		r := loop(t.Context(), s)
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if int64(all) != r.Updates || r.Failed > 0 {
			t.Errorf("%d latencies of %+v", all, r)
		}
		share = float64(slow) / float64(all)
	})
	return share
}

// A store that stands still for one second of two makes about half of all callers wait,
// and the open loop says so.
func TestOpenCountsWhoWaits(t *testing.T) {
	share := slowShare(t, func(ctx context.Context, s *Service) Result { return s.Open(ctx, 1000, 2*time.Second) })
	t.Attr("figure", fmt.Sprintf("a store that stands still for 1 s of 2: %.0f %% of the latencies are above 100 ms", 100*share))
	if share < 0.4 {
		t.Errorf("only %.1f %% of the updates were slow", 100*share)
	}
}

// The closed loop stops asking meanwhile, and sees next to nothing.
func TestOpenCountsWhoWaitsControl(t *testing.T) {
	share := slowShare(t, func(ctx context.Context, s *Service) Result { return s.Closed(ctx, 2*time.Second) })
	t.Attr("figure", fmt.Sprintf("the same in a closed loop: %.1f %%", 100*share))
	if share >= 0.4 {
		t.Errorf("%.1f %% of the updates were slow: the test would not find a loop that omits them", 100*share)
	}
}

// runFold runs a load with a projection that handle adds to a fold, and returns in how
// many accounts it is not what the log says.
func runFold(t *testing.T, handle func(f *Fold, msgs []evsourcing.Message) error) (r Result, differ int) {
	t.Helper()
	store := evsourcing.NewMemoryStore()
	var f Fold
	s, err := Start(t.Context(), store, &Options{Streams: 100, Clients: 8, Handler: evsourcing.HandlerFunc(
		func(_ context.Context, msgs []evsourcing.Message) error { return handle(&f, msgs) })})
	if err != nil {
		t.Fatal(err)
	}
	r = s.Closed(t.Context(), 50*time.Millisecond)
	r.Add(s.Open(t.Context(), 1000, 50*time.Millisecond))
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	log, err := Read(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if by := log.By("service"); by != r.Updates || r.Updates == 0 || r.Loads == 0 || r.Failed > 0 {
		t.Errorf("the log has %d events of the load, which says %+v", by, r)
	}
	return r, log.Differ(f.Rows())
}

// The projection that follows the load is what the log says.
func TestProjectionFollows(t *testing.T) {
	r, differ := runFold(t, func(f *Fold, msgs []evsourcing.Message) error { return f.Handle(t.Context(), msgs) })
	t.Attr("figure", fmt.Sprintf("%d updates: %d accounts differ", r.Updates, differ))
	if differ > 0 {
		t.Errorf("%d accounts differ", differ)
	}
}

// A projection that leaves out an event is found.
func TestProjectionFollowsControl(t *testing.T) {
	r, differ := runFold(t, func(f *Fold, msgs []evsourcing.Message) error { return f.Handle(t.Context(), msgs[1:]) })
	t.Attr("figure", fmt.Sprintf("%d updates, the first of each batch left out: %d accounts differ", r.Updates, differ))
	if differ == 0 {
		t.Error("no account differs")
	}
}

// The same operations arrive whoever runs them, and errors are counted by what they
// say of the store.
func TestErrorsAreCounted(t *testing.T) {
	s, err := Start(t.Context(), evsourcing.NewMemoryStore(), &Options{Clients: 1, Streams: 10,
		Context: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Open(t.Context(), 1000, 10*time.Millisecond); r.Cancelled != 10 || r.Updates+r.Loads+r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	if err := errors.Join(s.Stop(t.Context()), s.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	if r := s.Open(t.Context(), 1000, 10*time.Millisecond); r.Cancelled != 10 {
		t.Errorf("%+v", r)
	}
	s.opts.Context = func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }
	if r := s.Open(t.Context(), 1000, 10*time.Millisecond); r.Failed == 0 || !errors.Is(r.Err, evsourcing.ErrClosed) {
		t.Errorf("%+v", r)
	}
}
