package evsourcing

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// memoryLog is the events of a MemoryStore in their global order: records in
// chunks of bytes, which are never moved or changed, and where each record is.
type memoryLog struct {
	chunks [][]byte
	blocks [][]uint64 // locations of the records; all but the last have logBlock entries
	count  uint64     // the last position; positions have no gaps
}

const (
	firstChunk = 4 << 10
	chunkSize  = 1 << 20
	logBlock   = 1 << 10
)

// A memoryRecord is an encoded event: a header of fixed size, the data, and
// tags and metadata if there are any.
type memoryRecord []byte

// Offsets in a record's header.
const (
	recordID       = 0  // 16 bytes
	recordVersion  = 16 // 8
	recordPosition = 24 // 8
	recordTime     = 32 // 8, microseconds
	recordStream   = 40 // 4, its number
	recordTopic    = 44 // 4, number of a name
	recordType     = 48 // 4, likewise: content type
	recordData     = 52 // 4, length of the data
	recordExtra    = 56 // 4, length of tags and metadata
	recordHeader   = 60
)

func (r memoryRecord) id() uuid.UUID    { return uuid.UUID(r[recordID : recordID+16]) }
func (r memoryRecord) version() uint64  { return binary.LittleEndian.Uint64(r[recordVersion:]) }
func (r memoryRecord) position() uint64 { return binary.LittleEndian.Uint64(r[recordPosition:]) }
func (r memoryRecord) time() time.Time {
	return time.UnixMicro(int64(binary.LittleEndian.Uint64(r[recordTime:]))).UTC()
}
func (r memoryRecord) stream() uint32      { return binary.LittleEndian.Uint32(r[recordStream:]) }
func (r memoryRecord) topic() uint32       { return binary.LittleEndian.Uint32(r[recordTopic:]) }
func (r memoryRecord) contentType() uint32 { return binary.LittleEndian.Uint32(r[recordType:]) }
func (r memoryRecord) dataLen() int        { return int(binary.LittleEndian.Uint32(r[recordData:])) }
func (r memoryRecord) extraLen() int       { return int(binary.LittleEndian.Uint32(r[recordExtra:])) }
func (r memoryRecord) data() []byte        { return r[recordHeader : recordHeader+r.dataLen()] }
func (r memoryRecord) extra() []byte {
	start := recordHeader + r.dataLen()
	return r[start : start+r.extraLen()]
}

// record returns the record at a location, and what follows it in its chunk.
func (l *memoryLog) record(loc uint64) memoryRecord {
	return l.chunks[loc>>32][uint32(loc):]
}

// at returns the record at a position.
func (l *memoryLog) at(pos uint64) memoryRecord {
	return l.record(l.blocks[(pos-1)/logBlock][(pos-1)%logBlock])
}

// append encodes e at the end, as the given version of the stream with the
// number, and returns where.
func (l *memoryLog) append(names *memoryNames, e *StoredEvent, stream uint32, version uint64) uint64 {
	extra := extraSize(e)
	size := recordHeader + len(e.Data) + extra
	last := len(l.chunks) - 1
	if last < 0 || cap(l.chunks[last])-len(l.chunks[last]) < size {
		next := firstChunk
		if last >= 0 {
			next = min(2*cap(l.chunks[last]), chunkSize)
		}
		l.chunks = append(l.chunks, make([]byte, 0, max(next, size)))
		last++
	}
	l.count++
	c := l.chunks[last]
	loc := uint64(last)<<32 | uint64(len(c))

	c = append(c, e.ID[:]...)
	c = binary.LittleEndian.AppendUint64(c, version)
	c = binary.LittleEndian.AppendUint64(c, l.count)
	c = binary.LittleEndian.AppendUint64(c, uint64(e.Time.UnixMicro()))
	c = binary.LittleEndian.AppendUint32(c, stream)
	c = binary.LittleEndian.AppendUint32(c, names.number(e.Topic))
	c = binary.LittleEndian.AppendUint32(c, names.number(e.ContentType))
	c = binary.LittleEndian.AppendUint32(c, uint32(len(e.Data)))
	c = binary.LittleEndian.AppendUint32(c, uint32(extra))
	c = append(c, e.Data...)
	if extra > 0 {
		c = appendExtra(c, e)
	}
	l.chunks[last] = c

	if (l.count-1)%logBlock == 0 {
		l.blocks = append(l.blocks, make([]uint64, 0, logBlock))
	}
	b := &l.blocks[len(l.blocks)-1]
	*b = append(*b, loc)
	return loc
}

// Tags and metadata are encoded as the number of tags, the tags, and then pairs
// of keys and values up to the end; each string after its length. All numbers
// have four bytes.

func extraSize(e *StoredEvent) int {
	if len(e.Tags) == 0 && len(e.Metadata) == 0 {
		return 0
	}
	size := 4
	for _, tag := range e.Tags {
		size += 4 + len(tag)
	}
	for k, v := range e.Metadata {
		size += 8 + len(k) + len(v)
	}
	return size
}

func appendExtra(c []byte, e *StoredEvent) []byte {
	str := func(s string) {
		c = binary.LittleEndian.AppendUint32(c, uint32(len(s)))
		c = append(c, s...)
	}
	c = binary.LittleEndian.AppendUint32(c, uint32(len(e.Tags)))
	for _, tag := range e.Tags {
		str(tag)
	}
	for k, v := range e.Metadata {
		str(k)
		str(v)
	}
	return c
}

// decodeExtra is the inverse of appendExtra; the strings are parts of s.
func decodeExtra(s string, e *StoredEvent) {
	length := func() int {
		n := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		s = s[4:]
		return int(n)
	}
	str := func() string {
		n := length()
		v := s[:n]
		s = s[n:]
		return v
	}
	if n := length(); n > 0 {
		e.Tags = make([]string, n)
		for i := range e.Tags {
			e.Tags[i] = str()
		}
	}
	for len(s) > 0 {
		if e.Metadata == nil {
			e.Metadata = make(Metadata, 2)
		}
		k := str()
		e.Metadata[k] = str()
	}
}

// collect adds the records under the cursor that the sets let pass to the page.
func (l *memoryLog) collect(p *memoryPage, streams *memoryStreams, topics, types map[uint32]bool, c *cursor) {
	for range pageScan {
		pos, ok := c.next()
		if !ok {
			p.done = true
			return
		}
		rec := l.at(pos)
		if topics != nil && !topics[rec.topic()] {
			continue
		}
		st := streams.at(rec.stream())
		if types != nil && !types[st.typ] {
			continue
		}
		p.origins = append(p.origins, st)
		if p.add(rec) {
			break
		}
	}
	p.done = c.done()
}
