package follow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// A mode takes one of the protections away, for the controls.
type mode string

const (
	whole    mode = "whole"    // all is as it should be
	late     mode = "late"     // some events show later than those behind them
	unfenced mode = "unfenced" // tokens are ignored
	outside  mode = "outside"  // rows are written before the transaction of the checkpoint
)

// names returns the subscriptions that run in the mode: those whose check is to find
// something.
func (m mode) names() []string {
	switch m {
	case outside:
		return []string{exact}
	case unfenced:
		return []string{exact, plain}
	}
	return []string{exact, plain, lanes}
}

// A tracker is the checkpoint store of one run, and prints what it does, with the token of
// the session: the time from getting the lease until losing it.
type tracker struct {
	durable.Store
	name string
	mode mode

	mu      sync.Mutex // guards what follows
	over    bool       // the session is, or none was yet
	claimed uint64     // token of a session that has not begun; 0 if none
	token   uint64     // of the session
}

// Claim implements [evsourcing.Claimer].
func (t *tracker) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	c, err := t.Store.Claim(ctx, name, owner, ttl)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case ttl <= 0:
		t.over, t.claimed = true, 0
	case err == nil && (t.over || c.Token != t.token): // the same one is had again if it could not be given back
		t.over, t.claimed = false, c.Token
	}
	return c, err
}

// Checkpoint implements [evsourcing.CheckpointStore]. The first call after a claim begins a
// session.
func (t *tracker) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	c, ok, err := t.Store.Checkpoint(ctx, name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && t.claimed != 0 {
		t.token, t.claimed = t.claimed, 0
		fmt.Println("begin", name, t.token, c.Position)
	}
	return c, ok, err
}

// SaveCheckpoint implements [evsourcing.CheckpointStore].
func (t *tracker) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	own := c.Token
	if t.mode == unfenced {
		now, _, err := t.Store.Checkpoint(ctx, name)
		if err != nil {
			return err
		}
		c.Token = max(c.Token, now.Token)
	}
	err := t.Store.SaveCheckpoint(ctx, name, c)
	switch {
	case err == nil:
		fmt.Println("saved", name, own, c.Position)
	case errors.Is(err, evsourcing.ErrFenced):
		fmt.Println("fenced", name, own)
	default:
		fmt.Println("unsure", name, own, c.Position)
	}
	return err
}

// print is the handler of subscriptions that are not exact.
func (t *tracker) print(_ context.Context, msgs []evsourcing.Message) error {
	if err := fate(); err != nil {
		return err
	}
	t.mu.Lock()
	token := t.token
	t.mu.Unlock()
	var b strings.Builder
	fmt.Fprint(&b, "got ", t.name, " ", token)
	for i := range msgs {
		fmt.Fprint(&b, " ", msgs[i].Position)
	}
	fmt.Println(b.String())
	return nil
}

// A lateLog shows some events later than those behind them, as a database does that draws
// positions before it commits.
type lateLog struct {
	durable.Store

	mu   sync.Mutex // guards seen
	seen map[uint64]time.Time
}

// Events implements [evsourcing.Log].
func (l *lateLog) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		for e, err := range l.Store.Events(ctx, r, f) {
			if err == nil && l.hides(e.Position) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (l *lateLog) hides(position uint64) bool {
	if position%101 != 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	since, ok := l.seen[position]
	if !ok {
		since = time.Now()
		l.seen[position] = since
	}
	return time.Since(since) < 30*time.Millisecond
}
