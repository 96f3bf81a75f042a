package sqlite

import (
	"os"
	"sync/atomic"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// The write-ahead log is moved into the database when it has so many pages, by
// the commit that made it so long, and begun anew by the next one. It can't be
// begun anew while somebody reads it. Readers hold it for a page only, but when
// there are many, one of them always does. So when the log has grown beyond its
// measure all the same, the writer lets no reader of this process begin until it
// has moved the log.
const (
	pageSize = 4096
	walPages = 16 << 20 / pageSize
	walSize  = walPages * pageSize // to which the file is cut when the log begins anew
	walLarge = 24 << 20
	walStep  = 8 << 20                // by how much it grows before the writer tries again
	walWait  = 5 * time.Second        // for readers of pages to end
	walBear  = 100 * time.Millisecond // for functions of Read, which may wait for this write
	walLook  = 2 << 20                // bytes to write before its size is looked at again
)

// walGuard keeps the write-ahead log from growing. It is used by who has the
// lock, but for long.
type walGuard struct {
	written int          // since its size was looked at
	tried   int64        // its size when it was last moved in vain
	long    atomic.Int32 // copies and checks under way, which read for a long time
	reads   atomic.Int32 // functions of Read that run
}

// guardWAL is called after a commit of about so many bytes.
func (s *Store) guardWAL(c *conn, bytes int) {
	g := &s.wal
	if g.written += bytes; g.written < walLook {
		return
	}
	g.written = 0
	info, err := os.Stat(s.path + "-wal")
	if err != nil {
		return
	}
	size := info.Size()
	if size < walLarge {
		g.tried = 0
		return
	}
	if size < g.tried+walStep || g.long.Load() > 0 {
		return
	}
	g.tried = size
	s.moveWAL(c)
}

// moveWAL moves the log into the database while no reader of this process reads.
func (s *Store) moveWAL(c *conn) {
	var list []*conn
	defer func() {
		for _, r := range list {
			s.readers <- r
		}
	}()
	wait := walWait
	if s.wal.reads.Load() > 0 {
		wait = walBear
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for range s.opts.Readers {
		select {
		case r := <-s.readers:
			list = append(list, r)
		case <-timeout.C:
			return
		}
	}
	pages, moved := 0, 0
	err := sqlitex.ExecuteTransient(c.Conn, "PRAGMA wal_checkpoint(PASSIVE)", &sqlitex.ExecOptions{
		ResultFunc: func(stmt *zsqlite.Stmt) error {
			pages, moved = stmt.ColumnInt(1), stmt.ColumnInt(2)
			return nil
		},
	})
	if err != nil || moved < pages {
		s.opts.Logger.Warn("evsourcing: sqlite: the write-ahead log grows, because another process reads without a pause",
			"path", s.path, "pages", pages, "moved", moved, "err", err)
	}
}
