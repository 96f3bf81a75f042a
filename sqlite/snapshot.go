package sqlite

import (
	"context"
	"time"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// LoadSnapshot implements [evsourcing.SnapshotStore]. A snapshot that is damaged
// is logged, and counts as lost.
func (s *Store) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (snapshot evsourcing.Snapshot, ok bool, err error) {
	if err := id.Validate(); err != nil {
		return evsourcing.Snapshot{}, false, err
	}
	var sum uint32
	err = s.read(ctx, "loading a snapshot", func(c *conn) error {
		ok, err = c.row(readSnapshot, func(stmt *zsqlite.Stmt) {
			stmt.BindText(1, id.Type)
			stmt.BindText(2, id.ID)
		}, func(stmt *zsqlite.Stmt) {
			snapshot = evsourcing.Snapshot{
				Stream: id, Version: uint64(stmt.ColumnInt64(0)), Position: uint64(stmt.ColumnInt64(1)),
				Fingerprint: stmt.ColumnText(3), ContentType: stmt.ColumnText(4), Time: time.UnixMicro(stmt.ColumnInt64(5)).UTC(),
				Data: make([]byte, stmt.ColumnLen(7)),
			}
			stmt.ColumnBytes(2, snapshot.EventID[:])
			stmt.ColumnBytes(7, snapshot.Data)
			sum = uint32(stmt.ColumnInt64(6))
		})
		return err
	})
	if err != nil || !ok {
		return evsourcing.Snapshot{}, false, err
	}
	if sum != snapshotChecksum(&snapshot) {
		s.opts.Logger.Error("evsourcing: sqlite: a snapshot is damaged and will not be used", "path", s.path, "stream", id.String(), "version", snapshot.Version)
		return evsourcing.Snapshot{}, false, nil
	}
	return snapshot, true, nil
}

// SaveSnapshot implements [evsourcing.SnapshotStore].
func (s *Store) SaveSnapshot(ctx context.Context, snapshot evsourcing.Snapshot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := snapshot.Stream.Validate(); err != nil {
		return err
	}
	if err := checkNumbers("snapshot of "+snapshot.Stream.String(), snapshot.Version, snapshot.Position); err != nil {
		return err
	}
	return s.update(ctx, "saving a snapshot", func(c *conn) error {
		return c.run(writeSnapshot, func(stmt *zsqlite.Stmt) {
			stmt.BindText(1, snapshot.Stream.Type)
			stmt.BindText(2, snapshot.Stream.ID)
			stmt.BindInt64(3, int64(snapshot.Version))
			stmt.BindInt64(4, int64(snapshot.Position))
			stmt.BindBytes(5, snapshot.EventID[:])
			stmt.BindText(6, snapshot.Fingerprint)
			stmt.BindText(7, snapshot.ContentType)
			stmt.BindInt64(8, snapshot.Time.UnixMicro())
			stmt.BindInt64(9, int64(snapshotChecksum(&snapshot)))
			stmt.BindBytes(10, snapshot.Data)
		})
	})
}

// snapshotChecksum returns the CRC-32C of all that a snapshot has.
func snapshotChecksum(s *evsourcing.Snapshot) uint32 {
	micros := s.Time.UnixMicro()
	e := evsourcing.StoredEvent{ID: s.EventID, Stream: s.Stream, Topic: s.Fingerprint, ContentType: s.ContentType, Data: s.Data}
	sum, _ := checksum(nil, &e, "", int64(s.Position), int64(s.Version), micros)
	return sum
}
