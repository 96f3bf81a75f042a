package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// BenchmarkPayload appends events of different sizes, by one writer, and loads a
// stream of ten of them. The floors are those of [BenchmarkAppend] and
// [BenchmarkRead]. In memory it goes through a repository, where the floor is to
// encode and to decode as much JSON.
func BenchmarkPayload(b *testing.B) {
	const length = 10
	id := evsourcing.StreamID{Type: "flight", ID: "one"}
	eachEngine(b, true, func(b *testing.B, e engine) {
		for _, size := range []int{100, 1 << 10, 10 << 10, 100 << 10} {
			event := remarked{strings.Repeat("x", size-len(`{"text":""}`))}
			data, err := json.Marshal(event)
			if err != nil || len(data) != size {
				b.Fatal(len(data), err)
			}
			b.Run(fmt.Sprintf("op=append/bytes=%d", size), func(b *testing.B) {
				if e.name == "memory" {
					compare(b, func(b *testing.B) { bareSaves(b, evsourcing.JSON{}, event) },
						func(b *testing.B) { saves(b, newRepository(evsourcing.NewMemoryStore(), nil), event) })
					return
				}
				s := e.fresh(b, 1)
				compare(b, func(b *testing.B) { inserts(b, s.bare, 1, data) }, func(b *testing.B) { appends(b, s.store, 1, data) })
			})
			b.Run(fmt.Sprintf("op=load/bytes=%d", size), func(b *testing.B) {
				s := e.fresh(b, 1)
				if e.name == "memory" {
					repo := newRepository(s.store, nil)
					fill(b, repo, id.ID, length, event)
					compare(b, func(b *testing.B) { unmarshals[remarked](b, evsourcing.JSON{}, data, length) },
						func(b *testing.B) { loads(b, repo, id.ID, length) })
					return
				}
				fillStream(b, s.store, id, length, bytes.Clone(data))
				compare(b, func(b *testing.B) { bareLoads(b, s.bare, id, length) }, func(b *testing.B) { streamLoads(b, s.store, id, length) })
			})
		}
	})
}

// unmarshals decodes the data n times an operation.
func unmarshals[T any](b *testing.B, enc evsourcing.Encoder, data []byte, n int) {
	for b.Loop() {
		for range n {
			var e T
			if err := enc.Unmarshal(data, &e); err != nil {
				b.Fatal(err)
			}
		}
	}
	many(b, n)
}
