package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
)

// A watch knows how far the log has come, and looks for more while somebody waits:
// every PollInterval, when told to by a notification, and when somebody begins to
// wait. Appends of this process need no looking.
type watch struct {
	store *Store

	mu        sync.Mutex    // guards everything below
	known     uint64        // the log has come so far, or farther
	wake      chan struct{} // closed when known rises; nil while nobody waits
	waiting   int
	polling   bool // a goroutine looks
	listening bool // a goroutine listens
	closed    bool
	hint      chan struct{} // has an element if it is worth looking now
}

// Wait implements [evsourcing.Waiter]. It does not end because the database can't be
// reached, but waits for it.
func (s *Store) Wait(ctx context.Context, after uint64) error {
	w := s.watch
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		wake, err := w.join(after)
		if wake == nil {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
		w.leave()
	}
}

// join returns a channel to wait for, or nil if there is nothing to wait for.
func (w *watch) join(after uint64) (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.known > after:
		return nil, nil
	case w.closed || w.store.ctx.Err() != nil:
		return nil, fmt.Errorf("%w: the store", evsourcing.ErrClosed)
	}
	if w.wake == nil {
		w.wake = make(chan struct{})
	}
	if w.hint == nil {
		w.hint = make(chan struct{}, 1)
	}
	w.waiting++
	if !w.polling {
		w.polling = true
		w.store.spawn(w.poll)
	}
	if !w.listening && !w.store.opts.NoListen {
		w.listening = true
		w.store.spawn(w.listen)
	}
	w.look()
	return w.wake, nil
}

func (w *watch) leave() {
	w.mu.Lock()
	w.waiting--
	w.mu.Unlock()
}

// look makes the poller look now, with mu held.
func (w *watch) look() {
	select {
	case w.hint <- struct{}{}:
	default:
	}
}

// advance notes that the log has come so far.
func (w *watch) advance(head uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if head <= w.known {
		return
	}
	w.known = head
	if w.wake != nil {
		close(w.wake)
		w.wake = nil
	}
}

// close keeps new goroutines from being started.
func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
}

// idle reports whether nobody waits, and ends polling then.
func (w *watch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polling = w.waiting > 0
	return !w.polling
}

func (w *watch) poll() {
	s := w.store
	tick := time.NewTicker(s.opts.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.hint:
		case <-tick.C:
			if w.idle() {
				return
			}
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, attemptTime)
		if head, err := s.Head(ctx); err == nil {
			w.advance(head.Position)
		} // else those who read the log will say so
		cancel()
	}
}

// listen listens for notifications of other processes until the store is closed. A
// connection that breaks is replaced.
func (w *watch) listen() {
	s := w.store
	var pause time.Duration
	for {
		heard, err := w.hear(s.ctx)
		if s.ctx.Err() != nil {
			return
		}
		if heard {
			pause = 0
		}
		pause = min(max(2*pause, 100*time.Millisecond), 15*time.Second)
		s.opts.Logger.WarnContext(s.ctx, "evsourcing: postgres: can't listen, and will try again; polling goes on",
			"pause", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return
		}
	}
}

// hear listens on one connection until it breaks, and reports whether that worked.
func (w *watch) hear(ctx context.Context) (heard bool, err error) {
	config := w.store.pool.Config().ConnConfig
	if dsn := w.store.opts.ListenDSN; dsn != "" {
		if config, err = pgx.ParseConfig(dsn); err != nil {
			return false, fmt.Errorf("ListenDSN: %w", err)
		}
	}
	connecting, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, config)
	if err != nil {
		return false, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(connecting, "LISTEN "+pgx.Identifier{w.store.channel()}.Sanitize()); err != nil {
		return false, err
	}
	for {
		w.mu.Lock()
		w.look()
		w.mu.Unlock()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return true, errors.Join(errors.New("the listening connection broke"), err)
		}
	}
}

// channel is the name under which the stores of a schema notify one another.
func (s *Store) channel() string { return "evsourcing:" + s.opts.Schema }
