package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A transaction is a unit of work in progress, or a single Save.
type transaction struct {
	stream  StreamID
	command string // its CommandID, if any
	ctx     context.Context
	cancel  context.CancelCauseFunc // nil for a Save
	changes func() int              // unsaved ones; nil before there are any
	decided bool                    // fn has returned an error

	began time.Time // zero for a Save

	// Guarded by the transactions' mu.
	number    uint64
	appending bool // its append has begun
}

// transactions is the set of those that run on one repository.
type transactions struct {
	mu      sync.Mutex
	last    uint64 // number given
	running map[*transaction]struct{}
	closed  bool          // Close has been called,
	gaveUp  bool          // and has waited as long as it may: no append begins
	idle    chan struct{} // closed when closed and nothing runs
}

func (t *transactions) begin(tx *transaction) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.running == nil {
		t.running = map[*transaction]struct{}{}
	}
	t.last++
	tx.number = t.last
	t.running[tx] = struct{}{}
	return nil
}

func (t *transactions) end(tx *transaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, tx)
	if t.closed && len(t.running) == 0 {
		close(t.idle)
	}
}

// commit marks the point of no return, or says why there is none: the context
// has ended, or Close gave up waiting.
func (t *transactions) commit(tx *transaction) error {
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gaveUp && !tx.appending {
		return ErrClosed
	}
	tx.appending = true
	return nil
}

// rewind makes the transaction, which starts over, one that has not begun its
// append.
func (t *transactions) rewind(tx *transaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx.appending = false
	if t.gaveUp {
		tx.cancel(ErrClosed)
	}
}

func (t *transactions) close(ctx context.Context) error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		t.idle = make(chan struct{})
		if len(t.running) == 0 {
			close(t.idle)
		}
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return t.refuse(ctx.Err())
	}
}

// refuse ends those that have not begun their append, and lists all.
func (t *transactions) refuse(cause error) error {
	const most = 20
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.running) == 0 { // the last one has ended meanwhile
		return nil
	}
	t.gaveUp = true
	all := make([]*transaction, 0, len(t.running))
	for tx := range t.running {
		all = append(all, tx)
		if !tx.appending && tx.cancel != nil {
			tx.cancel(ErrClosed)
		}
	}
	slices.SortFunc(all, func(a, b *transaction) int { return int(a.number) - int(b.number) })
	var list strings.Builder
	for i, tx := range all {
		if i == most {
			fmt.Fprintf(&list, ", and %d more", len(all)-most)
			break
		}
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "%v (transaction %d", tx.stream, tx.number)
		if !tx.began.IsZero() {
			fmt.Fprintf(&list, ", for %v", time.Since(tx.began).Round(time.Millisecond))
		}
		list.WriteString(")")
	}
	return fmt.Errorf("%w: %d still running: %s", cause, len(all), &list)
}

// closed makes err an ErrClosed if Close brought it about. What fn decided
// stays as it is.
func (tx *transaction) closed(err error) error {
	if err == nil || tx.decided || context.Cause(tx.ctx) != ErrClosed ||
		errors.Is(err, ErrUncertain) || errors.Is(err, ErrNotPublished) || !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: transaction on %v", ErrClosed, tx.stream)
}

// cutBy returns why the transaction, which ended with err, was cut short before
// its append; nil if it was not.
func (tx *transaction) cutBy(err error, panicked bool) error {
	switch {
	case panicked && !tx.appending:
		return errors.New("panic or runtime.Goexit")
	case err == nil, errors.Is(err, ErrUncertain), errors.Is(err, ErrNotPublished):
		return nil
	case errors.Is(err, ErrClosed) && context.Cause(tx.ctx) == ErrClosed:
		return err
	case tx.ctx.Err() != nil && errors.Is(err, tx.ctx.Err()):
		return err
	}
	return nil
}

// warn logs that the transaction was cut short.
func (tx *transaction) warn(logger *slog.Logger, reason error) {
	attrs := []slog.Attr{
		slog.String("aggregate_type", tx.stream.Type),
		slog.String("aggregate_id", tx.stream.ID),
		slog.Uint64("transaction", tx.number),
		slog.Int("unsaved_changes", 0),
		slog.Any("reason", reason),
	}
	if tx.changes != nil {
		attrs[3] = slog.Int("unsaved_changes", tx.changes())
	}
	if tx.command != "" {
		attrs = append(attrs, slog.String("command_id", tx.command))
	}
	// The context has ended, but its values may matter to the handler.
	logger.LogAttrs(tx.ctx, slog.LevelWarn, "evsourcing: transaction cut short, nothing stored", attrs...)
}
