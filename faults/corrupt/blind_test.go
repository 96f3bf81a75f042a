package corrupt

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

// blind reads the file of an SQLite store, and trusts what it finds.
type blind struct{ conn *zsqlite.Conn }

func openBlind(path string) (reader, func() error, error) {
	c, err := zsqlite.OpenConn(path)
	if err != nil {
		return nil, nil, err
	}
	return blind{c}, c.Close, nil
}

const blindColumns = `SELECT position, version, time, id, kinds.type, events.stream, topic, content_type, header, data FROM events JOIN kinds USING (kind) `

func (b blind) Events(context.Context, evsourcing.Range, evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	return b.rows(blindColumns + "ORDER BY position")
}

func (b blind) Load(_ context.Context, id evsourcing.StreamID, _ evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return b.rows(blindColumns+"WHERE number = (SELECT number FROM streams WHERE type = ? AND stream = ?) ORDER BY version", id.Type, id.ID)
}

func (b blind) Find(_ context.Context, _ evsourcing.StreamID, event uuid.UUID) (version uint64, ok bool, err error) {
	err = sqlitex.Execute(b.conn, "SELECT version FROM events WHERE id = ?", &sqlitex.ExecOptions{Args: []any{event[:]}, ResultFunc: func(stmt *zsqlite.Stmt) error {
		version, ok = uint64(stmt.ColumnInt64(0)), true
		return nil
	}})
	return version, ok, err
}

func (b blind) rows(query string, args ...any) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		err := sqlitex.Execute(b.conn, query, &sqlitex.ExecOptions{Args: args, ResultFunc: func(stmt *zsqlite.Stmt) error {
			e := evsourcing.StoredEvent{
				Position: uint64(stmt.ColumnInt64(0)), Version: uint64(stmt.ColumnInt64(1)), Time: time.UnixMicro(stmt.ColumnInt64(2)),
				Stream: evsourcing.StreamID{Type: stmt.ColumnText(4), ID: stmt.ColumnText(5)},
				Topic:  stmt.ColumnText(6), ContentType: stmt.ColumnText(7), Data: make([]byte, stmt.ColumnLen(9)),
			}
			stmt.ColumnBytes(3, e.ID[:])
			stmt.ColumnBytes(9, e.Data)
			tags, metadata, _ := strings.Cut(stmt.ColumnText(8), "\n")
			_ = json.Unmarshal([]byte(tags), &e.Tags)
			_ = json.Unmarshal([]byte(metadata), &e.Metadata)
			yield(e, nil)
			return nil
		}})
		if err != nil {
			yield(evsourcing.StoredEvent{}, err)
		}
	}
}
