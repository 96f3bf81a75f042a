package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

// maxFindings is how many damages are listed.
const maxFindings = 10

// checkRows is how many rows are checked in one reading transaction.
const checkRows = 4096

// Check reads the whole store and verifies it: the checksum of each event, that
// positions rise and versions of each stream have no gaps, that the indexes have
// what the table has, and SQLite's own integrity check. It returns an
// [ErrCorrupt] that lists the first damages: position, stream and version of an
// event where they can be told.
//
// Check takes a few seconds for a million events. Others may write meanwhile,
// but while SQLite's own check runs, at the end, the write-ahead log can't be cut
// and grows by what is written.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.wal.long.Add(1)
	defer s.wal.long.Add(-1)
	c, err := s.connect(reading)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetInterrupt(ctx.Done())
	k := &checking{s: s, ctx: ctx, c: c}
	for _, check := range []func() error{k.events, k.streams, k.names, k.integrity} {
		if err := check(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			k.found(s.explain("check", err)) // the next check may say more
		}
	}
	return errors.Join(k.findings...)
}

// checking is one run of Check.
type checking struct {
	s        *Store
	ctx      context.Context
	c        *conn
	findings []error
}

func (k *checking) found(err error) {
	switch {
	case len(k.findings) < maxFindings:
		k.findings = append(k.findings, err)
	case len(k.findings) == maxFindings:
		k.findings = append(k.findings, fmt.Errorf("%w: and more", ErrCorrupt))
	}
}

func (k *checking) full() bool { return len(k.findings) > maxFindings }

// events checks each event of the table by itself, in their order.
func (k *checking) events() error {
	stmt, err := k.c.stmt(scanForward)
	if err != nil {
		return err
	}
	defer stmt.Reset()
	var rows rowReader
	e := make([]evsourcing.StoredEvent, 1)
	for after := int64(math.MinInt64); !k.full(); {
		stmt.BindInt64(scanAfter, after)
		stmt.BindInt64(scanUntil, math.MaxInt64)
		stmt.BindInt64(scanLimit, checkRows)
		count := 0
		for ; ; count++ {
			ok, err := stmt.Step()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			rows.begin()
			position := stmt.ColumnInt64(colPosition)
			switch err := rows.read(k.c, stmt, &e[0]); {
			case err != nil:
				k.found(err)
			case position <= 0 || position <= after:
				rows.name(e)
				k.found(damaged(&e[0], "its position is out of order"))
			}
			after = max(after, position)
		}
		if err := stmt.Reset(); err != nil {
			return err
		}
		if count < checkRows {
			return nil
		}
	}
	return nil
}

// streams checks the order of events within each stream, as the index has it.
func (k *checking) streams() error {
	stmt, err := k.c.Prepare(`SELECT number, version, position FROM events
		WHERE (number, version) > (?1, ?2) ORDER BY number, version LIMIT ?3`)
	if err != nil {
		return err
	}
	defer stmt.Reset()
	var last place
	for !k.full() {
		stmt.BindInt64(1, last.number)
		stmt.BindInt64(2, last.version)
		stmt.BindInt64(3, checkRows)
		count := 0
		for ; ; count++ {
			ok, err := stmt.Step()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			p := place{stmt.ColumnInt64(0), stmt.ColumnInt64(1), stmt.ColumnInt64(2)}
			want, above := int64(1), int64(0)
			if p.number == last.number {
				want, above = last.version+1, last.position
			}
			switch {
			case p.version != want:
				k.place(p, fmt.Sprintf("version %d of the stream is missing", want))
			case p.position <= above:
				k.place(p, fmt.Sprintf("the version before it has position %d", above))
			}
			last = p
		}
		if err := stmt.Reset(); err != nil {
			return err
		}
		if count < checkRows {
			return nil
		}
	}
	return nil
}

// A place is an entry of the index of streams.
type place struct{ number, version, position int64 }

// place notes what is wrong with the event of an entry.
func (k *checking) place(p place, why string) {
	e := evsourcing.StoredEvent{Version: uint64(p.version), Position: uint64(p.position)}
	_ = sqlitex.Execute(k.c.Conn, "SELECT type, stream FROM streams WHERE number = ?", &sqlitex.ExecOptions{
		Args: []any{p.number},
		ResultFunc: func(stmt *zsqlite.Stmt) error {
			e.Stream = evsourcing.StreamID{Type: stmt.ColumnText(0), ID: stmt.ColumnText(1)}
			return nil
		},
	})
	k.found(damaged(&e, why))
}

// names checks that each event is of the stream that its number stands for.
func (k *checking) names() error {
	return sqlitex.ExecuteTransient(k.c.Conn, `SELECT position, version, kinds.type, events.stream, streams.type, streams.stream
		FROM events LEFT JOIN kinds USING (kind) LEFT JOIN streams USING (number)
		WHERE kinds.type IS NOT streams.type OR events.stream IS NOT streams.stream LIMIT ?`, &sqlitex.ExecOptions{
		Args: []any{maxFindings},
		ResultFunc: func(stmt *zsqlite.Stmt) error {
			e := evsourcing.StoredEvent{Position: uint64(stmt.ColumnInt64(0)), Version: uint64(stmt.ColumnInt64(1)),
				Stream: evsourcing.StreamID{Type: stmt.ColumnText(2), ID: stmt.ColumnText(3)}}
			k.found(damaged(&e, fmt.Sprintf("its number is that of the stream %s/%s", stmt.ColumnText(4), stmt.ColumnText(5))))
			return nil
		},
	})
}

// integrity lets SQLite check the file, and its indexes against the tables.
func (k *checking) integrity() error {
	return sqlitex.ExecuteTransient(k.c.Conn, fmt.Sprintf("PRAGMA integrity_check(%d)", maxFindings), &sqlitex.ExecOptions{
		ResultFunc: func(stmt *zsqlite.Stmt) error {
			if text := stmt.ColumnText(0); text != "ok" {
				k.found(fmt.Errorf("%w: %s: %s", ErrCorrupt, k.s.path, text))
			}
			return nil
		},
	})
}
