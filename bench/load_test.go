package bench

import (
	"fmt"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// lengths returns the lengths of streams, in powers of ten up to most; with -short,
// up to 1,000.
func lengths(most int) (list []int) {
	for n := 1; n <= faulttest.Scale(min(most, 1000), most, most); n *= 10 {
		list = append(list, n)
	}
	return list
}

// BenchmarkLoad loads an aggregate of some events, by a repository. The floor is
// to read the rows by the driver, and to decode the payloads by json.Unmarshal; in
// memory, to decode alone.
func BenchmarkLoad(b *testing.B) {
	eachEngine(b, true, func(b *testing.B, e engine) {
		for _, n := range lengths(1e5) {
			b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
				id := evsourcing.StreamID{Type: "flight", ID: "one"}
				s := e.kept(b, fmt.Sprint("length-", n), func(s store) { fillStream(b, s, id, n, payload) })
				compare(b, func(b *testing.B) {
					warm(b, s.bare)
					if e.name == "memory" {
						unmarshals[landed](b, evsourcing.JSON{}, payload, n)
						return
					}
					for b.Loop() {
						count := 0
						check(b, s.bare.load(b.Context(), id, func(data []byte) {
							decodeTimes(b, data, 1)
							count++
						}), count, n)
					}
					many(b, n)
				}, func(b *testing.B) { loads(b, newRepository(s.store, nil), id.ID, n) })
			})
		}
	})
}

// BenchmarkRead reads events from a store, and decodes no payload: a stream of
// 1,000 whose events lie together or far apart, the whole log, and the log by a
// filter. The floor is the driver, reading the same rows; of the filtered ones,
// all rows.
func BenchmarkRead(b *testing.B) {
	const length, streams = 1000, 100
	eachEngine(b, true, func(b *testing.B, e engine) {
		together := evsourcing.StreamID{Type: "flight", ID: "together"}
		open := func(b *testing.B) bed {
			return e.kept(b, "read", func(s store) {
				fillMixed(b, s, streams, length)
				fillStream(b, s, together, length, payload)
			})
		}
		for _, c := range []struct {
			name string
			id   evsourcing.StreamID
		}{{"together", together}, {"apart", streamID(7)}} {
			b.Run("stream="+c.name, func(b *testing.B) {
				s := open(b)
				compare(b, func(b *testing.B) { bareLoads(b, s.bare, c.id, length) }, func(b *testing.B) { streamLoads(b, s.store, c.id, length) })
			})
		}
		all := (streams + 1) * length
		for _, c := range []struct {
			name   string
			filter evsourcing.Filter
			want   int
		}{
			{"all", evsourcing.Filter{}, all},
			{"topic", evsourcing.Filter{Topics: []string{"flight.landed"}}, all},
			{"nothing", evsourcing.Filter{Topics: []string{"flight.other"}}, 0},
		} {
			b.Run("log="+c.name, func(b *testing.B) {
				s := open(b)
				compare(b, func(b *testing.B) { bareScans(b, s.bare, all) }, func(b *testing.B) {
					for b.Loop() {
						n := 0
						for _, err := range s.store.Events(b.Context(), evsourcing.Range{}, c.filter) {
							if err != nil {
								b.Fatal(err)
							}
							n++
						}
						check(b, nil, n, c.want)
					}
					many(b, all)
				})
			})
		}
	})
}

func streamLoads(b *testing.B, s store, id evsourcing.StreamID, n int) {
	countStream(b, s, id, n)
	for b.Loop() {
		countStream(b, s, id, n)
	}
	many(b, n)
}

func countStream(b *testing.B, s store, id evsourcing.StreamID, want int) {
	n := 0
	for _, err := range s.Load(b.Context(), id, evsourcing.Range{}) {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	check(b, nil, n, want)
}

func bareLoads(b *testing.B, s bare, id evsourcing.StreamID, n int) {
	warm(b, s)
	for b.Loop() {
		countRows(b, n, func(f func([]byte)) error { return s.load(b.Context(), id, f) })
	}
	many(b, n)
}

// warm does once what the driver does at first: it connects, and prepares.
func warm(b *testing.B, s bare) {
	countRows(b, 0, func(f func([]byte)) error {
		return s.load(b.Context(), evsourcing.StreamID{Type: "flight", ID: "nothing"}, f)
	})
}

func bareScans(b *testing.B, s bare, n int) {
	warm(b, s)
	for b.Loop() {
		countRows(b, n, func(f func([]byte)) error { return s.scan(b.Context(), f) })
	}
	many(b, n)
}

func countRows(b *testing.B, want int, read func(f func(data []byte)) error) {
	n := 0
	err := read(func([]byte) { n++ })
	check(b, err, n, want)
}

// check ends the benchmark unless there are as many as wanted.
func check(b *testing.B, err error, n, want int) {
	if err != nil || n != want {
		b.Fatalf("%d events, want %d (error: %v)", n, want, err)
	}
}
