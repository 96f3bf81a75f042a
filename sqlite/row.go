package sqlite

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/maphash"
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
	formLengths  = 40 // of type, stream, topic, content type, tags, metadata, data; four bytes each
	formTexts    = formLengths + 7*4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of an event that is about to be stored, using
// buf, which it returns.
func checksum(buf []byte, e *evsourcing.StoredEvent, h *engine.Header, position, version, micros int64) (uint32, []byte) {
	buf = append(buf[:0], make([]byte, formTexts)...)
	putHeader(buf, position, version, micros)
	copy(buf[formID:], e.ID[:])
	for i, text := range [...]string{e.Stream.Type, e.Stream.ID, e.Topic, e.ContentType, h.Tags, h.Metadata} {
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
	binary.LittleEndian.PutUint32(buf[formLengths+4*6:], uint32(len(data)))
	return crc32.Update(crc32.Checksum(buf, castagnoli), castagnoli, data)
}

// Columns of the statements that read events.
const (
	colPosition = iota
	colVersion
	colTime
	colChecksum
	colID
	colTopic
	colContentType
	colTags
	colMetadata
	colData
	colType // only of a scan
	colStream
)

// A rowReader decodes the events of one iteration. It makes few allocations:
// data goes into slabs, and a text that was seen lately is used again.
type rowReader struct {
	stream *evsourcing.StreamID // of all rows; nil: each has its own
	form   []byte
	slab   []byte
	grow   int // size of the next slab
	texts  texts
}

// Sizes of slabs.
const (
	firstSlab = 1 << 10
	lastSlab  = 64 << 10
)

// read decodes the current row. An event that is damaged is an ErrCorrupt.
func (r *rowReader) read(stmt *zsqlite.Stmt, e *evsourcing.StoredEvent) error {
	position, version, micros := stmt.ColumnInt64(colPosition), stmt.ColumnInt64(colVersion), stmt.ColumnInt64(colTime)
	if r.form == nil {
		r.form = make([]byte, formTexts+4*evsourcing.MaxNameSize)
	}
	putHeader(r.form, position, version, micros)
	stmt.ColumnBytes(colID, r.form[formID:formID+16])
	r.form = r.form[:formTexts]
	if r.stream != nil {
		r.known(0, r.stream.Type)
		r.known(1, r.stream.ID)
		e.Stream = *r.stream
	} else {
		e.Stream.Type = r.texts.intern(0, r.column(stmt, 0, colType))
		e.Stream.ID = r.texts.intern(1, r.column(stmt, 1, colStream))
	}
	e.Topic = r.texts.intern(2, r.column(stmt, 2, colTopic))
	e.ContentType = r.texts.intern(3, r.column(stmt, 3, colContentType))
	tags := len(r.form)
	metadata := tags + len(r.column(stmt, 4, colTags))
	r.column(stmt, 5, colMetadata)
	e.Data = r.data(stmt)

	e.ID = uuid.UUID(r.form[formID : formID+16])
	e.Version, e.Position = uint64(version), uint64(position)
	e.Time = time.UnixMicro(micros).UTC()
	e.Tags, e.Metadata = nil, nil
	if finish(r.form, e.Data) != uint32(stmt.ColumnInt64(colChecksum)) {
		return damaged(e, "its checksum is wrong")
	}
	if len(r.form) == tags {
		return nil
	}
	var err error
	if e.Tags, err = engine.ParseTags(string(r.form[tags:metadata])); err != nil {
		return damaged(e, err.Error())
	}
	if e.Metadata, err = engine.ParseMetadata(string(r.form[metadata:])); err != nil {
		return damaged(e, err.Error())
	}
	return nil
}

func damaged(e *evsourcing.StoredEvent, why string) error {
	return fmt.Errorf("%w: the event at position %d, version %d of %v: %s", ErrCorrupt, e.Position, e.Version, e.Stream, why)
}

// known adds to the form the text with the given place in the header.
func (r *rowReader) known(place int, text string) {
	binary.LittleEndian.PutUint32(r.form[formLengths+4*place:], uint32(len(text)))
	r.form = append(r.form, text...)
}

// column adds to the form what a column has, and returns it.
func (r *rowReader) column(stmt *zsqlite.Stmt, place, col int) []byte {
	n := stmt.ColumnLen(col)
	binary.LittleEndian.PutUint32(r.form[formLengths+4*place:], uint32(n))
	if n == 0 {
		return nil
	}
	start := len(r.form)
	if cap(r.form)-start < n {
		r.form = append(r.form, make([]byte, n)...)
	}
	r.form = r.form[:start+n]
	stmt.ColumnBytes(col, r.form[start:])
	return r.form[start:]
}

// data returns the event's data as a part of a slab.
func (r *rowReader) data(stmt *zsqlite.Stmt) []byte {
	n := stmt.ColumnLen(colData)
	if n == 0 {
		return nil
	}
	if cap(r.slab)-len(r.slab) < n {
		r.grow = min(max(2*r.grow, firstSlab), lastSlab)
		r.slab = make([]byte, 0, max(r.grow, n))
	}
	start := len(r.slab)
	r.slab = r.slab[:start+n]
	stmt.ColumnBytes(colData, r.slab[start:])
	return r.slab[start : start+n : start+n]
}

// texts has the texts of the last row, and of some before it.
type texts struct {
	last  [4]string
	table []string
}

var textSeed = maphash.MakeSeed()

// intern returns b as a string, which is kept for the given place in a row.
func (t *texts) intern(place int, b []byte) string {
	if t.last[place] == string(b) {
		return t.last[place]
	}
	const size = 256
	if t.table == nil {
		t.table = make([]string, size)
	}
	s := &t.table[maphash.Bytes(textSeed, b)%size]
	if *s != string(b) {
		*s = string(b)
	}
	t.last[place] = *s
	return *s
}
