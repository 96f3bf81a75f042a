package faults

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// A machine drives the stores of a site beside a model.
type machine struct {
	ctx      context.Context
	site     site
	stores   []store // open on the site's data, by turns
	model    *model
	patience time.Duration // how long a call may take before it counts as stuck

	made    uint64               // events made so far
	calls   [][]evsourcing.Batch // appends that were stored
	touched map[evsourcing.StreamID]struct{}
	steps   int
	history []string // the last calls, for what can't be repeated
}

// historySize is how many calls a failure shows.
const historySize = 50

// actions are what the machine can do. All are equally likely. The one without a
// name follows each of them.
func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"append":                         m.append,
		"append again":                   m.append,
		"append many":                    m.appendMany,
		"append in conflict":             m.appendConflict,
		"append what is stored":          m.appendRepetition,
		"append what is stored in part":  m.appendDuplicate,
		"append what is invalid":         m.appendInvalid,
		"append under a dead context":    m.appendDead,
		"append and cancel":              m.appendCancelled,
		"append at once":                 m.burst,
		"append at once, contended":      m.contend,
		"load":                           m.load,
		"read events":                    m.readEvents,
		"read and append":                m.readAndAppend,
		"read and cancel":                m.readAndCancel,
		"read twice":                     m.readTwice,
		"wait":                           m.wait,
		"wait for an append":             m.waitForAppend,
		"find":                           m.find,
		"save snapshots":                 m.saveSnapshots,
		"save checkpoints":               m.saveCheckpoints,
		"claim":                          m.claims,
		"claim at once":                  m.claimTogether,
		"call under a dead context":      m.callDead,
		"call with a name that is wrong": m.callInvalid,
		"compare all":                    m.compareAll,
		"open again":                     m.reopen,
		"":                               m.check,
	}
}

// start opens two stores on a new site.
func (m *machine) start(t *rapid.T, prepare func(context.Context) (site, error)) {
	m.ctx = t.Context()
	m.model = newModel()
	m.touched = map[evsourcing.StreamID]struct{}{}
	m.stores = nil
	m.within(t, "opening a store", func() (err error) {
		m.site, err = prepare(m.ctx)
		return err
	})
	t.Cleanup(func() {
		// The machine's context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), m.patience)
		defer cancel()
		for _, s := range m.stores {
			if err := m.site.close(ctx, s); err != nil {
				t.Errorf("closing a store: %v", err)
			}
		}
		if err := m.site.remove(); err != nil {
			t.Errorf("removing a store's data: %v", err)
		}
	})
	for range 2 {
		m.open(t)
	}
}

func (m *machine) open(t *rapid.T) {
	m.within(t, "opening a store", func() error {
		s, err := m.site.open(m.ctx)
		if err == nil {
			m.stores = append(m.stores, s)
		}
		return err
	})
}

// reopen closes all stores, or one, and opens as many. What was acknowledged is
// still there, to another one and to the next.
func (m *machine) reopen(t *rapid.T) {
	n := upTo(t, "stores", len(m.stores))
	m.within(t, "closing a store", func() error {
		for range n {
			s := m.stores[0]
			m.stores = m.stores[1:]
			if err := m.site.close(m.ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	for range n {
		m.open(t)
	}
	m.compareAll(t)
}

// store draws one of the open stores.
func (m *machine) store(t *rapid.T) store { return pickAny(t, "store", m.stores) }

// within runs f, and fails the test if it returns an error, panics, or takes too
// long. f must not use t.
func (m *machine) within(t *rapid.T, what string, f func() error) {
	t.Helper()
	t.Log(what)
	m.history = append(m.history[max(0, len(m.history)+1-historySize):], what)
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		done <- f()
	}()
	timer := time.NewTimer(m.patience)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-timer.C:
		t.Fatalf("%s: stuck for %v", what, m.patience)
	}
}

// deadContext draws a context that has ended.
func (m *machine) deadContext(t *rapid.T) context.Context {
	if rapid.Bool().Draw(t, "expired") {
		ctx, cancel := context.WithTimeout(m.ctx, -time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	ctx, cancel := context.WithCancel(m.ctx)
	cancel()
	return ctx
}

// check compares the head, and the streams that the last action wrote to.
func (m *machine) check(t *rapid.T) {
	m.steps++
	s := m.stores[m.steps%len(m.stores)]
	m.compareHead(t, s)
	for _, id := range streams { // in an order that is always the same
		if _, ok := m.touched[id]; ok {
			m.compareStream(t, s, id)
		}
	}
	clear(m.touched)
}

func (m *machine) compareHead(t *rapid.T, s store) {
	m.within(t, "Head", func() error {
		got, err := s.Head(m.ctx)
		if want := m.model.head(); err == nil && got != want {
			return fmt.Errorf("it is %+v, want %+v", got, want)
		}
		return err
	})
}

func (m *machine) compareStream(t *rapid.T, s store, id evsourcing.StreamID) {
	m.within(t, fmt.Sprintf("Load of %.40q", id), func() error {
		list, err := collect(s.Load(m.ctx, id, evsourcing.Range{}))
		if err != nil {
			return err
		}
		return compare(list, m.model.streams[id])
	})
}

// compareAll compares everything that a store holds.
func (m *machine) compareAll(t *rapid.T) {
	s := m.store(t)
	m.compareHead(t, s)
	for _, id := range streams {
		m.compareStream(t, s, id)
		m.compareSnapshot(t, s, id)
	}
	m.within(t, "Events", func() error {
		list, err := collect(s.Events(m.ctx, evsourcing.Range{}, evsourcing.Filter{}))
		if err != nil {
			return err
		}
		return compare(list, m.model.log)
	})
	for _, name := range names {
		m.compareCheckpoint(t, s, name)
	}
}

// collect reads all that seq yields. The events are copies, and what was
// yielded is overwritten, as its receiver may.
func collect(seq iter.Seq2[evsourcing.StoredEvent, error]) ([]evsourcing.StoredEvent, error) {
	var list []evsourcing.StoredEvent
	var last error
	for e, err := range seq {
		if last != nil {
			return list, fmt.Errorf("the iterator went on after it had yielded the error %w", last)
		}
		if last = err; err != nil {
			continue
		}
		list = append(list, clone(e))
		spoil(&e)
	}
	return slices.Clip(list), last
}
