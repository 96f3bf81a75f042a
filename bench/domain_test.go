package bench

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// flight is an aggregate with the three-field event that most figures are for.
type flight struct {
	evsourcing.Base
	Airport string
	Delay   int
	Count   int
}

type landed struct {
	Airport string `json:"airport"`
	From    string `json:"from"`
	Delay   int    `json:"delay"`
}

func (landed) Topic() string { return "flight.landed" }

func (e landed) ApplyTo(f *flight) {
	f.Airport = e.Airport
	f.Delay += e.Delay
	f.Count++
}

// departed is an event that a filtered subscription wants: one in a hundred.
type departed struct {
	Airport string `json:"airport"`
}

func (departed) Topic() string     { return "flight.departed" }
func (departed) ApplyTo(f *flight) { f.Count++ }

// remarked is an event of any size.
type remarked struct {
	Text string `json:"text"`
}

func (remarked) Topic() string     { return "flight.remarked" }
func (remarked) ApplyTo(f *flight) { f.Count++ }

var (
	landing = landed{Airport: "CDG", From: "JFK", Delay: 12}
	// payload is landing as the engines store it.
	payload = []byte(`{"airport":"CDG","from":"JFK","delay":12}`)
)

func newRegistry() *evsourcing.Registry {
	return evsourcing.NewRegistry(landed{}, departed{}, remarked{})
}

func newRepository(store evsourcing.EventStore, opts *evsourcing.RepositoryOptions) *evsourcing.Repository[flight] {
	return evsourcing.NewRepository[flight]("flight", store, newRegistry(), opts)
}

// fill saves n events into the stream, in batches.
func fill(tb testing.TB, repo *evsourcing.Repository[flight], id string, n int, e evsourcing.EventOf[*flight]) *flight {
	tb.Helper()
	a := repo.New(id)
	for n > 0 {
		batch := min(n, 1000)
		for range batch {
			evsourcing.Record(a, e)
		}
		if err := repo.Save(context.Background(), a); err != nil {
			tb.Fatal(err)
		}
		n -= batch
	}
	return a
}

// loads loads the aggregate, which has n events, again and again.
func loads(b *testing.B, repo *evsourcing.Repository[flight], id string, n int) {
	for b.Loop() {
		a, err := repo.Load(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if a.Count != n {
			b.Fatalf("%d events were applied, want %d", a.Count, n)
		}
	}
	many(b, n)
}

// decodeTimes decodes a payload n times.
func decodeTimes(b *testing.B, data []byte, n int) {
	for range n {
		var e landed
		if err := json.Unmarshal(data, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func streamName(i int) string { return "flight-" + strconv.Itoa(i) }

func streamID(i int) evsourcing.StreamID {
	return evsourcing.StreamID{Type: "flight", ID: streamName(i)}
}
