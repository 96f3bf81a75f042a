package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
)

// held returns a store, and a function that lets its writer go on. Until then
// another program holds the write lock.
func held(t *testing.T) (s *Store, release func()) {
	t.Helper()
	s = openTest(t, "", nil)
	mustAppend(t, s, batch("old", 0, 2))
	other := raw(t, s.path)
	execute(t, other, "BEGIN IMMEDIATE")
	return s, func() { execute(t, other, "ROLLBACK") }
}

func TestMembersOfAGroupFailAlone(t *testing.T) {
	s, release := held(t)
	old := loaded(t.Context(), t, s, "old")
	duplicate := batch("new-2", 0, 2)
	duplicate.Events[1].ID = old[1].ID
	repeated := batch("old", 0, 2)
	for i := range repeated.Events {
		repeated.Events[i].ID = old[i].ID
	}
	twice := batch("twice", 0, 1)
	appends := [][]evsourcing.Batch{
		{batch("new-1", 0, 3)},
		{batch("old", 1, 1)},                       // a conflict
		{batch("new-3", 0, 1), batch("old", 9, 1)}, // one in its second batch
		{duplicate},                                // in its second event
		{repeated},                                 //
		{twice}, {twice},                           // one stores it, one repeats it
		{batch("old", 2, 1)}, {batch("old", 2, 1)}, // one wins
		{batch("new-4", 5, 1)},                       // of a stream that does not exist
		{batch("old", evsourcing.AnyVersion, 1)},     //
		{batch("new-5", 0, 2), batch("new-6", 0, 2)}, //
	}
	results := make([]evsourcing.AppendResult, len(appends))
	errs := make([]error, len(appends))
	var wg sync.WaitGroup
	for i, batches := range appends {
		wg.Go(func() { results[i], errs[i] = s.Append(t.Context(), batches...) })
		eventually(t, "an append that waits", func() bool { return s.committer.Waiting() == i+1 })
	}
	release()
	wg.Wait()
	for i, sentinel := range []error{nil, evsourcing.ErrConflict, evsourcing.ErrConflict, evsourcing.ErrDuplicateEvent, nil, nil, nil, nil,
		evsourcing.ErrConflict, evsourcing.ErrConflict, nil, nil} {
		want(t, fmt.Sprint("append ", i), errs[i], sentinel)
	}
	for i, repeated := range map[int]bool{0: false, 4: true, 5: false, 6: true, 7: false, 10: false, 11: false} {
		if results[i].Repeated != repeated {
			t.Errorf("append %d: Repeated is %t", i, results[i].Repeated)
		}
	}
	count := map[string]int{}
	for i, e := range all(t, s) {
		count[e.Stream.ID]++
		if e.Position != uint64(i+1) {
			t.Errorf("event %d has position %d", i, e.Position)
		}
	}
	for id, n := range map[string]int{"old": 4, "new-1": 3, "new-2": 0, "new-3": 0, "new-4": 0, "twice": 1, "new-5": 2, "new-6": 2} {
		if count[id] != n {
			t.Errorf("%s has %d events, want %d", id, count[id], n)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnAppendThatWaitsForAnotherProcessIsWithdrawn(t *testing.T) {
	s, release := held(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, patient := make(chan error), make(chan error)
	go func() {
		_, err := s.Append(ctx, batch("a", 0, 1))
		cancelled <- err
	}()
	go func() {
		_, err := s.Append(t.Context(), batch("b", 0, 1))
		patient <- err
	}()
	eventually(t, "two appends that wait", func() bool { return s.committer.Waiting() == 2 })
	cancel()
	err := <-cancelled
	want(t, "the cancelled one", err, context.Canceled)
	if errors.Is(err, evsourcing.ErrUncertain) {
		t.Error("it is uncertain, though nothing was written")
	}
	// The other writes of a store are withdrawn too.
	for what, f := range map[string]func() error{
		"SaveCheckpoint": func() error { return s.SaveCheckpoint(ctx, "n", evsourcing.Checkpoint{}) },
		"Handle": func() error {
			return s.Handler(nil).Handle(ctx, nil)
		},
	} {
		want(t, what, f(), context.Canceled)
	}
	release()
	if err := <-patient; err != nil {
		t.Error(err)
	}
	if n := len(loaded(t.Context(), t, s, "a")); n > 0 {
		t.Error("it was stored")
	}
}

func TestBusyTimeout(t *testing.T) {
	s := openTest(t, "", &Options{BusyTimeout: 20 * time.Millisecond})
	other := raw(t, s.path)
	execute(t, other, "BEGIN IMMEDIATE")
	_, err := s.Append(t.Context(), batch("a", 0, 1))
	want(t, "Append", err, ErrBusy)
	want(t, "SaveCheckpoint", s.SaveCheckpoint(t.Context(), "n", evsourcing.Checkpoint{}), ErrBusy)
	execute(t, other, "ROLLBACK")
	mustAppend(t, s, batch("a", 0, 1))
}

func TestAnAppendThatTheDatabaseRefusesIsAnError(t *testing.T) {
	s := openTest(t, "", nil)
	execute(t, raw(t, s.path), `CREATE TRIGGER never BEFORE INSERT ON events WHEN NEW.stream = 'bad' BEGIN SELECT raise(ABORT, 'never'); END`)
	_, err := s.Append(t.Context(), batch("good", 0, 1), batch("bad", 0, 1))
	wantText(t, "Append", err, "never")
	if n := len(all(t, s)); n > 0 {
		t.Errorf("%d events were stored", n)
	}
	mustAppend(t, s, batch("good", 0, 1))
}

func TestWaitSeesWhatOthersWrite(t *testing.T) {
	s := openTest(t, "", &Options{PollInterval: 5 * time.Millisecond})
	other := openTest(t, s.path, nil)
	for n := range uint64(5) {
		done := make(chan error)
		go func() { done <- s.Wait(t.Context(), n) }()
		from := s
		if n%2 == 0 {
			from = other
		}
		mustAppend(t, from, batch("a", n, 1))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	// Nobody looks while nobody waits.
	eventually(t, "the end of polling", func() bool {
		s.wakes.mu.Lock()
		defer s.wakes.mu.Unlock()
		return !s.wakes.polling
	})
}
