package evsourcing

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// jsonMessages is the MessageEncoder used when none is given: the fields of the
// stored event as a JSON object.
type jsonMessages struct {
	codec Codec
}

type jsonMessage struct {
	ID          uuid.UUID `json:"id"`
	Type        string    `json:"type"`
	Stream      string    `json:"stream"`
	Version     uint64    `json:"version"`
	Position    uint64    `json:"position,omitempty"`
	Topic       string    `json:"topic"`
	ContentType string    `json:"content_type,omitempty"`
	Data        []byte    `json:"data,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	Metadata    Metadata  `json:"metadata,omitempty"`
	Time        time.Time `json:"time"`
}

func (j jsonMessages) EncodeMessage(m Message) ([]byte, error) {
	return json.Marshal(jsonMessage{
		ID: m.ID, Type: m.Stream.Type, Stream: m.Stream.ID, Version: m.Version, Position: m.Position,
		Topic: m.Topic, ContentType: m.ContentType, Data: m.Data, Tags: m.Tags, Metadata: m.Metadata, Time: m.Time,
	})
}

func (j jsonMessages) DecodeMessage(data []byte) (Message, error) {
	var v jsonMessage
	if err := json.Unmarshal(data, &v); err != nil {
		return Message{}, fmt.Errorf("evsourcing: decode a message: %w", err)
	}
	m := Message{StoredEvent: StoredEvent{
		ID: v.ID, Stream: StreamID{Type: v.Type, ID: v.Stream}, Version: v.Version, Position: v.Position,
		Topic: v.Topic, ContentType: v.ContentType, Data: v.Data, Tags: v.Tags, Metadata: v.Metadata, Time: v.Time,
	}}
	var err error
	m.Event, err = j.codec.Decode(context.Background(), &m.StoredEvent)
	return m, err
}
