package evsourcing_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/evsourcing/evsourcing"
)

// Stores that the tests of repositories put around a MemoryStore.

// spyStore counts calls, keeps what was appended, and lets a test answer in the
// place of the store. It has the capabilities of the store inside.
type spyStore struct {
	evsourcing.EventStore

	// answer, if not nil, answers the n-th append, from 1, by calling next or
	// not.
	answer func(n int, next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error)

	appends, loads atomic.Int64

	mu      sync.Mutex
	batches []evsourcing.Batch // of all appends
}

func newSpyStore() *spyStore { return &spyStore{EventStore: evsourcing.NewMemoryStore()} }

func (s *spyStore) Unwrap() evsourcing.EventStore { return s.EventStore }

func (s *spyStore) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	n := int(s.appends.Add(1))
	s.mu.Lock()
	for _, b := range batches {
		b.Events = append([]evsourcing.StoredEvent(nil), b.Events...)
		s.batches = append(s.batches, b)
	}
	s.mu.Unlock()
	next := func() (evsourcing.AppendResult, error) { return s.EventStore.Append(ctx, batches...) }
	if s.answer == nil {
		return next()
	}
	return s.answer(n, next)
}

func (s *spyStore) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	s.loads.Add(1)
	return s.EventStore.Load(ctx, id, r)
}

// script answers the first appends by what the functions do, and later ones by
// the store.
func (s *spyStore) script(answers ...answer) *spyStore {
	s.answer = func(n int, next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
		if n > len(answers) {
			return next()
		}
		return answers[n-1](next)
	}
	return s
}

// always answers every append in the same way.
func (s *spyStore) always(a answer) *spyStore {
	s.answer = func(_ int, next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
		return a(next)
	}
	return s
}

// An answer is how a spyStore answers one append.
type answer func(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error)

var errDisk = errors.New("the disk is full")

// stored is the answer of a store that works.
func stored(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
	return next()
}

// failed stores nothing and says so.
func failed(func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
	return evsourcing.AppendResult{}, errDisk
}

// replyLost stores the events, but can't say so.
func replyLost(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
	if _, err := next(); err != nil {
		return evsourcing.AppendResult{}, err
	}
	return evsourcing.AppendResult{}, evsourcing.ErrUncertain
}

// requestLost does not store the events, and can't say so.
func requestLost(func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
	return evsourcing.AppendResult{}, evsourcing.ErrUncertain
}

// before runs f, and then gives the answer.
func before(f func(), a answer) answer {
	return func(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
		f()
		return a(next)
	}
}

// afterwards gives the answer, after it has run f.
func afterwards(f func(), a answer) answer {
	return func(next func() (evsourcing.AppendResult, error)) (evsourcing.AppendResult, error) {
		defer f()
		return a(next)
	}
}

// plainStore hides all capabilities of a store.
type plainStore struct{ evsourcing.EventStore }

// gate lets a test hold what passes through it.
type gate struct {
	arrived chan struct{} // gets a value for each arrival
	open    chan struct{} // closed, or sent to, to let go
}

func newGate() *gate { return &gate{arrived: make(chan struct{}), open: make(chan struct{})} }

// pass is for the one who is held.
func (g *gate) pass() {
	g.arrived <- struct{}{}
	<-g.open
}

// listStore yields fixed events, whatever is asked for, and stores nothing.
type listStore struct {
	events []evsourcing.StoredEvent
	err    error // yielded last, if not nil
}

func (s *listStore) Append(context.Context, ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	return evsourcing.AppendResult{}, errDisk
}

func (s *listStore) Load(context.Context, evsourcing.StreamID, evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		for _, e := range s.events {
			if !yield(e, nil) {
				return
			}
		}
		if s.err != nil {
			yield(evsourcing.StoredEvent{}, s.err)
		}
	}
}
