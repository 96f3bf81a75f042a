package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
)

// LoadSnapshot implements [evsourcing.SnapshotStore]. Within a transaction it reads
// there.
func (s *Store) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Snapshot{}, false, err
	}
	if err := id.Validate(); err != nil {
		return evsourcing.Snapshot{}, false, err
	}
	p := evsourcing.Snapshot{Stream: id}
	var version, position, micros int64
	var event pgtype.UUID
	err := s.read(ctx, func(q querier) error {
		return q.QueryRow(ctx, s.text(`
SELECT version, position, event_id, fingerprint, content_type, data, time FROM {schema}.snapshots
WHERE type = $1 AND stream = $2`), id.Type, id.ID).Scan(&version, &position, &event, &p.Fingerprint, &p.ContentType, &p.Data, &micros)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return evsourcing.Snapshot{}, false, nil
	}
	if err != nil {
		return evsourcing.Snapshot{}, false, fmt.Errorf("evsourcing: postgres: load snapshot of %v: %w", id, remedy(contextError(ctx, err)))
	}
	p.Version, p.Position, p.EventID, p.Time = uint64(version), uint64(position), event.Bytes, time.UnixMicro(micros).UTC()
	return p, true, nil
}

// SaveSnapshot implements [evsourcing.SnapshotStore]. Within a transaction it writes
// there.
func (s *Store) SaveSnapshot(ctx context.Context, p evsourcing.Snapshot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.Stream.Validate(); err != nil {
		return err
	}
	if p.Version > math.MaxInt64 || p.Position > math.MaxInt64 {
		return fmt.Errorf("evsourcing: snapshot of %v: version %d or position %d is out of range", p.Stream, p.Version, p.Position)
	}
	err := s.with(ctx, func(q querier) error {
		_, err := q.Exec(ctx, s.text(`
INSERT INTO {schema}.snapshots AS s (type, stream, version, position, event_id, fingerprint, content_type, data, time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT ON CONSTRAINT snapshots_stream DO UPDATE
SET version = excluded.version, position = excluded.position, event_id = excluded.event_id, fingerprint = excluded.fingerprint,
	content_type = excluded.content_type, data = excluded.data, time = excluded.time
WHERE s.fingerprint <> excluded.fingerprint OR s.version <= excluded.version`),
			p.Stream.Type, p.Stream.ID, int64(p.Version), int64(p.Position), pgtype.UUID{Bytes: p.EventID, Valid: true},
			p.Fingerprint, p.ContentType, notNil(p.Data), p.Time.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: save snapshot of %v: %w", p.Stream, remedy(contextError(ctx, err)))
	}
	return nil
}
