package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// A writing is a group of appends that a committer writes.
type writing struct {
	store   *Store
	conn    *pgxpool.Conn           // nil after a failure
	pending []*engine.Append        // without an outcome yet
	unsure  map[*engine.Append]bool // those that an attempt may have stored
	clash   map[evsourcing.StreamID]bool
	ids     map[uuid.UUID]struct{}

	judged  bool // pending have been looked up once: no more short cuts
	look    bool // pending must be looked up before the next attempt
	singly  bool // one at a time, because one that can't be stored spoils the group
	retries int
	broken  time.Time // when the first of the failures to reach the database was
}

// write settles the appends of a group, on a connection that connect has got: it sets
// the outcome of each.
func (s *Store) write(group []*engine.Append) {
	w := &writing{store: s, conn: <-s.conns, pending: append([]*engine.Append(nil), group...)}
	defer w.release()
	for len(w.pending) > 0 {
		w.step()
	}
	head := uint64(0)
	for _, a := range group {
		if a.Err == nil {
			head = max(head, a.Result.Position)
		}
	}
	if head > 0 {
		s.stored(head)
	}
}

// release gives the connection back to the pool, which drops it if it is broken.
func (w *writing) release() {
	if w.conn != nil {
		w.conn.Release()
		w.conn = nil
	}
}

// stored tells those who wait, here and elsewhere, that the log has come so far.
func (s *Store) stored(head uint64) {
	s.watch.advance(head)
	s.notifier.notify()
}

// step makes one attempt, to find out or to store.
func (w *writing) step() {
	ctx, cancel := context.WithTimeout(w.store.ctx, attemptTime)
	defer cancel()
	if w.conn == nil {
		conn, err := w.store.pool.Acquire(ctx)
		if err != nil {
			w.failed(w.pending, acquireError(err))
			return
		}
		w.conn = conn
	}
	if w.look {
		if err := w.judge(ctx); err != nil {
			w.failed(w.pending, err)
			return
		}
		w.look, w.judged = false, true
		return
	}
	batch, rest := w.choose()
	var refused []*engine.Append
	var err error
	if !w.judged && isPlain(batch) {
		refused, err = w.store.appendOne(ctx, w.conn, batch)
	} else {
		refused, err = w.store.appendGroup(ctx, w.conn, batch)
	}
	if err != nil {
		w.failed(batch, err)
		return
	}
	w.broken = time.Time{}
	w.pending = append(refused, rest...)
	w.look = len(w.pending) > 0 && !w.singly || len(refused) > 0
}

// choose returns the appends of the next attempt, and those that have to wait
// because they have a stream or an event ID in common with one before.
func (w *writing) choose() (batch, rest []*engine.Append) {
	if len(w.pending) == 1 {
		return w.pending, nil
	}
	if w.singly {
		return w.pending[:1], w.pending[1:]
	}
	if w.clash == nil {
		w.clash, w.ids = map[evsourcing.StreamID]bool{}, map[uuid.UUID]struct{}{}
	}
	clear(w.clash)
	clear(w.ids)
	batch = make([]*engine.Append, 0, len(w.pending))
	for _, a := range w.pending {
		if w.fits(a) {
			batch = append(batch, a)
		} else {
			rest = append(rest, a)
		}
	}
	return batch, rest
}

// fits reports whether a can be stored with those chosen before, and notes that it
// is. Several appends to the end of one stream, wherever that is, can.
func (w *writing) fits(a *engine.Append) bool {
	for i := range a.Batches {
		b := &a.Batches[i]
		if numbered, taken := w.clash[b.Stream]; taken && (!numbered || b.Expected != evsourcing.AnyVersion) {
			return false
		}
		for j := range b.Events {
			if _, taken := w.ids[b.Events[j].ID]; taken {
				return false
			}
		}
	}
	for i := range a.Batches {
		b := &a.Batches[i]
		w.clash[b.Stream] = b.Expected == evsourcing.AnyVersion
		for j := range b.Events {
			w.ids[b.Events[j].ID] = struct{}{}
		}
	}
	return true
}

// judge settles those of the pending appends that can't be stored, or are.
func (w *writing) judge(ctx context.Context) error {
	l, err := w.store.lookUp(ctx, w.conn, w.pending)
	if err != nil {
		return err
	}
	fresh := w.pending[:0:0]
	for _, a := range w.pending {
		result, ok, err := engine.Judge(a.Batches, l)
		if ok {
			fresh = append(fresh, a)
			continue
		}
		if w.unsure[a] {
			result.Repeated = false // this call has stored it, as far as anybody knows
			if errors.Is(err, evsourcing.ErrConflict) && !l.beyond(a) {
				err = fmt.Errorf("%w: postgres: the server may still work on it: %v", evsourcing.ErrUncertain, err) // and it is no conflict yet
			}
		}
		a.Result, a.Err = result, err
	}
	if len(fresh) < len(w.pending) {
		w.retries = 0
	}
	w.pending, w.broken = fresh, time.Time{}
	return nil
}

// failed decides what to do after an attempt with some of the pending appends
// failed.
func (w *writing) failed(batch []*engine.Append, err error) {
	o := outcomeOf(err)
	if o == unknown || o == unsent {
		w.release()
	}
	if o == unknown && !w.look {
		if w.unsure == nil {
			w.unsure = map[*engine.Append]bool{}
		}
		for _, a := range batch {
			w.unsure[a] = true
		}
	}
	w.retries++
	switch {
	case o == refusedUnique && w.retries < maxRetries:
		w.look = true
		w.singly = w.singly || w.retries > 1 // looking has not helped
	case o == again && w.retries < maxRetries:
	case (o == unknown || o == unsent) && w.mayReconnect(err):
		w.look = w.look || len(w.unsure) > 0
	case len(batch) > 1 && !w.look && (o == refused || o == again):
		w.singly, w.retries = true, 0
	default:
		w.giveUp(batch, err)
	}
}

// mayReconnect waits a little after the database could not be reached, and reports
// whether to try again.
func (w *writing) mayReconnect(err error) bool {
	if w.broken.IsZero() {
		w.broken, w.retries = time.Now(), 1
	}
	patience := reconnectTime
	if len(w.unsure) > 0 {
		patience = settleTime
	}
	if time.Since(w.broken) > patience {
		return false
	}
	w.store.opts.Logger.LogAttrs(w.store.ctx, slog.LevelWarn, "evsourcing: postgres: the connection failed during an append, and the store tries again",
		slog.Int("appends", len(w.pending)), slog.Int("attempt", w.retries), slog.String("error", err.Error()))
	return w.store.pause(w.retries)
}

// giveUp settles appends that an error has ended.
func (w *writing) giveUp(batch []*engine.Append, err error) {
	gone := make(map[*engine.Append]bool, len(batch))
	for _, a := range batch {
		gone[a] = true
		a.Err = appendError(a, err)
		if w.unsure[a] && !errors.Is(err, evsourcing.ErrUncertain) {
			a.Err = fmt.Errorf("%w: %w", evsourcing.ErrUncertain, a.Err)
		}
	}
	left := w.pending[:0:0]
	for _, a := range w.pending {
		if !gone[a] {
			left = append(left, a)
		}
	}
	w.pending, w.look, w.retries = left, false, 0
}

func appendError(a *engine.Append, err error) error {
	return fmt.Errorf("evsourcing: postgres: append to %v: %w", a.Batches[0].Stream, remedy(err))
}
