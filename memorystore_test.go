package evsourcing

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What every store promises is tested by storetest. Here is what is particular
// to this one: the places where its blocks, runs, pages and tables end.

// memoryEvent returns an event for an append with AnyVersion.
func memoryEvent(data string) StoredEvent {
	return StoredEvent{ID: uuid.New(), Topic: "topic", Data: []byte(data)}
}

// memoryFill appends n events to the stream, each with its version as data.
func memoryFill(t *testing.T, s *MemoryStore, id StreamID, n int) {
	t.Helper()
	version := 0
	for version < n {
		var events []StoredEvent
		for range min(1000, n-version) {
			version++
			events = append(events, memoryEvent(fmt.Sprint(version)))
		}
		_, err := s.Append(t.Context(), Batch{Stream: id, Expected: AnyVersion, Events: events})
		require.NoError(t, err)
	}
}

func TestMemoryStoreStreamsGrowBeyondEveryRun(t *testing.T) {
	t.Parallel()
	// Runs have 4, 8, 16, ... and in the end 32768 versions; the last of these
	// is the second of that size.
	const n = 65532 + 32768 + 10
	if testing.Short() {
		t.Skip("a hundred thousand events")
	}
	s := NewMemoryStore()
	id := StreamID{Type: "type", ID: "stream"}
	memoryFill(t, s, id, n)
	check := func(r Range, first, last int) {
		t.Helper()
		next := first
		for e, err := range s.Load(t.Context(), id, r) {
			require.NoError(t, err)
			if e.Version != uint64(next) || string(e.Data) != fmt.Sprint(next) {
				t.Fatalf("%+v: got version %d, data %s, want %d", r, e.Version, e.Data, next)
			}
			if r.Backward {
				next--
			} else {
				next++
			}
		}
		if r.Backward {
			require.Equal(t, last-1, next, "%+v", r)
		} else {
			require.Equal(t, last+1, next, "%+v", r)
		}
	}
	check(Range{}, 1, n)
	check(Range{Backward: true}, n, 1)
	for end, run := 0, 4; end < n; run = min(2*run, 32768) {
		end += run
		for v := max(1, end-1); v <= min(end+2, n); v++ {
			check(Range{After: uint64(v) - 1, Limit: 1}, v, v)
			check(Range{Until: uint64(v), Limit: 1, Backward: true}, v, v)
			check(Range{After: uint64(v) - 1, Until: uint64(min(v+5, n))}, v, min(v+5, n))
			check(Range{After: uint64(max(v-5, 0)), Until: uint64(v), Backward: true}, v, max(v-5, 0)+1)
		}
	}
}

func TestMemoryStoreHoldsManyStreams(t *testing.T) {
	t.Parallel()
	n := 20_000 // more than a block of streams, than the first slab, than a part of the index
	if testing.Short() {
		n = 3000
	}
	s := NewMemoryStore()
	name := func(i int) StreamID { return StreamID{Type: fmt.Sprint("type ", i%3), ID: fmt.Sprint(i / 3)} }
	for i := range n {
		_, err := s.Append(t.Context(), Batch{Stream: name(i), Events: []StoredEvent{
			{ID: uuid.New(), Version: 1, Topic: "topic", Data: fmt.Appendf(nil, "%v", name(i))},
		}})
		require.NoError(t, err)
	}
	for i := range n {
		count := 0
		for e, err := range s.Load(t.Context(), name(i), Range{}) {
			if err != nil || name(i).String() != string(e.Data) {
				t.Fatalf("%v has data %q, %v", name(i), e.Data, err)
			}
			count++
		}
		if count != 1 {
			t.Fatalf("%v has %d events", name(i), count)
		}
	}
	i := 0
	for e, err := range s.Events(t.Context(), Range{}, Filter{}) {
		if err != nil || e.Stream != name(i) {
			t.Fatalf("event %d is of %v, %v", i, e.Stream, err)
		}
		i++
	}
	assert.Equal(t, n, i)
}

func TestMemoryStoreTellsLongNamesApart(t *testing.T) {
	t.Parallel()
	s := NewMemoryStore()
	var ids []StreamID
	for _, n := range []int{1, 8, 55, 56, 57, 58, 64, 511, 512} {
		for _, end := range []string{"a", "b", "\xc3\xa4"} { // an umlaut, which may straddle what fits
			if n >= len(end) {
				ids = append(ids, StreamID{Type: "type", ID: strings.Repeat("x", n-len(end)) + end})
			}
		}
		ids = append(ids, StreamID{Type: strings.Repeat("y", n), ID: strings.Repeat("x", n)})
	}
	for round := range 3 {
		for _, id := range ids {
			_, err := s.Append(t.Context(), Batch{Stream: id, Expected: uint64(round), Events: []StoredEvent{
				{ID: uuid.New(), Version: uint64(round) + 1, Topic: "topic", Data: []byte(id.String())},
			}})
			require.NoError(t, err)
		}
	}
	for _, id := range ids {
		count := 0
		for e, err := range s.Load(t.Context(), id, Range{}) {
			require.NoError(t, err)
			require.Equal(t, id, e.Stream)
			require.Equal(t, id.String(), string(e.Data))
			count++
		}
		require.Equal(t, 3, count)
	}
	i := 0
	for e, err := range s.Events(t.Context(), Range{}, Filter{}) {
		require.NoError(t, err)
		require.Equal(t, ids[i%len(ids)], e.Stream)
		i++
	}
	assert.Equal(t, 3*len(ids), i)
}

func TestMemoryStoreChunks(t *testing.T) {
	t.Parallel()
	s := NewMemoryStore()
	id := StreamID{Type: "type", ID: "stream"}
	sizes := []int{
		0, 1, firstChunk - recordHeader - 200, firstChunk - recordHeader, firstChunk, 0, chunkSize - recordHeader, chunkSize,
		1, 3*chunkSize + 7, 1, 0, chunkSize / 2, chunkSize / 2, 5,
	}
	if !testing.Short() {
		sizes = append(sizes, MaxDataSize, 1)
	}
	var payloads []string
	for _, size := range sizes {
		payloads = append(payloads, strings.Repeat(string(rune('a'+len(payloads))), size))
	}
	for _, p := range payloads {
		e := memoryEvent(p)
		e.Tags, e.Metadata = []string{"tag"}, Metadata{"key": "value", "empty": ""}
		_, err := s.Append(t.Context(), Batch{Stream: id, Expected: AnyVersion, Events: []StoredEvent{e}})
		require.NoError(t, err)
	}
	i := 0
	for e, err := range s.Load(t.Context(), id, Range{}) {
		require.NoError(t, err)
		require.True(t, payloads[i] == string(e.Data), "payload %d of %d bytes", i, len(payloads[i]))
		require.Equal(t, []string{"tag"}, e.Tags)
		require.Equal(t, Metadata{"key": "value", "empty": ""}, e.Metadata)
		i++
	}
	assert.Len(t, payloads, i)
}

// Events of one page are decoded into one slice; still each is its receiver's.
func TestMemoryStoreSharesNoData(t *testing.T) {
	t.Parallel()
	s := NewMemoryStore()
	id := StreamID{Type: "type", ID: "stream"}
	memoryFill(t, s, id, 600)
	for range 2 {
		var all []StoredEvent
		for e, err := range s.Load(t.Context(), id, Range{}) {
			require.NoError(t, err)
			all = append(all, e)
		}
		for i := range all {
			require.Equal(t, fmt.Sprint(i+1), string(all[i].Data))
			_ = append(all[i].Data, "overwritten"...)
		}
		for i := range all {
			require.Equal(t, fmt.Sprint(i+1), string(all[i].Data), "an append to another's data")
			clear(all[i].Data)
		}
	}
}

func TestMemoryStoreFilterSkipsManyPages(t *testing.T) {
	t.Parallel()
	s := NewMemoryStore()
	rare := func() {
		_, err := s.Append(t.Context(), Batch{Stream: StreamID{Type: "rare", ID: "1"}, Expected: AnyVersion, Events: []StoredEvent{
			{ID: uuid.New(), Topic: "rare topic"},
		}})
		require.NoError(t, err)
	}
	rare()
	memoryFill(t, s, StreamID{Type: "type", ID: "stream"}, 3*pageScan)
	rare()
	memoryFill(t, s, StreamID{Type: "type", ID: "stream"}, pageScan+pageEvents)
	rare()
	positions := []uint64{1, 3*pageScan + 2, 4*pageScan + pageEvents + 3}
	reversed := slices.Clone(positions)
	slices.Reverse(reversed)
	for _, test := range []struct {
		r    Range
		want []uint64
	}{
		{Range{}, positions}, {Range{Backward: true}, reversed},
		{Range{Limit: 2}, positions[:2]}, {Range{Limit: 2, Backward: true}, reversed[:2]},
		{Range{Limit: 3}, positions}, {Range{Limit: 4}, positions},
		{Range{After: 1}, positions[1:]}, {Range{Until: positions[2] - 1}, positions[:2]},
		{Range{After: 1, Until: positions[2] - 1, Limit: 7}, positions[1:2]},
	} {
		for _, f := range []Filter{{Types: []string{"rare"}}, {Topics: []string{"no topic", "rare topic"}}} {
			var got []uint64
			for e, err := range s.Events(t.Context(), test.r, f) {
				require.NoError(t, err)
				got = append(got, e.Position)
			}
			assert.Equal(t, test.want, got, "%+v %+v", test.r, f)
		}
	}
	for e := range s.Events(t.Context(), Range{}, Filter{Types: []string{"none"}}) {
		t.Errorf("got position %d", e.Position)
	}
}

func TestMemoryStoreReadersSeeOnlyWhatIsThere(t *testing.T) {
	t.Parallel()
	s := NewMemoryStore()
	const streams, n = 4, 1500
	var wg sync.WaitGroup
	for w := range streams {
		wg.Go(func() {
			id := StreamID{Type: "type", ID: strings.Repeat("x", 30*w) + fmt.Sprint(w)} // inline, and not
			for v := range n {
				e := memoryEvent(fmt.Sprint(id.ID, " ", v+1))
				e.Topic = fmt.Sprint("topic ", v) // a new name each
				_, err := s.Append(t.Context(), Batch{Stream: id, Expected: AnyVersion, Events: []StoredEvent{e}})
				assert.NoError(t, err)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for after := uint64(0); after < streams*n; {
				if !assert.NoError(t, s.Wait(t.Context(), after)) {
					return
				}
				for e, err := range s.Events(t.Context(), Range{After: after}, Filter{}) {
					if !assert.NoError(t, err) || !assert.Equal(t, after+1, e.Position) ||
						!assert.Equal(t, fmt.Sprint(e.Stream.ID, " ", e.Version), string(e.Data)) {
						return
					}
					after = e.Position
				}
			}
		})
	}
	wg.Wait()
}

func TestHashIndexWithCollisions(t *testing.T) {
	t.Parallel()
	for name, hash := range map[string]func(n uint64) uint64{
		"all the same":          func(uint64) uint64 { return 1<<63 | 5 },
		"one part":              func(n uint64) uint64 { return n << 8 },
		"one part and one slot": func(n uint64) uint64 { return n << 24 },
		"the table's end":       func(uint64) uint64 { return 1<<64 - 1 },
		"the tag zero":          func(n uint64) uint64 { return n & 0xff },
		"spread":                func(n uint64) uint64 { return n * 0x9e3779b97f4a7c15 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 1000
			var x hashIndex
			_, ok := x.find(hash(1), func(uint64) bool { return true })
			require.False(t, ok, "an empty index")
			for i := uint64(1); i <= n; i++ {
				x.insert(hash(i), i<<28) // numbers may be large
				for _, look := range []uint64{1, i/2 + 1, i} {
					got, ok := x.find(hash(look), func(number uint64) bool { return number == look<<28 })
					require.True(t, ok)
					require.Equal(t, look<<28, got)
				}
			}
			for i := uint64(1); i <= n; i++ {
				_, ok := x.find(hash(i), func(number uint64) bool { return number == i<<28 })
				require.True(t, ok, "after growing")
			}
			_, ok = x.find(hash(1), func(uint64) bool { return false })
			require.False(t, ok)
		})
	}
}

func TestMemoryStreamsWithOneHash(t *testing.T) {
	t.Parallel()
	var m memoryStreams
	var ids []StreamID
	for i := range 300 {
		ids = append(ids, StreamID{Type: fmt.Sprint(i % 2), ID: strings.Repeat("x", i/2)})
	}
	for i, id := range ids {
		_, ok := m.find(7, id)
		require.False(t, ok)
		require.Equal(t, uint32(i)+1, m.add(7, id))
	}
	for i, id := range ids {
		n, ok := m.find(7, id)
		require.True(t, ok)
		require.Equal(t, uint32(i)+1, n)
		require.Equal(t, id, m.id(n))
	}
}

// cursorModel is what a cursor stands for.
func cursorModel(r Range, head uint64) (all []uint64) {
	for v := uint64(1); v <= head; v++ {
		if v > r.After && (r.Until == 0 || v <= r.Until) {
			all = append(all, v)
		}
	}
	if r.Backward {
		slices.Reverse(all)
	}
	if r.Limit > 0 && len(all) > r.Limit {
		all = all[:r.Limit]
	}
	return all
}

func TestCursor(t *testing.T) {
	t.Parallel()
	for head := range uint64(6) {
		for _, after := range []uint64{0, 1, 2, 3, 4, 5, 6, 1<<64 - 1} {
			for _, until := range []uint64{0, 1, 2, 3, 4, 5, 6, 7, 1<<64 - 1} {
				for limit := -1; limit < 7; limit++ {
					for _, backward := range []bool{false, true} {
						r := Range{After: after, Until: until, Limit: limit, Backward: backward}
						var got []uint64
						c := newCursor(r, head)
						for v, ok := c.next(); ok; v, ok = c.next() {
							got = append(got, v)
						}
						require.Equal(t, cursorModel(r, head), got, "%+v, head %d", r, head)
						require.True(t, c.done())
					}
				}
			}
		}
	}
}

// A store of random history agrees with a slice.
func TestMemoryStoreAgreesWithAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := &memoryModel{store: NewMemoryStore(), rand: rand.New(rand.NewPCG(seed, 1)), heads: map[StreamID]uint64{}}
			rounds := 300
			if testing.Short() {
				rounds = 50
			}
			for range rounds {
				m.append(t)
				if m.rand.IntN(4) == 0 {
					m.read(t)
				}
			}
		})
	}
}

type memoryModel struct {
	store   *MemoryStore
	rand    *rand.Rand
	all     []StoredEvent // by position
	heads   map[StreamID]uint64
	appends [][]Batch // that were accepted
}

func (m *memoryModel) stream() StreamID {
	n := m.rand.IntN(12)
	return StreamID{Type: fmt.Sprint("type ", n%3), ID: strings.Repeat("x", 12*n) + fmt.Sprint(n%4)}
}

func (m *memoryModel) event() StoredEvent {
	size := m.rand.IntN(50)
	if m.rand.IntN(20) == 0 {
		size = m.rand.IntN(200_000)
	}
	e := StoredEvent{
		ID:          uuid.UUID{byte(len(m.all)), byte(len(m.all) >> 8), byte(m.rand.Uint32()), byte(m.rand.Uint32()), byte(m.rand.Uint32()), 1},
		Topic:       fmt.Sprint("topic ", m.rand.IntN(5)),
		ContentType: []string{"", "application/json"}[m.rand.IntN(2)],
		Data:        bytes.Repeat([]byte{byte(m.rand.Uint32())}, size),
		Time:        time.Unix(m.rand.Int64N(1<<33)-1<<32, m.rand.Int64N(1e9)),
	}
	for i := range m.rand.IntN(3) {
		e.Tags = append(e.Tags, fmt.Sprint("tag ", i))
		e.Metadata = e.Metadata.With(fmt.Sprint("key ", i), strings.Repeat("v", m.rand.IntN(3)))
	}
	return e
}

func (m *memoryModel) append(t *testing.T) {
	if len(m.appends) > 0 && m.rand.IntN(5) == 0 { // again
		batches := m.appends[m.rand.IntN(len(m.appends))]
		result, err := m.store.Append(t.Context(), batches...)
		require.NoError(t, err)
		require.True(t, result.Repeated)
		last := batches[len(batches)-1]
		at := slices.IndexFunc(m.all, func(e StoredEvent) bool { return e.ID == last.Events[len(last.Events)-1].ID })
		require.Equal(t, m.all[at].Position, result.Position)
		require.Equal(t, m.all[at].Version, result.Versions[len(batches)-1])
		return
	}
	var batches []Batch
	conflict := false
	for range 1 + m.rand.IntN(3) {
		b := Batch{Stream: m.stream(), Expected: AnyVersion}
		if slices.ContainsFunc(batches, func(other Batch) bool { return other.Stream == b.Stream }) {
			continue
		}
		for range 1 + m.rand.IntN(6) {
			b.Events = append(b.Events, m.event())
		}
		if m.rand.IntN(3) > 0 {
			b.Expected = m.heads[b.Stream]
			if m.rand.IntN(8) == 0 {
				b.Expected++
				conflict = true
			}
			for i := range b.Events {
				b.Events[i].Version = b.Expected + uint64(i) + 1
			}
		}
		batches = append(batches, b)
	}
	result, err := m.store.Append(t.Context(), batches...)
	if conflict {
		require.ErrorIs(t, err, ErrConflict)
		return
	}
	require.NoError(t, err)
	require.False(t, result.Repeated)
	for i, b := range batches {
		for _, e := range b.Events {
			m.heads[b.Stream]++
			e.Stream, e.Version, e.Position = b.Stream, m.heads[b.Stream], uint64(len(m.all))+1
			e.Time = e.Time.UTC().Truncate(time.Microsecond)
			m.all = append(m.all, e)
		}
		require.Equal(t, m.heads[b.Stream], result.Versions[i])
	}
	require.Equal(t, uint64(len(m.all)), result.Position)
	m.appends = append(m.appends, batches)
}

func (m *memoryModel) read(t *testing.T) {
	bound := func(n uint64) uint64 { return m.rand.Uint64N(n+3) * m.rand.Uint64N(2) }
	rng := func(head uint64) Range {
		return Range{After: bound(head), Until: bound(head), Limit: int(bound(head)), Backward: m.rand.IntN(2) == 0}
	}
	// pick is Load and Events as the contract has them.
	pick := func(events []StoredEvent, number func(StoredEvent) uint64, r Range, pass func(StoredEvent) bool) (picked []StoredEvent) {
		for _, e := range events {
			if n := number(e); n > r.After && (r.Until == 0 || n <= r.Until) && pass(e) {
				picked = append(picked, e)
			}
		}
		if r.Backward {
			slices.Reverse(picked)
		}
		if r.Limit > 0 {
			picked = picked[:min(r.Limit, len(picked))]
		}
		return picked
	}
	id := m.stream()
	r := rng(m.heads[id])
	want := pick(m.all, func(e StoredEvent) uint64 { return e.Version }, r, func(e StoredEvent) bool { return e.Stream == id })
	got := make([]StoredEvent, 0)
	for e, err := range m.store.Load(t.Context(), id, r) {
		require.NoError(t, err)
		got = append(got, e)
	}
	m.equal(t, want, got, fmt.Sprintf("Load %v %+v", id, r))

	r = rng(uint64(len(m.all)))
	var f Filter
	for range m.rand.IntN(3) {
		f.Topics = append(f.Topics, fmt.Sprint("topic ", m.rand.IntN(6)))
	}
	for range m.rand.IntN(3) {
		f.Types = append(f.Types, fmt.Sprint("type ", m.rand.IntN(4)))
	}
	want = pick(m.all, func(e StoredEvent) uint64 { return e.Position }, r, f.Match)
	got = got[:0]
	for e, err := range m.store.Events(t.Context(), r, f) {
		require.NoError(t, err)
		got = append(got, e)
	}
	m.equal(t, want, got, fmt.Sprintf("Events %+v %+v", r, f))

	head, err := m.store.Head(t.Context())
	require.NoError(t, err)
	if len(m.all) > 0 {
		last := m.all[len(m.all)-1]
		require.Equal(t, Mark{Position: last.Position, EventID: last.ID}, head)
		e := m.all[m.rand.IntN(len(m.all))]
		version, ok, err := m.store.Find(t.Context(), e.Stream, e.ID)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, e.Version, version)
	}
}

func (m *memoryModel) equal(t *testing.T, want, got []StoredEvent, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		w, g := want[i], got[i]
		require.True(t, bytes.Equal(w.Data, g.Data), what)
		w.Data, g.Data = nil, nil
		if !reflect.DeepEqual(w, g) { // require.Equal, but faster
			require.Equal(t, w, g, what)
		}
	}
	require.True(t, slices.IsSortedFunc(got, func(a, b StoredEvent) int { return cmp.Compare(a.Position, b.Position) }) ||
		slices.IsSortedFunc(got, func(a, b StoredEvent) int { return cmp.Compare(b.Position, a.Position) }), what)
}

func TestMemoryStoreNamesTheDuplicate(t *testing.T) {
	t.Parallel()
	s := NewMemoryStore()
	id := StreamID{Type: "type", ID: "stream"}
	e := memoryEvent("")
	_, err := s.Append(t.Context(), Batch{Stream: id, Expected: AnyVersion, Events: []StoredEvent{memoryEvent(""), e}})
	require.NoError(t, err)
	_, err = s.Append(t.Context(), Batch{Stream: StreamID{Type: "type", ID: "other"}, Expected: AnyVersion, Events: []StoredEvent{e}})
	require.ErrorIs(t, err, ErrDuplicateEvent)
	require.NotErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, e.ID.String()+" is stored at version 2 of type/stream")
	require.False(t, errors.Is(err, ErrUncertain))
}
