package bench

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/sqlite"
)

// openSQLite returns a store at full durability. Its floor inserts the same row,
// into a table of another file without other indexes, in a transaction of its own
// that is as durable; and reads the store's own file.
func openSQLite(b *testing.B, _ int) (bed, func()) {
	b.Helper()
	dir, err := os.MkdirTemp("", "bench-sqlite-") // outlives the benchmark
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, "bench.db")
	s, err := sqlite.Open(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	bare, err := openBareSQLite(filepath.Join(dir, "bare.db"), path)
	if err != nil {
		b.Fatal(err)
	}
	return bed{s, bare}, func() {
		warn(bare.close())
		warn(s.Close(context.Background()))
		warn(os.RemoveAll(dir))
	}
}

// A bareSQLite is two connections of the driver, for one goroutine each.
type bareSQLite struct {
	writing, reading   *zsqlite.Conn
	begin, row, commit *zsqlite.Stmt
	stream, log        *zsqlite.Stmt
	rows               int64
	buffer             []byte
}

const bareSQLiteSchema = `CREATE TABLE events (position INTEGER PRIMARY KEY, kind INTEGER NOT NULL, number INTEGER NOT NULL,
	version INTEGER NOT NULL, time INTEGER NOT NULL, checksum INTEGER NOT NULL, id BLOB NOT NULL, stream TEXT NOT NULL,
	header TEXT, data BLOB NOT NULL) STRICT`

// openBareSQLite opens a file to write to, in the mode WAL as the driver does by
// default, and one to read.
func openBareSQLite(write, read string) (*bareSQLite, error) {
	d := &bareSQLite{}
	var err error
	if d.writing, err = zsqlite.OpenConn(write); err != nil {
		return nil, err
	}
	if d.reading, err = zsqlite.OpenConn(read, zsqlite.OpenReadOnly); err != nil {
		return nil, err
	}
	for _, run := range []struct {
		conn  *zsqlite.Conn
		query string
	}{
		{d.writing, bareSQLiteSchema},
		{d.writing, "PRAGMA synchronous = FULL"},
		{d.writing, "PRAGMA cache_size = -16384"}, // the store's
		{d.reading, "PRAGMA cache_size = -16384"},
	} {
		if err := sqlitex.ExecuteTransient(run.conn, run.query, nil); err != nil {
			return nil, err
		}
	}
	d.begin, d.commit = d.writing.Prep("BEGIN IMMEDIATE"), d.writing.Prep("COMMIT")
	d.row = d.writing.Prep("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)")
	d.stream = d.reading.Prep(`SELECT position, version, time, checksum, id, header, data FROM events
		WHERE number = (SELECT number FROM streams WHERE stream = ?1 AND type = ?2) ORDER BY version`)
	d.log = d.reading.Prep("SELECT position, version, time, checksum, id, header, data FROM events ORDER BY position")
	return d, nil
}

func (d *bareSQLite) close() error {
	if err := d.reading.Close(); err != nil {
		return err
	}
	return d.writing.Close()
}

func (d *bareSQLite) insert(_ context.Context, id evsourcing.StreamID, e *evsourcing.StoredEvent) error {
	d.rows++
	for i, n := range []int64{d.rows, 1, d.rows / 20, int64(e.Version), e.Time.UnixMicro(), d.rows * 77777} {
		d.row.BindInt64(i+1, n)
	}
	d.row.BindBytes(7, e.ID[:])
	d.row.BindText(8, id.ID)
	d.row.BindNull(9)
	d.row.BindBytes(10, e.Data)
	for _, stmt := range []*zsqlite.Stmt{d.begin, d.row, d.commit} {
		if err := d.each(stmt, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *bareSQLite) load(_ context.Context, id evsourcing.StreamID, f func(data []byte)) error {
	d.stream.BindText(1, id.ID)
	d.stream.BindText(2, id.Type)
	return d.each(d.stream, f)
}

func (d *bareSQLite) scan(_ context.Context, f func(data []byte)) error { return d.each(d.log, f) }

// each runs a statement, and gives the last of seven columns to f after it has
// looked at the others.
func (d *bareSQLite) each(stmt *zsqlite.Stmt, f func(data []byte)) error {
	for {
		ok, err := stmt.Step()
		if err != nil || !ok {
			if err2 := stmt.Reset(); err == nil {
				err = err2
			}
			return err
		}
		for i := range 4 {
			_ = stmt.ColumnInt64(i)
		}
		var id [16]byte
		stmt.ColumnBytes(4, id[:])
		_ = stmt.ColumnLen(5)
		if n := stmt.ColumnLen(6); n > len(d.buffer) {
			d.buffer = make([]byte, n)
		}
		f(d.buffer[:stmt.ColumnBytes(6, d.buffer)])
	}
}
