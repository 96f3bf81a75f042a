package linear

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func sound(s store) store { return s }

// prove runs histories, and fails unless all are legal. The figure ends with what was
// broken.
func prove(t *testing.T, histories int, prepare func(context.Context) (site, error), broken func() string) {
	t.Helper()
	var n tally
	for last := time.Now(); n.histories < histories; {
		if err := n.judge(t.Context(), prepare); err != nil {
			t.Fatalf("%v, and then: %v", n, err)
		}
		if time.Since(last) > 20*time.Second {
			last = time.Now()
			t.Log(n)
		}
	}
	t.Attr("figure", fmt.Sprintf("%v; %s", n, broken()))
	if n.illegal > 0 || n.undecided > 0 {
		t.Errorf("%d illegal, %d undecided, such as\n%v\n%s", n.illegal, n.undecided, n.failed, n.stuck)
	}
}

// disprove runs histories on stores with one bug each, until one of every store's is
// illegal, and so many at least. It fails unless that is soon.
func disprove(t *testing.T, histories int, prepare func(spoil func(store) store) func(context.Context) (site, error)) {
	t.Helper()
	var found []string
	for _, b := range brokenStores() {
		var n tally
		site := prepare(b.spoil)
		for more := histories; more > 0 || n.illegal == 0 && n.histories < histories+10; more-- {
			if err := n.judge(t.Context(), site); err != nil {
				t.Fatalf("a store that %s: %v", b.bug, err)
			}
		}
		if n.illegal == 0 {
			t.Errorf("a store that %s is not found out: %v", b.bug, n)
		}
		found = append(found, fmt.Sprintf("%d of %d of a store that %s", n.illegal, n.histories, b.bug))
	}
	t.Attr("figure", "illegal: "+strings.Join(found, "; "))
}

// A brokenStore has one bug.
type brokenStore struct {
	bug   string
	spoil func(store) store
}

func brokenStores() []brokenStore {
	return []brokenStore{
		{"answers Load from a stale copy", func(s store) store {
			return loads{s, stale(s)}
		}},
		{"lets two appends of one version win", func(s store) store {
			return appends{s, func(ctx context.Context, batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, batches...)
				if errors.Is(err, evsourcing.ErrConflict) && oneIn(4) {
					return s.Append(ctx, anywhere(batches)...)
				}
				return result, err
			}}
		}},
		{"reports a conflict after having stored", func(s store) store {
			return appends{s, func(ctx context.Context, batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, batches...)
				if b := batches[0]; err == nil && !result.Repeated && b.Expected != evsourcing.AnyVersion && oneIn(3) {
					err = &evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: result.Versions[0]}
				}
				return result, err
			}}
		}},
		{"stores a retry twice", func(s store) store {
			return &forgetful{store: s, names: map[uuid.UUID]uuid.UUID{}}
		}},
		{"does not tell a repetition", func(s store) store {
			return appends{s, func(ctx context.Context, batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, batches...)
				result.Repeated = false
				return result, err
			}}
		}},
		{"refuses what it has stored", func(s store) store {
			return appends{s, func(ctx context.Context, batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
				result, err := s.Append(ctx, batches...)
				if err == nil && oneIn(10) {
					err = context.Canceled
				}
				return result, err
			}}
		}},
		{"acknowledges what it has lost", func(s store) store {
			return appends{s, func(ctx context.Context, batches []evsourcing.Batch) (evsourcing.AppendResult, error) {
				b := batches[0]
				if len(batches) > 1 || b.Expected == evsourcing.AnyVersion || !oneIn(10) {
					return s.Append(ctx, batches...)
				}
				mark, err := s.Head(ctx)
				n := uint64(len(b.Events))
				return evsourcing.AppendResult{Position: mark.Position + n, Versions: []uint64{b.Expected + n}}, err
			}}
		}},
		{"stores the batches of an append one by one", func(s store) store {
			return appends{s, func(ctx context.Context, batches []evsourcing.Batch) (result evsourcing.AppendResult, err error) {
				result.Repeated = true
				for _, b := range batches {
					r, err := s.Append(ctx, b)
					if err != nil {
						return result, err
					}
					result.Position, result.Repeated = max(result.Position, r.Position), result.Repeated && r.Repeated
					result.Versions = append(result.Versions, r.Versions...)
				}
				return result, nil
			}}
		}},
		{"forgets the last event in Head", func(s store) store {
			return heads{s, func(ctx context.Context) (evsourcing.Mark, error) {
				mark, err := s.Head(ctx)
				if oneIn(4) {
					for e := range s.Events(ctx, evsourcing.Range{Until: mark.Position - 1, Limit: 1, Backward: true}, evsourcing.Filter{}) {
						mark = evsourcing.Mark{Position: e.Position, EventID: e.ID}
					}
				}
				return mark, err
			}}
		}},
	}
}

func oneIn(n int) bool { return rand.IntN(n) == 0 }

// anywhere returns the batches with no expected versions.
func anywhere(batches []evsourcing.Batch) []evsourcing.Batch {
	batches = slices.Clone(batches)
	for i := range batches {
		b := &batches[i]
		b.Expected, b.Events = evsourcing.AnyVersion, slices.Clone(b.Events)
		for j := range b.Events {
			b.Events[j].Version = 0
		}
	}
	return batches
}

// stale returns a Load that sometimes reads what the last reading of the stream has
// found.
func stale(s store) func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	var mu sync.Mutex
	copies := map[evsourcing.StreamID][]evsourcing.StoredEvent{}
	return func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
		if r != (evsourcing.Range{}) {
			return s.Load(ctx, id, r)
		}
		return func(yield func(evsourcing.StoredEvent, error) bool) {
			mu.Lock()
			events := copies[id]
			mu.Unlock()
			if events == nil || !oneIn(4) {
				events = nil
				for e, err := range s.Load(ctx, id, r) {
					if err != nil {
						yield(e, err)
						return
					}
					events = append(events, e)
				}
				mu.Lock()
				copies[id] = events
				mu.Unlock()
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// A forgetful store stores again what is repeated, under other IDs, which it keeps to
// itself.
type forgetful struct {
	store
	mu    sync.Mutex
	names map[uuid.UUID]uuid.UUID // what a reader sees of them
}

func (f *forgetful) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	result, err := f.store.Append(ctx, batches...)
	if !result.Repeated {
		return result, err
	}
	batches = anywhere(batches)
	f.mu.Lock()
	for _, b := range batches {
		for j := range b.Events {
			alias := uuid.New()
			f.names[alias], b.Events[j].ID = b.Events[j].ID, alias
		}
	}
	f.mu.Unlock()
	return f.store.Append(ctx, batches...)
}

func (f *forgetful) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return f.named(f.store.Load(ctx, id, r))
}

func (f *forgetful) Events(ctx context.Context, r evsourcing.Range, filter evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return f.named(f.store.Events(ctx, r, filter))
}

func (f *forgetful) named(events iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		for e, err := range events {
			f.mu.Lock()
			if name, ok := f.names[e.ID]; ok {
				e.ID = name
			}
			f.mu.Unlock()
			if !yield(e, err) {
				return
			}
		}
	}
}

// The wrappers replace one method of a store.

type appends struct {
	store
	f func(ctx context.Context, batches []evsourcing.Batch) (evsourcing.AppendResult, error)
}

func (a appends) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	return a.f(ctx, batches)
}

type loads struct {
	store
	f func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error]
}

func (l loads) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return l.f(ctx, id, r)
}

type heads struct {
	store
	f func(ctx context.Context) (evsourcing.Mark, error)
}

func (h heads) Head(ctx context.Context) (evsourcing.Mark, error) { return h.f(ctx) }
