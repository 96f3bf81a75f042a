package evsourcing

import (
	"encoding/binary"
	"strings"
)

// memoryStreams is the streams of a MemoryStore: by name, and for each the
// locations of its records.
type memoryStreams struct {
	byName hashIndex        // of stream numbers
	blocks [][]memoryStream // stream n is at n-1; all but the last are full
	count  uint32
	names  memoryNames // stream types, topics, content types
	long   []string    // IDs that don't fit in a memoryStream
	slabs  [][]uint64  // runs of locations; see push
}

// A memoryStream is one stream. It has no pointers.
type memoryStream struct {
	head        uint64
	first, last uint64 // its first and last run, as locations in slabs
	used, size  uint32 // entries of the last run
	typ         uint32 // number of a name
	idLen       uint32 // if beyond inline, id starts with an index in long
	id          [56]byte
	early       [earlyEvents]uint64 // locations of its first records; most streams have no others
}

const (
	streamBlock = 1 << 8
	earlyEvents = 4 // make a memoryStream two cache lines

	firstSlab = 1 << 9
	slabSize  = 1 << 16
	firstRun  = 4
	maxRun    = slabSize / 2
)

// name returns the stream's ID.
func (st *memoryStream) name(long []string) string {
	if int(st.idLen) > len(st.id) {
		return long[binary.LittleEndian.Uint64(st.id[:])]
	}
	return string(st.id[:st.idLen])
}

// named is st.name(long) == id, without making a string.
func (st *memoryStream) named(long []string, id string) bool {
	if int(st.idLen) != len(id) {
		return false
	}
	if len(id) > len(st.id) {
		return st.name(long) == id
	}
	return string(st.id[:st.idLen]) == id
}

func (m *memoryStreams) at(n uint32) *memoryStream {
	return &m.blocks[(n-1)/streamBlock][(n-1)%streamBlock]
}

// id returns the name of the stream with the number.
func (m *memoryStreams) id(n uint32) StreamID {
	st := m.at(n)
	return StreamID{Type: m.names.list[st.typ], ID: st.name(m.long)}
}

func (m *memoryStreams) find(hash uint64, id StreamID) (uint32, bool) {
	n, ok := m.byName.find(hash, func(n uint64) bool {
		st := m.at(uint32(n))
		return st.named(m.long, id.ID) && m.names.list[st.typ] == id.Type
	})
	return uint32(n), ok
}

func (m *memoryStreams) add(hash uint64, id StreamID) uint32 {
	if m.count%streamBlock == 0 {
		m.blocks = append(m.blocks, make([]memoryStream, streamBlock))
	}
	m.count++
	st := m.at(m.count)
	st.typ = m.names.number(id.Type)
	st.idLen = uint32(len(id.ID))
	if len(id.ID) > len(st.id) {
		binary.LittleEndian.PutUint64(st.id[:], uint64(len(m.long)))
		m.long = append(m.long, strings.Clone(id.ID))
	} else {
		copy(st.id[:], id.ID)
	}
	m.byName.insert(hash, uint64(m.count))
	return m.count
}

// push adds the location of the stream's next record. Those after the first few
// stand in runs: each starts with the location of the next run, and each is twice as
// long as the one before, up to maxRun, so that a stream of n events has about
// log n + n/maxRun of them.
func (m *memoryStreams) push(st *memoryStream, loc uint64) {
	if st.head < earlyEvents {
		st.early[st.head] = loc
		st.head++
		return
	}
	if st.used == st.size {
		size := uint32(firstRun)
		if st.size > 0 {
			size = min(2*st.size, maxRun)
		}
		run := m.allocate(int(size) + 1)
		if st.size > 0 {
			*m.word(st.last) = run
		} else {
			st.first = run
		}
		st.last, st.used, st.size = run, 0, size
	}
	st.used++
	*m.word(st.last + uint64(st.used)) = loc
	st.head++
}

func (m *memoryStreams) word(loc uint64) *uint64 {
	return &m.slabs[loc>>32][uint32(loc)]
}

func (m *memoryStreams) allocate(words int) uint64 {
	last := len(m.slabs) - 1
	if last < 0 || cap(m.slabs[last])-len(m.slabs[last]) < words {
		next := firstSlab
		if last >= 0 {
			next = min(2*cap(m.slabs[last]), slabSize)
		}
		m.slabs = append(m.slabs, make([]uint64, 0, max(next, words)))
		last++
	}
	n := len(m.slabs[last])
	m.slabs[last] = m.slabs[last][:n+words]
	return uint64(last)<<32 | uint64(n)
}

// run returns the run of the stream that has the given version, and the version
// before the run's first.
func (m *memoryStreams) run(st *memoryStream, version uint64) (run, before, size uint64) {
	run, before, size = st.first, earlyEvents, firstRun
	for version > before+size {
		before += size
		size = min(2*size, maxRun)
		run = *m.word(run)
	}
	return run, before, size
}

// collect adds the stream's records under the cursor to the page.
func (m *memoryStreams) collect(p *memoryPage, log *memoryLog, st *memoryStream, c *cursor) {
	var run, before, size uint64
	for {
		v, ok := c.next()
		if !ok {
			break
		}
		var loc uint64
		if v <= earlyEvents {
			loc = st.early[v-1]
		} else {
			if v <= before || v > before+size {
				run, before, size = m.run(st, v)
			}
			loc = *m.word(run + v - before)
		}
		if p.add(log.record(loc)) {
			break
		}
	}
	p.done = c.done()
}

// memoryNames numbers strings of which there are few.
type memoryNames struct {
	numbers map[string]uint32
	list    []string
}

func (m *memoryNames) number(s string) uint32 {
	n, ok := m.numbers[s]
	if !ok {
		if m.numbers == nil {
			m.numbers = map[string]uint32{}
		}
		s = strings.Clone(s)
		n = uint32(len(m.list))
		m.numbers[s] = n
		m.list = append(m.list, s)
	}
	return n
}

// set returns the numbers of those names that have one, or nil for no names.
func (m *memoryNames) set(names []string) map[uint32]bool {
	if len(names) == 0 {
		return nil
	}
	set := make(map[uint32]bool, len(names))
	for _, s := range names {
		if n, ok := m.numbers[s]; ok {
			set[n] = true
		}
	}
	return set
}

// hashIndex maps hashes to numbers below 2^40, not 0: an open-addressing table
// without pointers, split so that growing one part never takes long. It has no
// deletion, and whoever looks up says which of the candidates it meant.
type hashIndex struct {
	parts [256]struct {
		slots []uint64 // 24 bits of hash, 40 bits of number; 0 if empty
		used  int
	}
}

const numberBits = 40

func (x *hashIndex) find(hash uint64, is func(number uint64) bool) (uint64, bool) {
	part := &x.parts[hash&0xff]
	if len(part.slots) == 0 {
		return 0, false
	}
	tag := hash >> 8 & (1<<24 - 1)
	mask := uint64(len(part.slots) - 1)
	for i := tag & mask; part.slots[i] != 0; i = (i + 1) & mask {
		if part.slots[i]>>numberBits == tag {
			if n := part.slots[i] & (1<<numberBits - 1); is(n) {
				return n, true
			}
		}
	}
	return 0, false
}

func (x *hashIndex) insert(hash, number uint64) {
	part := &x.parts[hash&0xff]
	if 4*part.used >= 3*len(part.slots) {
		old := part.slots
		part.slots = make([]uint64, max(8, 2*len(old)))
		for _, slot := range old {
			if slot != 0 {
				place(part.slots, slot)
			}
		}
	}
	part.used++
	place(part.slots, hash>>8&(1<<24-1)<<numberBits|number)
}

func place(slots []uint64, slot uint64) {
	mask := uint64(len(slots) - 1)
	i := slot >> numberBits & mask
	for slots[i] != 0 {
		i = (i + 1) & mask
	}
	slots[i] = slot
}
