package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// buffered is what a transaction will append to a stream.
type buffered struct {
	base   uint64 // the stream's version before
	events []*evsourcing.StoredEvent
	header []*engine.Header
}

func (b *buffered) version() uint64 { return b.base + uint64(len(b.events)) }

// txLookup implements [engine.Lookup] with what is stored and what will be.
type txLookup struct {
	*found
	t *transaction
}

func (l txLookup) Find(id uuid.UUID) (engine.Place, bool, error) {
	for stream, b := range l.t.streams {
		for _, e := range b.events {
			if e.ID == id {
				return engine.Place{Stream: stream, Version: e.Version}, true, nil
			}
		}
	}
	return l.found.Find(id)
}

func (l txLookup) Version(id evsourcing.StreamID) (uint64, error) {
	if b := l.t.streams[id]; b != nil {
		return b.version(), nil
	}
	return l.found.Version(id)
}

// append judges an append by what the transaction sees, and keeps it for the end.
func (t *transaction) append(ctx context.Context, a *engine.Append) (evsourcing.AppendResult, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return evsourcing.AppendResult{}, errOver
	}
	f, err := t.store.lookUpIn(ctx, t.tx, []*engine.Append{a})
	if err != nil {
		return evsourcing.AppendResult{}, appendError(a, contextError(ctx, err))
	}
	t.xid = f.xid
	l := txLookup{f, t}
	result, fresh, err := engine.Judge(a.Batches, l)
	if !fresh {
		result.Pending = err == nil && result.Position == 0
		return result, err
	}
	if size := t.size + a.Size; len(t.appends) > 0 && size > evsourcing.MaxAppendSize {
		return evsourcing.AppendResult{}, fmt.Errorf("evsourcing: postgres: append to %v: the appends of the transaction have %d bytes, over the limit of %d: use several transactions",
			a.Batches[0].Stream, size, evsourcing.MaxAppendSize)
	}
	t.size += a.Size
	result = evsourcing.AppendResult{Versions: make([]uint64, len(a.Batches)), Pending: true}
	n := 0
	for i := range a.Batches {
		b := &a.Batches[i]
		if b.Expected == evsourcing.AnyVersion {
			b.Expected, _ = l.Version(b.Stream) // which has no error of its own
		}
		s := t.streams[b.Stream]
		if s == nil {
			s = &buffered{base: b.Expected}
			t.streams[b.Stream] = s
		}
		for j := range b.Events {
			e := &b.Events[j]
			e.Version = b.Expected + uint64(j) + 1
			s.events, s.header = append(s.events, e), append(s.header, &a.Headers[n])
			n++
		}
		result.Versions[i] = s.version()
	}
	t.appends = append(t.appends, a)
	return result, nil
}

// args returns the arguments for appending everything at once. Of each stream the
// first event expects a version.
func (t *transaction) args() *groupArgs {
	g := &groupArgs{}
	known := map[evsourcing.StreamID]bool{}
	for _, a := range t.appends {
		n := 0
		for i := range a.Batches {
			b := &a.Batches[i]
			for j := range b.Events {
				expected := int64(-1)
				if !known[b.Stream] {
					known[b.Stream] = true
					expected = int64(b.Expected)
				}
				g.add(1, expected, &b.Events[j], &a.Headers[n])
				n++
			}
		}
	}
	return g
}

// conflict finds out why an append could not be made at the end of the transaction,
// which has been rolled back.
func (t *transaction) conflict(ctx context.Context, cause error) error {
	f, err := t.store.lookUp(ctx, t.store.pool, t.appends)
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: commit: %w, and the reason is not known: %w", cause, contextError(ctx, err))
	}
	known := map[evsourcing.StreamID]bool{}
	for _, a := range t.appends {
		var first []evsourcing.Batch // only they say something about what is stored
		for _, b := range a.Batches {
			if !known[b.Stream] {
				known[b.Stream] = true
				first = append(first, b)
			}
		}
		if _, _, err := engine.Judge(first, f); err != nil {
			return err
		}
	}
	// Another has made the same appends, or what was in the way is gone.
	b := &t.appends[0].Batches[0]
	return &evsourcing.ConflictError{Stream: b.Stream, Expected: b.Expected, Actual: f.versions[b.Stream]}
}

// find looks an event up among those that will be appended.
func (t *transaction) find(id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return 0, false, errOver
	}
	if b := t.streams[id]; b != nil {
		for _, e := range b.events {
			if e.ID == event {
				return e.Version, true, nil
			}
		}
	}
	return 0, false, nil
}

// load yields what is stored of a stream, and what the transaction will append to it.
func (t *transaction) load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range, yield func(evsourcing.StoredEvent, error) bool) {
	w := engine.NewWalk(r)
	own, base, err := t.own(id, &w)
	if err != nil {
		yield(evsourcing.StoredEvent{}, err)
		return
	}
	if own != nil {
		w.Until = min(w.Until, int64(base))
	}
	if w.Backward {
		slices.Reverse(own)
		own = own[:w.Page(len(own))]
		if w.Left >= 0 {
			w.Left -= len(own)
		}
	}
	stored := t.store.loadPages(ctx, id, w)
	ownFirst, left := w.Backward, w.Left
	engine.Pages(ctx, yield, func() ([]evsourcing.StoredEvent, bool, error) {
		if ownFirst {
			ownFirst = false
			return own, false, nil
		}
		page, last, err := stored()
		if !last || err != nil || w.Backward {
			left -= len(page)
			return page, last, err
		}
		left -= len(page)
		rest := own
		if w.Left >= 0 {
			rest = own[:min(len(own), left)]
		}
		return append(page, rest...), true, nil
	})
}

// own returns copies of the events in the range that the transaction will append to
// a stream, and the stream's version before.
func (t *transaction) own(id evsourcing.StreamID, w *engine.Walk) (events []evsourcing.StoredEvent, base uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, 0, errOver
	}
	b := t.streams[id]
	if b == nil {
		return nil, 0, nil
	}
	events = []evsourcing.StoredEvent{}
	for i, p := range b.events {
		if int64(p.Version) <= w.After || int64(p.Version) > w.Until {
			continue
		}
		e := *p
		e.Data = bytes.Clone(e.Data)
		if e.Tags, err = engine.ParseTags(b.header[i].Tags); err != nil {
			return nil, 0, err
		}
		if e.Metadata, err = engine.ParseMetadata(b.header[i].Metadata); err != nil {
			return nil, 0, err
		}
		events = append(events, e)
	}
	return events, b.base, nil
}
