package evsourcing

// Bounds of what one page holds, and of what is read under one lock.
const (
	pageEvents = 256
	pageBytes  = 64 << 10
	pageScan   = 4096
)

// memoryPage is a page of records, read under the store's lock and decoded
// outside it; the records themselves never change.
type memoryPage struct {
	records []memoryRecord
	size    int  // bytes of their data
	limit   int  // records at most, if positive
	done    bool // there is no page after this one

	names   []string        // the store's, by number
	long    []string        // likewise
	stream  StreamID        // of all events, or
	origins []*memoryStream // of each one

	data []byte // a copy of all records' data, for the caller
}

// reset empties the page for at most n records.
func (p *memoryPage) reset(n uint64) {
	if p.records == nil {
		p.records = make([]memoryRecord, 0, min(n, pageEvents))
	}
	p.records, p.origins = p.records[:0], p.origins[:0]
	p.size, p.done = 0, false
}

// add takes a record in, and reports whether the page is full.
func (p *memoryPage) add(rec memoryRecord) bool {
	p.records = append(p.records, rec)
	p.size += rec.dataLen()
	return len(p.records) == pageEvents || p.size >= pageBytes || len(p.records) == p.limit
}

// event decodes the record with index i. It is called once for each, in order:
// the data of a page's events are parts of one slice.
func (p *memoryPage) event(i int) StoredEvent {
	rec := p.records[i]
	start := len(p.data)
	p.data = append(p.data, rec.data()...)
	e := StoredEvent{
		ID:          rec.id(),
		Stream:      p.stream,
		Version:     rec.version(),
		Position:    rec.position(),
		Topic:       p.names[rec.topic()],
		ContentType: p.names[rec.contentType()],
		Data:        p.data[start:len(p.data):len(p.data)],
		Time:        rec.time(),
	}
	if len(p.origins) > 0 {
		st := p.origins[i]
		e.Stream = StreamID{Type: p.names[st.typ], ID: st.name(p.long)}
	}
	if rec.extraLen() > 0 {
		decodeExtra(string(rec.extra()), &e)
	}
	return e
}

// cursor walks through a range of versions or positions that has no gaps.
type cursor struct {
	low, high uint64 // what remains, both inclusive
	backward  bool
}

func newCursor(r Range, head uint64) cursor {
	c := cursor{low: r.After + 1, high: head, backward: r.Backward}
	if r.After >= head {
		c.end()
		return c
	}
	if r.Until != 0 {
		c.high = min(c.high, r.Until)
	}
	if n := uint64(max(r.Limit, 0)); n > 0 && c.low <= c.high && c.high-c.low >= n {
		if c.backward {
			c.low = c.high - n + 1
		} else {
			c.high = c.low + n - 1
		}
	}
	return c
}

func (c *cursor) end()       { c.low, c.high = 1, 0 }
func (c *cursor) done() bool { return c.low > c.high }

// left returns how many next will yield.
func (c *cursor) left() uint64 {
	if c.done() {
		return 0
	}
	return c.high - c.low + 1
}

func (c *cursor) next() (n uint64, ok bool) {
	switch {
	case c.done():
		return 0, false
	case c.backward:
		c.high--
		return c.high + 1, true
	default:
		c.low++
		return c.low - 1, true
	}
}
