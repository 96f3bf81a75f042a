package postgres

import (
	"context"
	"fmt"
	"iter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// The first columns of all that read events are these, in this order; row.go
// decodes them.
const eventColumns = `position, version, time, id, topic, content_type, data, tags, metadata`

const loadSQL = `
SELECT ` + eventColumns + ` FROM {schema}.events
WHERE stream = $1 AND type = $2 AND version > $3 AND version <= $4
ORDER BY version LIMIT $5`

const loadBackwardSQL = `
SELECT ` + eventColumns + ` FROM {schema}.events
WHERE stream = $1 AND type = $2 AND version > $3 AND version <= $4
ORDER BY version DESC LIMIT $5`

const findSQL = `SELECT version FROM {schema}.events WHERE id = $1 AND type = $2 AND stream = $3`

// Load implements [evsourcing.EventStore]. Each page is one query, and nothing is
// held between them. Within a transaction it yields what was appended there too.
func (s *Store) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		if err := id.Validate(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		if t := s.transaction(ctx); t != nil {
			t.load(ctx, id, r, yield)
			return
		}
		engine.Pages(ctx, yield, s.loadPages(ctx, id, engine.NewWalk(r)))
	}
}

// loadPages returns a function that reads page after page of a stream.
func (s *Store) loadPages(ctx context.Context, id evsourcing.StreamID, w engine.Walk) func() ([]evsourcing.StoredEvent, bool, error) {
	p := pager{stream: id}
	sql := s.sql.load
	if w.Backward {
		sql = s.sql.loadBackward
	}
	return func() ([]evsourcing.StoredEvent, bool, error) {
		if w.Done() {
			return nil, true, nil
		}
		limit := w.Page(p.limit())
		var whole bool
		err := s.read(ctx, func(q querier) (err error) {
			whole, err = p.read(ctx, q, limit, sql, id.ID, id.Type, w.After, w.Until, limit)
			return err
		})
		if err != nil {
			return nil, true, fmt.Errorf("evsourcing: postgres: load %v: %w", id, remedy(err))
		}
		if n := len(p.events); n > 0 {
			w.Advance(n, p.events[n-1].Version)
		}
		return p.events, whole && len(p.events) < limit || w.Done(), nil
	}
}

// Find implements [evsourcing.Finder]. Within a transaction it finds what was
// appended there too.
func (s *Store) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (version uint64, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if err := id.Validate(); err != nil {
		return 0, false, err
	}
	if t := s.transaction(ctx); t != nil {
		if version, ok, err = t.find(id, event); ok || err != nil {
			return version, ok, err
		}
	}
	err = s.read(ctx, func(q querier) error {
		rows, err := q.Query(ctx, s.sql.find, pgtype.UUID{Bytes: event, Valid: true}, id.Type, id.ID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var v int64
			if err := rows.Scan(&v); err != nil {
				return err
			}
			version, ok = uint64(v), true
		}
		return rows.Err()
	})
	if err != nil {
		return 0, false, fmt.Errorf("evsourcing: postgres: find %v of %v: %w", event, id, remedy(contextError(ctx, err)))
	}
	return version, ok, nil
}
