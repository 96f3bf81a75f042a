package bench

import (
	"fmt"
	"testing"
)

// BenchmarkAppend appends one event at a time, by writers with streams of their
// own. The floor of sqlite is one writer, because more of them are no faster.
func BenchmarkAppend(b *testing.B) {
	eachEngine(b, true, func(b *testing.B, e engine) {
		for _, n := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
				s := e.fresh(b, n)
				compare(b, func(b *testing.B) { inserts(b, s.bare, e.floorWriters(n), payload) },
					func(b *testing.B) { appends(b, s.store, n, payload) })
			})
		}
	})
}

// floorWriters returns how many writers the floor has, beside n of the store.
func (e engine) floorWriters(n int) int {
	if e.alone {
		return 1
	}
	return n
}
