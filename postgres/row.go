package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

const (
	firstPage = 64      // rows of the first page, whose size nobody knows
	fullPage  = 2048    // rows of a page at most
	growth    = 4       // times as many rows as the last page, at most
	pageBytes = 1 << 20 // about so many bytes of a page, at most
	chunkSize = 1 << 15 // bytes that the data of some events share
)

// A pager reads pages of events.
type pager struct {
	stream evsourcing.StreamID      // of all events; zero if the rows say
	events []evsourcing.StoredEvent // the last page

	rows  int // that the last page might have
	size  int // bytes of the last page
	chunk []byte
	last  evsourcing.StreamID
	names map[string]string // types, topics and content types, of which there are few
}

// limit returns how many rows the next page may have, as far as the last one tells
// how large they are.
func (p *pager) limit() int {
	if p.rows == 0 {
		p.rows = firstPage
		return p.rows
	}
	p.rows = min(fullPage, growth*p.rows)
	if n := len(p.events); n > 0 {
		p.rows = max(1, min(p.rows, pageBytes*n/max(1, p.size)))
	}
	return p.rows
}

// read runs a query for at most limit rows and reads a page. It is not whole if the
// rows were so large that the rest was left for the next page.
func (p *pager) read(ctx context.Context, q querier, limit int, sql string, args ...any) (whole bool, err error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return false, contextError(ctx, err)
	}
	defer rows.Close()
	expect := min(limit, 64)
	if len(p.events) > 0 {
		expect = limit
	}
	p.events, p.size = make([]evsourcing.StoredEvent, 0, expect), 0
	var binaryRows bool
	for rows.Next() {
		if len(p.events) == 0 {
			binaryRows = isBinary(rows)
		}
		if p.size > pageBytes {
			return false, nil // closing reads the rest, and keeps nothing of it
		}
		if len(p.events) == cap(p.events) {
			p.grow(limit)
		}
		p.events = append(p.events, evsourcing.StoredEvent{})
		if err := p.decode(&p.events[len(p.events)-1], rows.RawValues(), binaryRows); err != nil {
			return false, err
		}
	}
	if err := rows.Err(); err != nil {
		return false, contextError(ctx, err)
	}
	return true, nil
}

// grow makes room for four times as many events.
func (p *pager) grow(limit int) {
	events := make([]evsourcing.StoredEvent, len(p.events), min(4*len(p.events), max(limit, len(p.events)+1)))
	copy(events, p.events)
	p.events = events
}

// isBinary reports whether rows come in the binary format, which depends on how the
// pool runs queries.
func isBinary(rows pgx.Rows) bool {
	for _, f := range rows.FieldDescriptions() {
		if f.Format != 1 && f.DataTypeOID != 25 { // texts are the same in both
			return false
		}
	}
	return true
}

// decode makes an event of a row, which is valid until the next one.
func (p *pager) decode(e *evsourcing.StoredEvent, row [][]byte, binaryRow bool) error {
	var err error
	if binaryRow {
		err = p.binary(e, row)
	} else {
		err = p.text(e, row)
	}
	if err != nil {
		return err
	}
	e.Topic, e.ContentType = p.name(row[4]), p.name(row[5])
	e.Stream = p.stream
	if len(row) > 9 {
		if string(row[10]) != p.last.ID {
			p.last.ID = string(row[10])
		}
		e.Stream = evsourcing.StreamID{Type: p.name(row[9]), ID: p.last.ID}
	}
	p.size += len(e.Data) + len(row[7]) + len(row[8])
	if row[7] != nil {
		if e.Tags, err = engine.ParseTags(string(row[7])); err != nil {
			return fmt.Errorf("the event at position %d: %w", e.Position, err)
		}
	}
	if row[8] != nil {
		if e.Metadata, err = engine.ParseMetadata(string(row[8])); err != nil {
			return fmt.Errorf("the event at position %d: %w", e.Position, err)
		}
	}
	return nil
}

var errRow = errors.New("a row of the events table is not as it should be")

func (p *pager) binary(e *evsourcing.StoredEvent, row [][]byte) error {
	if len(row) < 9 || len(row[0]) != 8 || len(row[1]) != 8 || len(row[2]) != 8 || len(row[3]) != 16 {
		return errRow
	}
	e.Position, e.Version = binary.BigEndian.Uint64(row[0]), binary.BigEndian.Uint64(row[1])
	e.Time = time.UnixMicro(int64(binary.BigEndian.Uint64(row[2]))).UTC()
	e.ID = uuid.UUID(row[3])
	e.Data = p.room(len(row[6]))
	copy(e.Data, row[6])
	return nil
}

func (p *pager) text(e *evsourcing.StoredEvent, row [][]byte) error {
	if len(row) < 9 {
		return errRow
	}
	position, err1 := strconv.ParseInt(string(row[0]), 10, 64)
	version, err2 := strconv.ParseInt(string(row[1]), 10, 64)
	micros, err3 := strconv.ParseInt(string(row[2]), 10, 64)
	id, err4 := uuid.ParseBytes(row[3])
	e.Position, e.Version, e.ID, e.Time = uint64(position), uint64(version), id, time.UnixMicro(micros).UTC()
	if !bytes.HasPrefix(row[6], []byte(`\x`)) {
		return fmt.Errorf("%w: the session's bytea_output is escape, and has to be hex", errRow)
	}
	e.Data = p.room(len(row[6])/2 - 1)
	_, err5 := hex.Decode(e.Data, row[6][2:]) // after \x
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return fmt.Errorf("%w: %w", errRow, err)
	}
	return nil
}

// room returns n bytes that nobody else has.
func (p *pager) room(n int) []byte {
	if n > chunkSize/4 {
		return make([]byte, n)
	}
	if n > len(p.chunk) {
		p.chunk = make([]byte, chunkSize)
	}
	data := p.chunk[:n:n]
	p.chunk = p.chunk[n:]
	return data
}

// name returns a string that many events have.
func (p *pager) name(b []byte) string {
	if s, ok := p.names[string(b)]; ok {
		return s
	}
	if p.names == nil || len(p.names) >= 256 {
		p.names = map[string]string{}
	}
	s := string(b)
	p.names[s] = s
	return s
}
