package bench

import (
	"context"
	"strconv"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// flight is an aggregate with the three-field event that all figures are for.
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

var landing = landed{Airport: "CDG", From: "JFK", Delay: 12}

func newRepository(store evsourcing.EventStore) *evsourcing.Repository[flight] {
	return evsourcing.NewRepository[flight]("flight", store, evsourcing.NewRegistry(landed{}), nil)
}

// fill saves n events into the stream, in batches.
func fill(tb testing.TB, repo *evsourcing.Repository[flight], id string, n int) *flight {
	tb.Helper()
	a := repo.New(id)
	for n > 0 {
		batch := min(n, 1000)
		for range batch {
			evsourcing.Record(a, landing)
		}
		if err := repo.Save(context.Background(), a); err != nil {
			tb.Fatal(err)
		}
		n -= batch
	}
	return a
}

func streamName(i int) string { return "flight-" + strconv.Itoa(i) }
