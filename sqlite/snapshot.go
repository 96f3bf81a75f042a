package sqlite

import (
	"context"
	"time"

	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// LoadSnapshot implements [evsourcing.SnapshotStore].
func (s *Store) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (snapshot evsourcing.Snapshot, ok bool, err error) {
	if err := id.Validate(); err != nil {
		return evsourcing.Snapshot{}, false, err
	}
	err = s.read(ctx, "loading a snapshot", func(c *conn) error {
		ok, err = c.row(readSnapshot, func(stmt *zsqlite.Stmt) {
			stmt.BindText(1, id.Type)
			stmt.BindText(2, id.ID)
		}, func(stmt *zsqlite.Stmt) {
			snapshot = evsourcing.Snapshot{
				Stream: id, Version: uint64(stmt.ColumnInt64(0)), Position: uint64(stmt.ColumnInt64(1)),
				Fingerprint: stmt.ColumnText(3), ContentType: stmt.ColumnText(4), Time: time.UnixMicro(stmt.ColumnInt64(5)).UTC(),
				Data: make([]byte, stmt.ColumnLen(6)),
			}
			stmt.ColumnBytes(2, snapshot.EventID[:])
			stmt.ColumnBytes(6, snapshot.Data)
		})
		return err
	})
	if err != nil || !ok {
		return evsourcing.Snapshot{}, false, err
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
			stmt.BindBytes(9, snapshot.Data)
		})
	})
}
