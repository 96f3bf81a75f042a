package mixed

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// AccountType is the stream type of all aggregates.
const AccountType = "account"

// An Account is the aggregate of the load.
type Account struct {
	evsourcing.Base
	Events int64
	Total  int64
}

// Posted is the one event that there is.
type Posted struct {
	Amount int64  `json:"amount"`
	By     string `json:"by"`   // the service that has stored it
	Note   string `json:"note"` // of the size that was asked for
}

// Topic implements [evsourcing.Event].
func (Posted) Topic() string { return "account.posted" }

// ApplyTo implements [evsourcing.EventOf].
func (e Posted) ApplyTo(a *Account) {
	a.Events++
	a.Total += e.Amount
}

// NewRegistry returns the codec of the events.
func NewRegistry() *evsourcing.Registry { return evsourcing.NewRegistry(Posted{}) }

// streamName returns the ID of the n-th aggregate.
func streamName(n int) string { return fmt.Sprint("account-", n) }

// fillBatches is how many streams one append begins.
const fillBatches = 1000

// fill stores a first event into each stream that has none.
func fill(ctx context.Context, store evsourcing.EventStore, codec evsourcing.Codec, by string, streams []string) error {
	last := evsourcing.StreamID{Type: AccountType, ID: streams[len(streams)-1]}
	for _, err := range store.Load(ctx, last, evsourcing.Range{Limit: 1}) {
		return err // nil: they were begun in order
	}
	first := evsourcing.StoredEvent{Version: 1, Time: time.Now()}
	if err := codec.Encode(ctx, &first, Posted{By: by}); err != nil {
		return err
	}
	for len(streams) > 0 {
		n := min(len(streams), fillBatches)
		batches := make([]evsourcing.Batch, 0, n)
		for _, name := range streams[:n] {
			e := first
			// The same ID each time, so that whoever fills the store again repeats an append.
			e.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(name))
			batches = append(batches, evsourcing.Batch{
				Stream: evsourcing.StreamID{Type: AccountType, ID: name}, Events: []evsourcing.StoredEvent{e},
			})
		}
		if _, err := store.Append(ctx, batches...); err != nil {
			return fmt.Errorf("beginning %d streams: %w", n, err)
		}
		streams = streams[n:]
	}
	return nil
}
