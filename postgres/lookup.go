package postgres

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// A querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// lookupSQL finds events and the versions of streams, all at one moment. The
// subqueries with a LIMIT have no other plan than an index probe each.
const lookupSQL = `
SELECT e.id, e.type, e.stream, e.version, e.position
FROM unnest($1::uuid[]) AS i(id), LATERAL (SELECT * FROM {schema}.events x WHERE x.id = i.id LIMIT 1) AS e
UNION ALL
SELECT NULL, s.type, s.stream, e.version, 0
FROM unnest($2::text[], $3::text[]) AS s(type, stream),
	LATERAL (SELECT x.version FROM {schema}.events x WHERE x.stream = s.stream AND x.type = s.type ORDER BY x.version DESC LIMIT 1) AS e`

// lookupInSQL also gives the transaction that it runs in an ID, and returns it.
const lookupInSQL = lookupSQL + `
UNION ALL
SELECT NULL, '', '', 0, pg_current_xact_id()::text::bigint`

// found implements [engine.Lookup] with what a query has found.
type found struct {
	xid      int64 // the transaction, if it was asked for
	events   map[uuid.UUID]engine.Place
	versions map[evsourcing.StreamID]uint64
}

func (f *found) Find(id uuid.UUID) (engine.Place, bool, error) {
	p, ok := f.events[id]
	return p, ok, nil
}

func (f *found) Version(id evsourcing.StreamID) (uint64, error) { return f.versions[id], nil }

// beyond reports whether a stream is beyond the version that an append expects, so that
// it can't be stored any more.
func (f *found) beyond(a *engine.Append) bool {
	return slices.ContainsFunc(a.Batches, func(b evsourcing.Batch) bool { return f.versions[b.Stream] > b.Expected })
}

// lookUp finds what there is to know about appends.
func (s *Store) lookUp(ctx context.Context, q querier, appends []*engine.Append) (*found, error) {
	return find(ctx, q, s.sql.lookup, appends)
}

// lookUpIn is lookUp for a transaction that will append, and returns its ID too.
func (s *Store) lookUpIn(ctx context.Context, tx pgx.Tx, appends []*engine.Append) (*found, error) {
	return find(ctx, tx, s.sql.lookupIn, appends)
}

func find(ctx context.Context, q querier, sql string, appends []*engine.Append) (*found, error) {
	f := &found{events: map[uuid.UUID]engine.Place{}, versions: map[evsourcing.StreamID]uint64{}}
	var ids []pgtype.UUID
	var types, streams []string
	for _, a := range appends {
		for i := range a.Batches {
			b := &a.Batches[i]
			if _, ok := f.versions[b.Stream]; !ok {
				f.versions[b.Stream] = 0
				types, streams = append(types, b.Stream.Type), append(streams, b.Stream.ID)
			}
			for j := range b.Events {
				ids = append(ids, pgtype.UUID{Bytes: b.Events[j].ID, Valid: true})
			}
		}
	}
	rows, err := q.Query(ctx, sql, ids, types, streams)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id pgtype.UUID
		var p engine.Place
		var version, position int64
		if err := rows.Scan(&id, &p.Stream.Type, &p.Stream.ID, &version, &position); err != nil {
			return nil, err
		}
		p.Version, p.Position = uint64(version), uint64(position)
		switch {
		case id.Valid:
			f.events[id.Bytes] = p
		case p.Stream.Type == "": // no stream has an empty type
			f.xid = position
		default:
			f.versions[p.Stream] = p.Version
		}
	}
	return f, rows.Err()
}

// with runs f on the transaction that ctx carries, or else on the pool.
func (s *Store) with(ctx context.Context, f func(q querier) error) error {
	t := s.transaction(ctx)
	if t == nil {
		if err := s.isClosed(); err != nil {
			return err
		}
		return f(s.pool)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return errOver
	}
	return f(t.tx)
}

// read is with for what changes nothing: it is done again if the connection broke, as those
// of a pool do that the server or a proxy has closed. All of them may have been, and each
// leaves the pool when that is found.
func (s *Store) read(ctx context.Context, f func(q querier) error) error {
	err := s.with(ctx, f)
	if err == nil || s.transaction(ctx) != nil {
		return err
	}
	for left := s.pool.Stat().TotalConns() + 1; left > 0 && isBroken(err) && ctx.Err() == nil; left-- {
		err = s.with(ctx, f)
	}
	if err != nil && ctx.Err() == nil && s.isClosed() != nil {
		return s.isClosed() // whatever the pool makes of it
	}
	return err
}
