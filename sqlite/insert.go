package sqlite

import (
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// bound is what some parameters of insertEvent hold. Consecutive events are much
// alike, and binding a text costs more than comparing it.
type bound struct {
	valid          bool
	stream, header string
}

// insert stores an event of the stream with the number. If guard is not 0, the
// stream must have that version.
func (c *conn) insert(e *evsourcing.StoredEvent, h *engine.Header, number, position, version, guard int64) error {
	kind, err := c.kinds.number(c, kindName{e.Stream.Type, e.Topic, e.ContentType})
	if err != nil {
		return err
	}
	stmt, err := c.stmt(insertEvent)
	if err != nil {
		return err
	}
	micros := e.Time.UnixMicro()
	var sum uint32
	header := headerText(h)
	sum, c.scratch = checksum(c.scratch, e, header, position, version, micros)
	if cap(c.scratch) > 64<<10 {
		c.scratch = nil
	}
	stmt.BindInt64(insertPosition, position)
	stmt.BindInt64(insertKindNumber, kind)
	stmt.BindInt64(insertNumber, number)
	stmt.BindInt64(insertVersion, version)
	stmt.BindInt64(insertTime, micros)
	stmt.BindInt64(insertChecksum, int64(sum))
	stmt.BindBytes(insertID, e.ID[:])
	b := &c.bound
	b.text(stmt, insertStreamText, &b.stream, e.Stream.ID)
	b.text(stmt, insertHeader, &b.header, header)
	stmt.BindBytes(insertData, e.Data)
	stmt.BindInt64(insertGuard, guard)
	b.valid = true
	if _, err = stmt.Step(); err != nil {
		return err // and Step has reset the statement
	}
	return stmt.Reset()
}

// headerText returns what the column header has.
func headerText(h *engine.Header) string {
	if *h == (engine.Header{}) {
		return ""
	}
	return h.Tags + "\n" + h.Metadata // JSON escapes newlines
}

// text binds a text, an empty one as NULL, unless it is bound already.
func (b *bound) text(stmt *zsqlite.Stmt, param int, last *string, text string) {
	switch {
	case b.valid && *last == text:
		return
	case text == "":
		stmt.BindNull(param)
	default:
		stmt.BindText(param, text)
	}
	*last = text
}
