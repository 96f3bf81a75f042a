package storetest

import (
	"context"
	"iter"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A brokenStore has one bug, of which the suite must accuse it.
type brokenStore struct {
	name   string
	bug    func(t *testing.T, v *variant)
	caught []accusation
}

// An accusation is what a case says about a broken store.
type accusation struct {
	source string // of the rule: the promise, or the capability
	name   string // of the case
	says   string // part of one of its failures
}

// stuck is what the suite says of calls that don't return.
const stuck = "did not return within"

func brokenStores() []brokenStore {
	var list []brokenStore
	list = append(list, brokenAppends()...)
	list = append(list, brokenRetries()...)
	list = append(list, brokenOrders()...)
	list = append(list, brokenData()...)
	list = append(list, brokenNames()...)
	list = append(list, brokenReads()...)
	list = append(list, brokenIterators()...)
	list = append(list, brokenLogs()...)
	list = append(list, brokenSnapshots()...)
	list = append(list, brokenCheckpoints()...)
	return list
}

// TestBrokenStores runs on each broken store the cases that must catch it.
func TestBrokenStores(t *testing.T) {
	t.Parallel()
	cases := allCases(t)
	for _, b := range brokenStores() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			if len(b.caught) == 0 {
				t.Error("no case catches it")
			}
			for _, want := range b.caught {
				c, ok := cases[want.name]
				if !ok {
					t.Errorf("there is no case %q", want.name)
					continue
				}
				cfg := config{patience: patience, short: true}
				attempts := 10 // a case that races may miss what only a moment shows
				if strings.Contains(want.says, stuck) || strings.Contains(want.says, "did not come") {
					cfg.patience = 500 * time.Millisecond
					attempts = 5 // on a busy machine, something else may take so long
				}
				var r *recorder
				for ; attempts > 0 && (r == nil || !r.says(want)); attempts-- {
					v := &variant{simpleStore: newSimpleStore()}
					b.bug(t, v)
					r = &recorder{}
					c.run(r, v, cfg)
				}
				r.check(t, want)
			}
		})
	}
}

// says reports whether what had to be said was.
func (r *recorder) says(want accusation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(strings.Join(r.errors, "\n"), want.says)
}

// check compares what was recorded with what had to be.
func (r *recorder) check(t *testing.T, want accusation) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := strings.Join(r.errors, "\n")
	if len(r.errors) == 0 {
		t.Errorf("%q does not catch it", want.name)
		return
	}
	for _, e := range r.errors {
		if !strings.HasPrefix(e, want.source+" (") {
			t.Errorf("%q names another rule than one of %s:\n%s", want.name, want.source, e)
		}
	}
	if !strings.Contains(all, want.says) {
		t.Errorf("%q does not say %q:\n%s", want.name, want.says, all)
	}
	t.Logf("%q says:\n%s", want.name, r.errors[0])
}

// TestEveryCaseCatchesSomething proves that no case is idle.
func TestEveryCaseCatchesSomething(t *testing.T) {
	t.Parallel()
	cases := allCases(t)
	for _, b := range brokenStores() {
		for _, a := range b.caught {
			delete(cases, a.name)
		}
	}
	for name := range cases {
		t.Errorf("no broken store shows that %q catches anything", name)
	}
}

// A variant is a simpleStore of which methods can be replaced.
type variant struct {
	*simpleStore
	append         func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error)
	load           func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq
	events         func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq
	head           func(ctx context.Context) (evsourcing.Mark, error)
	wait           func(ctx context.Context, after uint64) error
	find           func(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error)
	loadSnapshot   func(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error)
	saveSnapshot   func(ctx context.Context, s evsourcing.Snapshot) error
	saveCheckpoint func(ctx context.Context, name string, c evsourcing.Checkpoint) error
	checkpoint     func(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error)
	claim          func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error)
}

func (v *variant) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	if v.append != nil {
		return v.append(ctx, batches...)
	}
	return v.simpleStore.Append(ctx, batches...)
}

func (v *variant) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	if v.load != nil {
		return v.load(ctx, id, r)
	}
	return v.simpleStore.Load(ctx, id, r)
}

func (v *variant) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if v.events != nil {
		return v.events(ctx, r, f)
	}
	return v.simpleStore.Events(ctx, r, f)
}

func (v *variant) Head(ctx context.Context) (evsourcing.Mark, error) {
	if v.head != nil {
		return v.head(ctx)
	}
	return v.simpleStore.Head(ctx)
}

func (v *variant) Wait(ctx context.Context, after uint64) error {
	if v.wait != nil {
		return v.wait(ctx, after)
	}
	return v.simpleStore.Wait(ctx, after)
}

func (v *variant) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	if v.find != nil {
		return v.find(ctx, id, event)
	}
	return v.simpleStore.Find(ctx, id, event)
}

func (v *variant) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	if v.loadSnapshot != nil {
		return v.loadSnapshot(ctx, id)
	}
	return v.simpleStore.LoadSnapshot(ctx, id)
}

func (v *variant) SaveSnapshot(ctx context.Context, s evsourcing.Snapshot) error {
	if v.saveSnapshot != nil {
		return v.saveSnapshot(ctx, s)
	}
	return v.simpleStore.SaveSnapshot(ctx, s)
}

func (v *variant) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if v.checkpoint != nil {
		return v.checkpoint(ctx, name)
	}
	return v.simpleStore.Checkpoint(ctx, name)
}

func (v *variant) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if v.saveCheckpoint != nil {
		return v.saveCheckpoint(ctx, name, c)
	}
	return v.simpleStore.SaveCheckpoint(ctx, name, c)
}

func (v *variant) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	if v.claim != nil {
		return v.claim(ctx, name, owner, ttl)
	}
	return v.simpleStore.Claim(ctx, name, owner, ttl)
}

// editIn changes what is appended, on its way in.
func (v *variant) editIn(f func(e *evsourcing.StoredEvent)) {
	v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
		return v.simpleStore.Append(ctx, edited(batches, f)...)
	}
}

// edited returns a copy of the batches with changed events.
func edited(batches []evsourcing.Batch, f func(e *evsourcing.StoredEvent)) []evsourcing.Batch {
	list := make([]evsourcing.Batch, len(batches))
	for i, b := range batches {
		list[i] = evsourcing.Batch{Stream: b.Stream, Expected: b.Expected, Events: cloneAll(b.Events)}
		for j := range list[i].Events {
			f(&list[i].Events[j])
		}
	}
	return list
}

// editOut replaces what is read of streams and of the log.
func (v *variant) editOut(f func(seq eventSeq) eventSeq) {
	v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
		return f(v.simpleStore.Load(ctx, id, r))
	}
	v.events = func(ctx context.Context, r evsourcing.Range, filter evsourcing.Filter) eventSeq {
		return f(v.simpleStore.Events(ctx, r, filter))
	}
}

// editEvents changes events that are read.
func editEvents(f func(e *evsourcing.StoredEvent)) func(eventSeq) eventSeq {
	return func(seq eventSeq) eventSeq {
		return func(yield func(evsourcing.StoredEvent, error) bool) {
			for e, err := range seq {
				f(&e)
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// linger gives other goroutines time, without taking much.
func linger() {
	for range 100 {
		runtime.Gosched()
	}
}

// unevenly returns a function that lingers every other time until the next
// caller has come, and a little longer, so that callers overtake one another.
func unevenly() func() {
	var calls atomic.Int64
	return func() {
		if n := calls.Add(1); n%2 == 1 {
			lingerWhile(func() bool { return calls.Load() == n })
			linger()
		}
	}
}

// unevenlySeen does the same, and lingers until somebody has read meanwhile.
func (v *variant) unevenlySeen() func() {
	wait := unevenly()
	return func() {
		wait()
		reads := v.reads.Load()
		lingerWhile(func() bool { return v.reads.Load() < reads+5 })
	}
}

// lingerWhile gives others time while f says so, unless that takes long.
func lingerWhile(f func() bool) {
	for i := 0; i < 2000 && f(); i++ {
		runtime.Gosched()
	}
}
