package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/evsourcing/evsourcing"
)

const statusSQL = `SELECT coalesce(pg_xact_status($1::text::xid8), '')`

// settle finds out what came of a transaction whose connection broke during its commit.
// The server knows: that its events are stored does not tell, for another may have stored
// the same ones. It waits while the server has not noticed yet.
func (t *transaction) settle(ctx context.Context, cause error) (head uint64, err error) {
	s := t.store
	if t.xid == 0 || len(t.appends) == 0 {
		return 0, uncertain(cause)
	}
	for began, n := time.Now(), 1; time.Since(began) < settleTime; n++ {
		var status string
		err := s.pool.QueryRow(ctx, statusSQL, strconv.FormatInt(t.xid, 10)).Scan(&status)
		if err == nil && status == "committed" {
			var whole bool
			head, whole, err = t.storedHead(ctx)
			if whole {
				return head, nil
			}
		}
		switch {
		case err == nil && status == "aborted":
			return 0, fmt.Errorf("evsourcing: postgres: the connection failed during the commit, and the transaction was rolled back: %w", cause)
		case err == nil && status != "in progress", // a server that was put in the place of the other, and did not have it
			err != nil && !unreachable(err), s.isClosed() != nil, !pause(ctx, n):
			return 0, uncertain(cause)
		}
	}
	return 0, uncertain(cause)
}

// storedHead returns the last position of the last append, if that is stored whole.
func (t *transaction) storedHead(ctx context.Context) (head uint64, whole bool, err error) {
	last := t.appends[len(t.appends)-1]
	f, err := t.store.lookUp(ctx, t.store.pool, t.appends[len(t.appends)-1:])
	if err != nil {
		return 0, false, err
	}
	for _, p := range f.events {
		head = max(head, p.Position)
	}
	return head, len(f.events) == last.Events(), nil
}

// unreachable reports whether an error says nothing but that the server can't be reached.
func unreachable(err error) bool {
	o := outcomeOf(err)
	return o == unknown || o == unsent
}

func uncertain(cause error) error {
	return fmt.Errorf("%w: postgres: the connection failed during the commit: %w", evsourcing.ErrUncertain, cause)
}
