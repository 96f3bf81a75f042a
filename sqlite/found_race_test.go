package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// Two stores on one file, writers whose contexts end at random, handlers that
// fail, are slow and panic, readers that compare: what was said must be true.
func TestStoresOnOneFileUnderAMixtureOfCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	before := runtime.NumGoroutine()
	var stores []*Store
	for range 2 {
		s, err := Open(path, &Options{Logger: quiet, Durability: Normal, GroupEvents: 7, Readers: 2, HandlerTime: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var mu sync.Mutex
	said := map[uuid.UUID]string{}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			s := stores[w%2]
			for ctx.Err() == nil {
				id := fmt.Sprintf("s%d", rand.N(40))
				var b evsourcing.Batch
				if rand.N(2) == 0 {
					b = batch(id, evsourcing.AnyVersion, 1+rand.N(3))
				} else {
					v := uint64(0)
					for e, err := range s.Load(t.Context(), stream(id), evsourcing.Range{Backward: true, Limit: 1}) {
						if err != nil {
							t.Error(err)
							return
						}
						v = e.Version
					}
					b = batch(id, v, 1+rand.N(3))
				}
				b.Events[0].Topic = fmt.Sprint("topic.", rand.N(500))
				other := batch(fmt.Sprintf("o%d-%v", w, uuid.New()), 0, 1)
				actx, acancel := context.WithTimeout(context.Background(), time.Duration(rand.N(3000))*time.Microsecond+50*time.Microsecond)
				var err error
				batches := []evsourcing.Batch{b}
				if rand.N(3) == 0 {
					batches = append(batches, other)
				}
				if rand.N(4) == 0 {
					fate := rand.N(5)
					func() {
						defer func() {
							if v := recover(); v != nil {
								err = errUndo
							}
						}()
						err = s.InTx(actx, func(ctx context.Context, tx *zsqlite.Conn) error {
							if _, err := s.Append(ctx, batches...); err != nil {
								return err
							}
							for _, err := range s.Load(ctx, stream(id), evsourcing.Range{}) {
								if err != nil {
									return err
								}
							}
							switch fate {
							case 0:
								return errUndo
							case 1:
								blowUp()
							case 2:
								<-time.After(time.Duration(rand.N(30)) * time.Millisecond)
							}
							return nil
						})
					}()
				} else {
					_, err = s.Append(actx, batches...)
				}
				acancel()
				what := "no"
				switch {
				case err == nil:
					what = "ok"
				case errors.Is(err, evsourcing.ErrUncertain):
					what = "uncertain"
					if _, err := s.Append(context.Background(), batches...); err == nil {
						what = "ok"
					}
				}
				mu.Lock()
				for _, b := range batches {
					for _, e := range b.Events {
						said[e.ID] = what
					}
				}
				mu.Unlock()
			}
		})
	}
	for w := range 2 { // followers
		wg.Go(func() {
			s := stores[w]
			at := uint64(0)
			versions := map[evsourcing.StreamID]uint64{}
			for ctx.Err() == nil {
				if err := s.Wait(ctx, at); err != nil {
					return
				}
				for e, err := range s.Events(t.Context(), evsourcing.Range{After: at}, evsourcing.Filter{}) {
					if err != nil {
						t.Error(err)
						return
					}
					if e.Position <= at || e.Version != versions[e.Stream]+1 {
						t.Errorf("position %d after %d, %v version %d after %d", e.Position, at, e.Stream, e.Version, versions[e.Stream])
					}
					at, versions[e.Stream] = e.Position, e.Version
				}
			}
		})
	}
	wg.Wait()
	stored := map[uuid.UUID]bool{}
	for _, e := range all(t, stores[0]) {
		if stored[e.ID] {
			t.Errorf("%v is there twice", e.ID)
		}
		stored[e.ID] = true
	}
	count := map[string]int{}
	for id, what := range said {
		count[what]++
		if what == "ok" && !stored[id] || what == "no" && stored[id] {
			t.Errorf("%v: %s, and stored %v", id, what, stored[id])
		}
	}
	t.Log(count, len(stored))
	if err := stores[1].Check(t.Context()); err != nil {
		t.Error(err)
	}
	for _, s := range stores {
		closeStore(t, s)
	}
	eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// Close while everything is called.
func TestCloseWhileEverythingIsCalled(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "test.db")
		s, err := Open(path, &Options{Logger: quiet, Readers: 2, PollInterval: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		acked := 0
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					var err error
					switch rand.N(5) {
					case 0:
						err = s.Wait(context.Background(), uint64(i+100000))
					case 1:
						err = s.InTx(context.Background(), func(ctx context.Context, _ *zsqlite.Conn) error {
							_, err := s.Append(ctx, batch(fmt.Sprintf("%d-%d", w, i), 0, 1))
							return err
						})
						if err == nil {
							mu.Lock()
							acked++
							mu.Unlock()
						}
					case 2:
						_, err = s.Head(context.Background())
					default:
						if _, err = s.Append(context.Background(), batch(fmt.Sprintf("%d-%d", w, i), 0, 1)); err == nil {
							mu.Lock()
							acked++
							mu.Unlock()
						}
					}
					if err != nil {
						if !errors.Is(err, evsourcing.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		<-time.After(time.Duration(rand.N(30)) * time.Millisecond)
		cctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.N(2))*5*time.Second)
		cerr := s.Close(cctx)
		cancel()
		wg.Wait()
		closeStore(t, s)
		s2 := openTest(t, path, nil)
		if n := len(all(t, s2)); n != acked {
			t.Errorf("%d events, %d acknowledged; Close: %v", n, acked, cerr)
		}
	}
}

func blowUp() { panic("fate") }
