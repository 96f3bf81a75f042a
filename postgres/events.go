package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

const eventsSQL = `
SELECT ` + eventColumns + `, type, stream FROM {schema}.events
WHERE position > $1 AND position <= $2
ORDER BY position LIMIT $3`

const eventsBackwardSQL = `
SELECT ` + eventColumns + `, type, stream FROM {schema}.events
WHERE position > $1 AND position <= $2
ORDER BY position DESC LIMIT $3`

const filteredSQL = `
SELECT ` + eventColumns + `, type, stream FROM {schema}.events
WHERE position > $1 AND position <= $2
	AND (cardinality($4::text[]) = 0 OR topic = ANY ($4::text[])) AND (cardinality($5::text[]) = 0 OR type = ANY ($5::text[]))
ORDER BY position LIMIT $3`

const filteredBackwardSQL = `
SELECT ` + eventColumns + `, type, stream FROM {schema}.events
WHERE position > $1 AND position <= $2
	AND (cardinality($4::text[]) = 0 OR topic = ANY ($4::text[])) AND (cardinality($5::text[]) = 0 OR type = ANY ($5::text[]))
ORDER BY position DESC LIMIT $3`

const headSQL = `SELECT position, id FROM {schema}.events ORDER BY position DESC LIMIT 1`

// filterWindow is how many positions one query of a filtered log covers: that
// bounds its time, and keeps the database from reading all of the table instead.
const filterWindow = 1 << 14

// Events implements [evsourcing.Log], and filters exactly. Each page is one query,
// and nothing is held between them. With a filter, the iterator ends at the position
// that was the head when it began. Within a transaction it reads there, but does not
// yield what was appended, which has no position yet. A filter of more than 256 names
// does not spare reading what it leaves out, and then the iterator ends as without one.
func (s *Store) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if engine.Long(f) {
		return engine.Sift(r, f, func(r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
			return s.Events(ctx, r, evsourcing.Filter{})
		})
	}
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		w := engine.NewWalk(r)
		next := s.eventPages
		if len(f.Topics)+len(f.Types) > 0 {
			next = s.filteredPages
		}
		engine.Pages(ctx, yield, next(ctx, &w, f))
	}
}

func (s *Store) eventPages(ctx context.Context, w *engine.Walk, _ evsourcing.Filter) func() ([]evsourcing.StoredEvent, bool, error) {
	var p pager
	sql := s.sql.events
	if w.Backward {
		sql = s.sql.eventsBackward
	}
	return func() ([]evsourcing.StoredEvent, bool, error) {
		if w.Done() {
			return nil, true, nil
		}
		limit := w.Page(p.limit())
		var whole bool
		err := s.read(ctx, func(q querier) (err error) {
			whole, err = p.read(ctx, q, limit, sql, w.After, w.Until, limit)
			return err
		})
		if err != nil {
			return nil, true, fmt.Errorf("evsourcing: postgres: read the log after position %d: %w", w.After, remedy(err))
		}
		if n := len(p.events); n > 0 {
			w.Advance(n, p.events[n-1].Position)
		}
		return p.events, whole && len(p.events) < limit || w.Done(), nil
	}
}

func (s *Store) filteredPages(ctx context.Context, w *engine.Walk, f evsourcing.Filter) func() ([]evsourcing.StoredEvent, bool, error) {
	var p pager
	sql := s.sql.filtered
	if w.Backward {
		sql = s.sql.filteredBackward
	}
	topics, types := orEmpty(f.Topics), orEmpty(f.Types)
	bounded := false
	return func() ([]evsourcing.StoredEvent, bool, error) {
		if !bounded {
			head, err := s.Head(ctx)
			if err != nil {
				return nil, true, err
			}
			w.Until, bounded = min(w.Until, int64(head.Position)), true
		}
		if w.Done() {
			return nil, true, nil
		}
		// One query looks at a window; what it has no room for is left for the next.
		after, until := w.After, w.Until
		if w.Backward {
			after = max(after, until-filterWindow)
		} else if until-after > filterWindow {
			until = after + filterWindow
		}
		limit := w.Page(p.limit())
		var whole bool
		err := s.read(ctx, func(q querier) (err error) {
			whole, err = p.read(ctx, q, limit, sql, after, until, limit, topics, types)
			return err
		})
		if err != nil {
			return nil, true, fmt.Errorf("evsourcing: postgres: read the log after position %d: %w", w.After, remedy(err))
		}
		n := len(p.events)
		switch {
		case !whole || n == limit:
			w.Advance(n, p.events[n-1].Position)
		case w.Backward:
			w.Advance(n, uint64(after)+1)
		default:
			w.Advance(n, uint64(until))
		}
		return p.events, w.Done(), nil
	}
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Head implements [evsourcing.Log].
func (s *Store) Head(ctx context.Context) (evsourcing.Mark, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Mark{}, err
	}
	var position int64
	var id pgtype.UUID
	err := s.read(ctx, func(q querier) error { return q.QueryRow(ctx, s.sql.head).Scan(&position, &id) })
	if errors.Is(err, pgx.ErrNoRows) {
		return evsourcing.Mark{}, nil
	}
	if err != nil {
		return evsourcing.Mark{}, fmt.Errorf("evsourcing: postgres: head: %w", remedy(contextError(ctx, err)))
	}
	return evsourcing.Mark{Position: uint64(position), EventID: id.Bytes}, nil
}
