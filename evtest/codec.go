package evtest

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/evsourcing/evsourcing"
)

// valueCodec is the Codec of a test that gives none: events are kept as the Go
// values that they are, and their Data says which one it is.
type valueCodec struct {
	mu     sync.Mutex // guards events
	events []evsourcing.Event
}

func (c *valueCodec) Encode(_ context.Context, dst *evsourcing.StoredEvent, e evsourcing.Event) error {
	if isNil(e) {
		return fmt.Errorf("evtest: encode: %w", evsourcing.ErrNoEvent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	dst.Topic, dst.ContentType, dst.Data = e.Topic(), "", strconv.AppendInt(nil, int64(len(c.events)), 10)
	dst.Tags = nil
	if e, ok := e.(interface{ Tags() []string }); ok {
		dst.Tags = e.Tags()
	}
	c.events = append(c.events, e)
	return nil
}

func (c *valueCodec) Decode(_ context.Context, src *evsourcing.StoredEvent) (evsourcing.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, err := strconv.Atoi(string(src.Data))
	if err != nil || i < 0 || i >= len(c.events) {
		return nil, fmt.Errorf("evtest: decode %q: without a Codec, only events of this test can be read", src.Topic)
	}
	return c.events[i], nil
}

func (c *valueCodec) Names(topic string) []string { return []string{topic} }

// roundTrip encodes and decodes an event. dst has its envelope set; afterwards
// it is the event as stored and then decoded.
func roundTrip(ctx context.Context, codec evsourcing.Codec, dst *evsourcing.StoredEvent, e evsourcing.Event) (evsourcing.Event, error) {
	if err := codec.Encode(ctx, dst, e); err != nil {
		return nil, fmt.Errorf("it can't be stored: %w", err)
	}
	back, err := codec.Decode(ctx, dst)
	if err != nil {
		return nil, fmt.Errorf("once stored, it can't be read: %w", err)
	}
	if isNil(back) {
		return nil, fmt.Errorf("once stored, it comes back as nil")
	}
	return back, nil
}

// survives returns what an event loses by being stored and read, as a diff, or
// "" if it loses nothing.
func survives(e, back evsourcing.Event, strict bool) string {
	if want, have := valueType(e), valueType(back); want != have {
		return fmt.Sprintf("\n    it is a %v, and comes back as a %v", want, have)
	}
	diff, _ := diffValues(describe(e, strict), describe(back, strict))
	return diff
}
