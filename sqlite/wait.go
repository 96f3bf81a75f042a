package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// wakes wakes those who wait for events. While somebody waits, a goroutine looks
// for what other processes write.
type wakes struct {
	mu      sync.Mutex    // guards what follows
	wake    chan struct{} // closed by the next commit; nil while nobody waits
	waiting int
	polling bool
	polls   sync.WaitGroup

	conn *conn // of the goroutine; nil until there was one
}

// Wait implements [evsourcing.Waiter]. What this process appends wakes it at
// once, what others append within [Options].PollInterval. Close ends it with
// [evsourcing.ErrClosed].
func (s *Store) Wait(ctx context.Context, after uint64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.head.Load() > after {
			return nil
		}
		if err := s.waitOnce(ctx, after); err != nil {
			return err
		}
	}
}

// waitOnce waits until there may be something beyond after.
func (s *Store) waitOnce(ctx context.Context, after uint64) error {
	wake, err := s.subscribe()
	if err != nil {
		return err
	}
	defer s.unsubscribe()
	// What was written before the subscription is seen here, by others too.
	head, err := s.Head(context.WithValue(ctx, txKey{s}, nil))
	if err != nil {
		return err
	}
	if head.Position > after {
		s.committed(head.Position) // others may wait for it too
		return nil
	}
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return fmt.Errorf("%w: the store %s", evsourcing.ErrClosed, s.path)
	}
}

// subscribe returns a channel that the next commit closes.
func (s *Store) subscribe() (<-chan struct{}, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	w := &s.wakes
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting++
	if w.wake == nil {
		w.wake = make(chan struct{})
	}
	if !w.polling {
		w.polling = true
		w.polls.Go(s.poll)
	}
	return w.wake, nil
}

func (s *Store) unsubscribe() {
	s.wakes.mu.Lock()
	s.wakes.waiting--
	s.wakes.mu.Unlock()
}

// committed tells those who wait that there are events up to the position.
func (s *Store) committed(position uint64) {
	s.raise(position)
	w := &s.wakes
	w.mu.Lock()
	if w.wake != nil {
		close(w.wake)
		w.wake = nil
	}
	w.mu.Unlock()
}

// raise makes the known head at least the position.
func (s *Store) raise(position uint64) {
	for {
		old := s.head.Load()
		if old >= position || s.head.CompareAndSwap(old, position) {
			return
		}
	}
}

// poll looks for what other processes have written, as long as somebody waits.
func (s *Store) poll() {
	tick := time.NewTicker(s.opts.PollInterval)
	defer tick.Stop()
	w := &s.wakes
	var seen int64
	told := false
	for {
		select {
		case <-tick.C:
		case <-s.closing:
			return
		}
		w.mu.Lock()
		if w.waiting == 0 {
			w.polling = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if err := s.look(&seen); err != nil && !told {
			told = true
			s.opts.Logger.Warn("evsourcing: sqlite: looking for what other processes write failed and will be tried again", "path", s.path, "err", err)
		}
	}
}

// look wakes those who wait if another connection has written since seen.
func (s *Store) look(seen *int64) error {
	w := &s.wakes
	if w.conn == nil {
		c, err := s.connect(reading)
		if err != nil {
			return err
		}
		w.conn = c
	}
	var version int64
	_, err := w.conn.row(dataVersion, nil, func(stmt *zsqlite.Stmt) { version = stmt.ColumnInt64(0) })
	if err != nil || version == *seen {
		return s.explain("looking for changes", err)
	}
	head, err := w.conn.mark()
	if err != nil {
		return s.explain("looking for changes", err)
	}
	*seen = version
	if head.Position > s.head.Load() {
		s.committed(head.Position)
	}
	return nil
}

// wait returns when the goroutine has ended.
func (w *wakes) wait() { w.polls.Wait() }
