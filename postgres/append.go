package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// Append implements [evsourcing.EventStore]. It waits until the events are
// committed, together with what else waits. If the connection breaks on the way,
// Append finds out what has become of them; when its context ends before, the
// database can't be reached for long, or the server may yet store them because a stream
// is not as far as expected, it returns [evsourcing.ErrUncertain]. What it finds stored
// after that counts as stored by it, and not as Repeated.
//
// Within a transaction of [Store.InTx] or a [Store.Handler], whose context ctx is or
// comes from, the events are stored if and only if the transaction commits: the result
// is Pending, and has no position. The versions are checked at once and again at the
// end, where a conflict makes the transaction fail.
func (s *Store) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.AppendResult{}, err
	}
	if err := evsourcing.Validate(batches...); err != nil {
		return evsourcing.AppendResult{}, err
	}
	if t := s.transaction(ctx); t != nil {
		return t.append(ctx, engine.NewAppend(batches))
	}
	return s.committer.Commit(ctx, engine.NewAppend(batches))
}

const (
	// attemptTime bounds one attempt to store a group: a connection that is silent
	// for longer is broken.
	attemptTime = 30 * time.Second
	// reconnectTime bounds how long appends that were not sent are tried again.
	reconnectTime = time.Second
	// settleTime bounds how long the store tries to find out what has become of
	// appends that were sent, while the database can't be reached.
	settleTime = 15 * time.Second
	// maxRetries bounds attempts that the database asked to repeat.
	maxRetries = 20
)

// connect gets a connection for a committer. While it tries, the appends that wait can
// be withdrawn: nothing has been sent of them.
func (s *Store) connect(idle func() bool) (bool, error) {
	for began, n := time.Now(), 1; ; n++ {
		ctx, cancel := context.WithTimeout(s.ctx, attemptTime)
		conn, err := s.pool.Acquire(ctx)
		cancel()
		switch {
		case err == nil:
			s.conns <- conn
			return true, nil
		case idle():
			return false, nil
		case time.Since(began) > reconnectTime || !s.pause(n):
			return false, fmt.Errorf("evsourcing: postgres: append: no connection: %w", err)
		}
	}
}

// pause waits before the next attempt, and returns false if the store is closed.
func (s *Store) pause(attempt int) bool { return pause(s.ctx, attempt) }

// pause waits before the next attempt, and returns false if ctx ends.
func pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(min(time.Millisecond<<min(attempt, 10), 500*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
