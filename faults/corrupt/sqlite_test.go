package corrupt

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/sqlite"
)

var quiet = slog.New(slog.DiscardHandler)

const (
	sqlitePage = 4096
	walHeader  = 32
	walFrame   = 24 + sqlitePage
)

// An image is the files of an SQLite store, as a killed process leaves them.
type image struct {
	truth
	db, wal []byte
}

// A shape says how an image comes about.
type shape struct {
	closed  int  // appends before the store was closed and opened again
	moved   bool // then the log's pages were moved to the database, and it began anew
	appends int  // after that, each a transaction at the end of the log
	late    bool // in the end the log's pages were moved, too
}

// make makes an image.
func (f shape) make(t *testing.T) (m image) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.db")
	open := func() *sqlite.Store {
		s, err := sqlite.Open(path, &sqlite.Options{Logger: quiet, Readers: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	fill := func(n int) {
		if err := m.fill(t.Context(), s, n); err != nil {
			t.Fatal(err)
		}
	}
	fill(f.closed)
	if f.closed > 0 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = open()
	}
	if f.moved {
		fill(f.appends)
		checkpoint(t, path)
	}
	fill(f.appends)
	if f.late {
		checkpoint(t, path)
	}
	if f.appends == 0 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m.db, _ = os.ReadFile(path)
	m.wal, _ = os.ReadFile(path + "-wal")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// checkpoint moves the pages of the write-ahead log to the database.
func checkpoint(t *testing.T, path string) {
	t.Helper()
	c, err := zsqlite.OpenConn(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := sqlitex.ExecuteTransient(c, "PRAGMA wal_checkpoint(PASSIVE)", nil); err != nil {
		t.Fatal(err)
	}
}

// An opening opens a store, or something that reads its file.
type opening func(path string) (s reader, closing func() error, err error)

func openStore(path string) (reader, func() error, error) {
	s, err := sqlite.Open(path, &sqlite.Options{Logger: quiet, Readers: 1})
	if err != nil {
		return nil, nil, err
	}
	return s, func() error { return s.Close(context.Background()) }, nil
}

// try examines the store in the files.
func (m *image) try(ctx context.Context, dir string, db, wal []byte, open opening) (o outcome, err error) {
	path := filepath.Join(dir, "events.db")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(path + suffix)
	}
	if err := os.WriteFile(path, db, 0o600); err != nil {
		return o, err
	}
	if wal != nil {
		if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
			return o, err
		}
	}
	s, closing, err := open(path)
	if err != nil {
		o.report(err)
		o.refused = strings.Contains(err.Error(), "of the write-ahead log can't be read")
		return o, nil
	}
	o = m.examine(ctx, s)
	_ = closing() // fails for what was found already
	return o, nil
}

// hunt damages one of the files again and again, and counts flips and cuts. What it
// draws depends on the number of cases alone.
func (m *image) hunt(t *testing.T, cases int, inWAL bool, open opening) (flips, cuts tally) {
	t.Helper()
	dir := scratch(t)
	if o, err := m.try(t.Context(), dir, m.db, m.wal, open); err != nil || len(o.reported) > 0 || o.wrong != "" || o.appends != len(m.ends) {
		t.Fatalf("without damage: %+v, %v", o, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	told := time.Now()
	for i := range cases {
		db, wal := m.db, m.wal
		var d damage
		if inWAL {
			d = draw(r, len(wal), walFrame)
			wal = d.of(wal)
		} else {
			d = draw(r, len(db), sqlitePage)
			db = d.of(db)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		o, err := m.try(ctx, dir, db, wal, open)
		if err == nil {
			err = ctx.Err()
		}
		cancel()
		if err != nil {
			t.Fatalf("%v: %v", d, err)
		}
		if d.bit < 0 {
			cuts.add(d, o, len(m.ends))
		} else {
			flips.add(d, o, len(m.ends))
		}
		if time.Since(told) > 20*time.Second {
			told = time.Now()
			n := flips.plus(cuts)
			t.Logf("%d of %d: %d harmless, %d reported, %d shortened, %d silent", i+1, cases, n.harmless, n.reported, n.shortened, len(n.silent))
		}
	}
	return flips, cuts
}

// scratch returns a directory for files that need not outlive a crash of the system:
// in memory, if it can be there.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "evsourcing-corrupt-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func fileShape() shape { return shape{closed: 60} }

// Whatever bit of an SQLite store's file is flipped, and wherever the file is cut off:
// all events are read as they were stored, or an error says that the store is damaged.
// (A file that is cut off at its very beginning is a new store, unless it is opened
// with NoMigrate.)
func TestSQLiteFile(t *testing.T) {
	m := fileShape().make(t)
	flips, cuts := m.hunt(t, faulttest.Scale(100, 300, 10_000), false, openStore)
	n := flips.plus(cuts)
	t.Attr("figure", fmt.Sprintf("%s bit flips and cuts of the database file: %s harmless, %s reported (%s by Check alone), %d silent",
		humanize.Comma(int64(n.cases)), humanize.Comma(int64(n.harmless)), humanize.Comma(int64(n.reported)), humanize.Comma(int64(n.late)), len(n.silent)+n.shortened))
	if err := n.err(0); err != nil {
		t.Error(err)
	}
}

// Without the checksums of events, SQLite passes on what it finds in a page.
func TestSQLiteFileControl(t *testing.T) {
	m := fileShape().make(t)
	flips, cuts := m.hunt(t, faulttest.Scale(100, 150, 2_000), false, openBlind)
	n := flips.plus(cuts)
	t.Attr("figure", fmt.Sprintf("without checksums and Check, %s bit flips and cuts of the database file: %s harmless, %s reported, %s silent",
		humanize.Comma(int64(n.cases)), humanize.Comma(int64(n.harmless)), humanize.Comma(int64(n.reported)), humanize.Comma(int64(len(n.silent)+n.shortened))))
	if err := n.err(0); err == nil {
		t.Error("no damage was silent, although nothing looks for it")
	} else {
		t.Log(err)
	}
}
