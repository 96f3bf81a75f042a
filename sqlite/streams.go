package sqlite

import (
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// streams remembers the numbers of streams that one connection has written to
// lately. A number that is committed never changes.
type streams struct {
	recent, older map[evsourcing.StreamID]int64
	fresh         []evsourcing.StreamID // made in the present transaction
}

// maxStreams is how many streams are remembered, twice.
const maxStreams = 32 << 10

// number returns the number of a stream, which it makes if there is none.
func (t *streams) number(c *conn, id evsourcing.StreamID) (int64, error) {
	n, ok, err := t.find(c, id)
	if err != nil || ok {
		return n, err
	}
	err = c.run(insertStreamRow, func(stmt *zsqlite.Stmt) {
		stmt.BindText(1, id.Type)
		stmt.BindText(2, id.ID)
	})
	if err != nil {
		return 0, err
	}
	n = c.LastInsertRowID()
	t.add(id, n)
	t.fresh = append(t.fresh, id)
	return n, nil
}

// find returns the number of a stream.
func (t *streams) find(c *conn, id evsourcing.StreamID) (n int64, ok bool, err error) {
	if n, ok = t.recent[id]; ok {
		return n, true, nil
	}
	if n, ok = t.older[id]; ok {
		t.add(id, n)
		return n, true, nil
	}
	ok, err = c.row(streamNumber, func(stmt *zsqlite.Stmt) {
		stmt.BindText(1, id.Type)
		stmt.BindText(2, id.ID)
	}, func(stmt *zsqlite.Stmt) { n = stmt.ColumnInt64(0) })
	if ok {
		t.add(id, n)
	}
	return n, ok, err
}

func (t *streams) add(id evsourcing.StreamID, n int64) {
	if t.recent == nil || len(t.recent) >= maxStreams {
		t.recent, t.older = make(map[evsourcing.StreamID]int64), t.recent
	}
	t.recent[id] = n
}

// keep is called after a commit.
func (t *streams) keep() { t.fresh = t.fresh[:0] }

// forget is called when a transaction is rolled back: its numbers may go to
// others.
func (t *streams) forget() {
	for _, id := range t.fresh {
		delete(t.recent, id)
		delete(t.older, id)
	}
	t.fresh = t.fresh[:0]
}
