package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// scales returns how many events there are in the stores of different sizes: with
// -short 10,000, up to a million by default, and to ten million with
// EVSOURCING_FULL=1.
func scales() (list []int) {
	for n := 10_000; n <= faulttest.Scale(1e4, 1e6, 1e7); n *= 10 {
		list = append(list, n)
	}
	return list
}

// BenchmarkScale appends to, loads from and reads stores of different sizes, which
// have streams of 20 events each that lie apart: what an operation costs must not
// depend on how much there is. Appending is by 64 writers, in memory by one. The
// floors are those of [BenchmarkAppend], by one writer into an empty table in the
// durable engines, and [BenchmarkRead], of the same rows.
func BenchmarkScale(b *testing.B) {
	const length = 20
	eachEngine(b, true, func(b *testing.B, e engine) {
		for _, events := range scales() {
			b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
				streams := events / length
				open := func(b *testing.B) bed {
					return e.kept(b, fmt.Sprint("scale-", events), func(s store) { fillMixed(b, s, streams, length) })
				}
				b.Run("op=load", func(b *testing.B) {
					s := open(b)
					compare(b, func(b *testing.B) {
						warm(b, s.bare)
						for b.Loop() {
							countRows(b, length, func(f func([]byte)) error { return s.bare.load(b.Context(), streamID(rand.N(streams)), f) })
						}
						many(b, length)
					}, func(b *testing.B) {
						for b.Loop() {
							countStream(b, s.store, streamID(rand.N(streams)), length)
						}
						many(b, length)
					})
				})
				b.Run("op=read", func(b *testing.B) {
					s := open(b)
					compare(b, func(b *testing.B) { scans(b, s.bare) }, func(b *testing.B) { reads(b, s.store) })
				})
				b.Run("op=append", func(b *testing.B) {
					s := open(b)
					n := 64
					if e.name == "memory" {
						n = 1
					}
					empty := e.kept(b, "empty", func(store) {})
					compare(b, func(b *testing.B) { inserts(b, empty.bare, 1, payload) }, func(b *testing.B) { appends(b, s.store, n, payload) })
				})
			})
		}
	})
}

// scans reads the whole log by the driver. It has grown in an earlier round.
func scans(b *testing.B, s bare) {
	warm(b, s)
	n := 0
	for b.Loop() {
		n = 0
		if err := s.scan(b.Context(), func([]byte) { n++ }); err != nil {
			b.Fatal(err)
		}
	}
	many(b, n)
}

// reads reads the whole log, and reports the most memory that the heap had
// meanwhile.
func reads(b *testing.B, log evsourcing.Log) {
	runtime.GC()
	var m runtime.MemStats
	peak, n := uint64(0), 0
	for b.Loop() {
		n = 0
		for _, err := range log.Events(b.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n%10_000 == 0 {
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}
	many(b, n)
	b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MiB")
}

// BenchmarkScaleStreams appends an event to a random one of many streams in memory.
// The floor is a Go map of as many counters, which shows what a random access
// costs.
func BenchmarkScaleStreams(b *testing.B) {
	for _, n := range lengths(1e6) {
		if n < 1000 {
			continue
		}
		b.Run(fmt.Sprintf("streams=%d", n), func(b *testing.B) {
			name := func(i int) string { return fmt.Sprintf("%036d", i) }
			compare(b, func(b *testing.B) {
				heads := map[string]*uint64{}
				for i := range n {
					heads[name(i)] = new(uint64)
				}
				for b.Loop() {
					*heads[name(rand.N(n))]++
				}
			}, func(b *testing.B) {
				s := evsourcing.NewMemoryStore()
				add := func(i int) {
					batch := evsourcing.Batch{
						Stream: evsourcing.StreamID{Type: "flight", ID: name(i)}, Expected: evsourcing.AnyVersion,
						Events: []evsourcing.StoredEvent{newEvent(0, payload)},
					}
					if _, err := s.Append(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
				for i := range n {
					add(i)
				}
				for b.Loop() {
					add(rand.N(n))
				}
			})
		})
	}
}
