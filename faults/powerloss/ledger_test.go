//go:build linux

package powerloss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

const writers = 8

// versions is how many events each writer has in each of its two streams.
type versions [writers]uint64

// A store is what both engines are.
type store interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Waiter
	evsourcing.CheckpointStore
}

// event returns what is at a version of a stream, but for its ID. The data follows from
// that, so that any byte that is wrong is found.
func event(id evsourcing.StreamID, version uint64) evsourcing.StoredEvent {
	seed, _ := strconv.ParseUint(id.ID, 10, 64)
	random := rand.New(rand.NewPCG(seed+uint64(len(id.Type)), version))
	size := random.IntN(300)
	if random.IntN(16) == 0 {
		size = random.IntN(3 * pageSize)
	}
	data := fmt.Appendf(nil, "%s-%s %d ", id.Type, id.ID, version)
	for range size {
		data = append(data, byte(random.Uint32()))
	}
	return evsourcing.StoredEvent{Stream: id, Version: version, Topic: "happened", ContentType: "text/plain", Data: data}
}

// streams returns the two streams of a writer, which grow by the same appends.
func streams(writer int) [2]evsourcing.StreamID {
	id := strconv.Itoa(writer)
	return [2]evsourcing.StreamID{{Type: "left", ID: id}, {Type: "right", ID: id}}
}

// write appends what a writer has to, from the version on, and tells what has been
// acknowledged, until an append fails.
func write(ctx context.Context, s evsourcing.EventStore, writer int, version uint64, tell func(writer int, version uint64)) error {
	for ; ; version += 2 {
		var batches []evsourcing.Batch
		for _, id := range streams(writer) {
			b := evsourcing.Batch{Stream: id, Expected: version}
			for i := range uint64(2) {
				e := event(id, version+i+1)
				e.ID, e.Time = uuid.Must(uuid.NewV7()), time.Now()
				b.Events = append(b.Events, e)
			}
			batches = append(batches, b)
		}
		if _, err := s.Append(ctx, batches...); err != nil {
			return err
		}
		tell(writer, version+2)
	}
}

// project runs a projection until the context ends.
func project(ctx context.Context, s store, h evsourcing.Handler) error {
	return evsourcing.NewSubscription(projection, s, s, anyEvent{}, h, &evsourcing.SubscriptionOptions{
		BatchSize: 50, Logger: slog.New(slog.DiscardHandler),
		Retry: evsourcing.RetryPolicy{MaxAttempts: 1},
	}).Run(ctx)
}

const projection = "totals"

// happened is every event here, whatever its data.
type happened struct{}

func (happened) Topic() string { return "happened" }

type anyEvent struct{}

func (anyEvent) Encode(context.Context, *evsourcing.StoredEvent, evsourcing.Event) error { return nil }
func (anyEvent) Decode(context.Context, *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return happened{}, nil
}
func (anyEvent) Names(topic string) []string { return []string{topic} }

// totals is the table of the projection: of each stream, how many events were handled,
// and the sum of their positions.
type totals map[string][2]uint64

func (t totals) add(e evsourcing.StoredEvent) {
	sum := t[e.Stream.String()]
	t[e.Stream.String()] = [2]uint64{sum[0] + 1, sum[1] + e.Position}
}

// inspect reads the whole log, and returns how far the streams are. An error is damage:
// an event that is not as it was written, a gap, part of an append, or a projection that
// is not exactly what the log is up to its checkpoint.
func inspect(ctx context.Context, s store, projected totals) (found versions, err error) {
	at, _, err := s.Checkpoint(ctx, projection)
	if err != nil {
		return found, err
	}
	var damage []error
	heads, want := map[evsourcing.StreamID]uint64{}, totals{}
	seen := at.Position == 0
	for e, err := range s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			return found, err
		}
		if heads[e.Stream]++; e.Version != heads[e.Stream] {
			damage = append(damage, fmt.Errorf("%v has version %d where %d comes", e.Stream, e.Version, heads[e.Stream]))
		}
		if w := event(e.Stream, e.Version); e.Topic != w.Topic || !bytes.Equal(e.Data, w.Data) {
			damage = append(damage, fmt.Errorf("%v at version %d is not as it was written", e.Stream, e.Version))
		}
		if e.Position <= at.Position {
			want.add(e)
		}
		seen = seen || e.Position == at.Position && e.ID == at.EventID
	}
	for w := range writers {
		id := streams(w)
		left, right := heads[id[0]], heads[id[1]]
		if left != right || left%2 != 0 {
			damage = append(damage, fmt.Errorf("writer %d has %d and %d events: part of an append", w, left, right))
		}
		for _, id := range id {
			for e, err := range s.Load(ctx, id, evsourcing.Range{Backward: true, Limit: 1}) {
				if err != nil || e.Version != heads[id] {
					damage = append(damage, fmt.Errorf("%v ends at version %d, and in the log at %d: %v", id, e.Version, heads[id], err))
				}
			}
		}
		found[w] = left
	}
	if !seen {
		damage = append(damage, fmt.Errorf("the checkpoint is at %d, where the log has no such event", at.Position))
	}
	for stream := range want {
		if projected[stream] != want[stream] {
			damage = append(damage, fmt.Errorf("of %s, the projection has %v, and the log up to its checkpoint %v", stream, projected[stream], want[stream]))
		}
	}
	if len(projected) != len(want) {
		damage = append(damage, fmt.Errorf("the projection has %d streams, and the log up to its checkpoint %d", len(projected), len(want)))
	}
	return found, errors.Join(damage...)
}
