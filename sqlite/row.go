package sqlite

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// The checksum of an event is the CRC-32C of its canonical form: the header
// below, little-endian, and then the texts and the data in the header's order.
const (
	formPosition = 0
	formVersion  = 8
	formTime     = 16
	formID       = 24
	formLengths  = 40 // of type, stream, topic, content type, header, data; four bytes each
	formTexts    = formLengths + 6*4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of an event that is about to be stored, using
// buf, which it returns.
func checksum(buf []byte, e *evsourcing.StoredEvent, header string, position, version, micros int64) (uint32, []byte) {
	buf = append(buf[:0], make([]byte, formTexts)...)
	putHeader(buf, position, version, micros)
	copy(buf[formID:], e.ID[:])
	for i, text := range [...]string{e.Stream.Type, e.Stream.ID, e.Topic, e.ContentType, header} {
		binary.LittleEndian.PutUint32(buf[formLengths+4*i:], uint32(len(text)))
		buf = append(buf, text...)
	}
	return finish(buf, e.Data), buf
}

func putHeader(buf []byte, position, version, micros int64) {
	binary.LittleEndian.PutUint64(buf[formPosition:], uint64(position))
	binary.LittleEndian.PutUint64(buf[formVersion:], uint64(version))
	binary.LittleEndian.PutUint64(buf[formTime:], uint64(micros))
}

// finish returns the checksum of a form that lacks the data.
func finish(buf, data []byte) uint32 {
	binary.LittleEndian.PutUint32(buf[formLengths+4*5:], uint32(len(data)))
	return crc32.Update(crc32.Checksum(buf, castagnoli), castagnoli, data)
}

// Columns of the statements that read events.
const (
	colPosition = iota
	colKind
	colVersion
	colTime
	colChecksum
	colID
	colHeader
	colData
	colStream // only of a scan
)

// A rowReader decodes the events of one iteration. It makes few allocations:
// data goes into slabs, and the stream IDs of a page are parts of one string.
type rowReader struct {
	stream *evsourcing.StreamID // of all rows; nil: each has its own
	kind   kindName             // of the last row
	number int64                // of that kind; 0: there was none
	form   []byte
	slab   []byte
	grow   int // size of the next slab

	ids   []byte   // stream IDs of the page
	spans [][2]int // where in ids each row's is
}

// Sizes of slabs.
const (
	firstSlab = 1 << 10
	lastSlab  = 64 << 10
)

// read decodes the current row. An event that is damaged is an ErrCorrupt.
func (r *rowReader) read(c *conn, stmt *zsqlite.Stmt, e *evsourcing.StoredEvent) (err error) {
	position, version, micros := stmt.ColumnInt64(colPosition), stmt.ColumnInt64(colVersion), stmt.ColumnInt64(colTime)
	e.Position = uint64(position) // the caller asks, after an error too
	if r.form == nil {
		r.form = make([]byte, formTexts+4*evsourcing.MaxNameSize)
	}
	r.form = r.form[:formTexts]
	putHeader(r.form, position, version, micros)
	stmt.ColumnBytes(colID, r.form[formID:formLengths])
	if kind := stmt.ColumnInt64(colKind); kind != r.number || kind == 0 {
		if r.kind, err = c.kindOf(kind); err != nil {
			return err
		}
		r.number = kind
	}
	r.put(0, r.kind.typ)
	if r.stream != nil {
		e.Stream = *r.stream
		r.put(1, e.Stream.ID)
	} else {
		e.Stream = evsourcing.StreamID{Type: r.kind.typ}
		r.note(r.take(stmt, 1, colStream, evsourcing.MaxNameSize))
	}
	e.Topic, e.ContentType = r.kind.topic, r.kind.contentType
	r.put(2, e.Topic)
	r.put(3, e.ContentType)
	header := r.take(stmt, 4, colHeader, 0)
	e.Data = r.data(stmt)

	e.ID = uuid.UUID(r.form[formID:formLengths])
	e.Version, e.Position = uint64(version), uint64(position)
	e.Time = time.UnixMicro(micros).UTC()
	e.Tags, e.Metadata = nil, nil
	switch {
	case finish(r.form, e.Data) != uint32(stmt.ColumnInt64(colChecksum)):
		return r.damaged(e, "its checksum is wrong")
	case e.Stream.Type != r.kind.typ:
		return r.damaged(e, "it is of the type "+r.kind.typ)
	case len(header) == 0:
		return nil
	}
	tags, metadata, _ := strings.Cut(string(header), "\n")
	if e.Tags, err = engine.ParseTags(tags); err == nil {
		e.Metadata, err = engine.ParseMetadata(metadata)
	}
	if err != nil {
		return r.damaged(e, err.Error())
	}
	return nil
}

func damaged(e *evsourcing.StoredEvent, why string) error {
	return fmt.Errorf("%w: the event at position %d, version %d of %v: %s", ErrCorrupt, e.Position, e.Version, e.Stream, why)
}

// put adds to the form the text with the given place in the header.
func (r *rowReader) put(place int, text string) {
	binary.LittleEndian.PutUint32(r.form[formLengths+4*place:], uint32(len(text)))
	r.form = append(r.form, text...)
}

// take adds to the form what a column has, and returns it. If the length is not
// likely to be more than a maximum, it is not asked for.
func (r *rowReader) take(stmt *zsqlite.Stmt, place, col, most int) []byte {
	start, n := len(r.form), 0
	if most > 0 {
		if cap(r.form)-start <= most {
			r.form = append(r.form, make([]byte, most+1)...)
		}
		n = stmt.ColumnBytes(col, r.form[start:start+most+1])
	}
	if most == 0 || n > most {
		n = stmt.ColumnLen(col)
		if cap(r.form)-start < n {
			r.form = append(r.form[:start], make([]byte, n)...)
		}
		if n > 0 {
			stmt.ColumnBytes(col, r.form[start:start+n])
		}
	}
	r.form = r.form[:start+n]
	binary.LittleEndian.PutUint32(r.form[formLengths+4*place:], uint32(n))
	return r.form[start:]
}

// data returns the event's data as a part of a slab.
func (r *rowReader) data(stmt *zsqlite.Stmt) []byte {
	start, n := len(r.slab), 0
	free := r.slab[start:cap(r.slab)]
	if len(free) > 0 {
		n = stmt.ColumnBytes(colData, free)
	}
	if n == len(free) { // there may be more
		if n = stmt.ColumnLen(colData); n > len(free) {
			r.grow = min(max(2*r.grow, firstSlab), lastSlab)
			r.slab = make([]byte, 0, max(r.grow, n))
			start, free = 0, r.slab[:cap(r.slab)]
			n = stmt.ColumnBytes(colData, free)
		}
	}
	if n == 0 {
		return nil
	}
	r.slab = r.slab[:start+n]
	return r.slab[start : start+n : start+n]
}

// begin begins a page.
func (r *rowReader) begin() { r.ids, r.spans = r.ids[:0], r.spans[:0] }

// note keeps a row's stream ID for name.
func (r *rowReader) note(id []byte) {
	if n := len(r.spans); n > 0 {
		if last := r.spans[n-1]; string(r.ids[last[0]:last[1]]) == string(id) {
			r.spans = append(r.spans, last)
			return
		}
	}
	start := len(r.ids)
	r.ids = append(r.ids, id...)
	r.spans = append(r.spans, [2]int{start, len(r.ids)})
}

// name gives the events of a page their stream IDs.
func (r *rowReader) name(page []evsourcing.StoredEvent) {
	if r.stream != nil {
		return
	}
	ids := string(r.ids)
	for i := range page {
		page[i].Stream.ID = ids[r.spans[i][0]:r.spans[i][1]]
	}
}

// damaged is the error for the current row.
func (r *rowReader) damaged(e *evsourcing.StoredEvent, why string) error {
	if n := len(r.spans); n > 0 {
		e.Stream.ID = string(r.ids[r.spans[n-1][0]:r.spans[n-1][1]])
	}
	return damaged(e, why)
}
