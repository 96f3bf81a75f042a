package evsourcing

import (
	"context"
	"time"
)

// A Transport carries messages between the event buses of one process or many:
// the driver interface for message brokers. An [EventBus] without one keeps its
// messages in the process, as Go values. Methods may be called concurrently.
//
// Delivery is at least once. Lanes, retries, dead letters and closing are the
// bus's work, above every transport.
type Transport interface {
	// Send hands over all envelopes, those of one Key in order. An envelope
	// whose ID has been sent before counts once, as far back as the transport
	// remembers and documents.
	Send(ctx context.Context, envelopes ...Envelope) error

	// Join returns a receiver of the group, which is created if no group has
	// the name; it then gets every message of its topics that is sent from now
	// on, whether anybody receives or not. Receivers of one group share its
	// messages.
	Join(ctx context.Context, g Group) (Receiver, error)

	// Close ends the transport and its receivers. A bus does not close its
	// transport: whoever made it does, after the bus.
	Close(ctx context.Context) error
}

// An Envelope is a message as a transport sees it. Streams of different types
// may have one Key, if a type has a slash in it: they share their order, and
// nothing else.
type Envelope struct {
	ID     string   // the event's ID
	Key    string   // the stream as Type/ID: order is kept among envelopes with one key
	Topic  string   // what groups select by
	Header Metadata // the event's metadata; read-only
	Data   []byte   // what the MessageEncoder made of the message; read-only
}

// A Group names those who share a subscription's messages.
type Group struct {
	Name     string        // the subscription's
	Topics   []string      // the group gets envelopes of these topics
	InFlight int           // deliveries a receiver may have unsettled
	AckWait  time.Duration // a delivery not settled or extended for so long is delivered again
}

// A Receiver receives a group's messages. While deliveries of a key are
// unsettled at one receiver, no other receiver of the group gets that key.
type Receiver interface {
	// Receive waits for the next delivery; it waits while InFlight of them are
	// unsettled.
	Receive(ctx context.Context) (Delivery, error)

	// Close leaves the group. Unsettled deliveries go to other receivers.
	Close(ctx context.Context) error
}

// A Delivery is an envelope that waits to be settled, by Ack or Nack. Settling
// it twice, or after its AckWait, does nothing.
type Delivery interface {
	// Envelope returns what was sent. It must not be changed.
	Envelope() *Envelope
	// Attempt counts the deliveries of the envelope to the group, from 1.
	Attempt() int
	// Ack says that the envelope is done with, and not to be delivered again.
	Ack(ctx context.Context) error
	// Nack asks for the envelope to be delivered again, not before after has
	// passed.
	Nack(ctx context.Context, after time.Duration) error
	// Extend starts the delivery's AckWait anew.
	Extend(ctx context.Context) error
}

// A MessageEncoder turns messages into bytes for a [Transport] and back.
// Methods may be called concurrently.
type MessageEncoder interface {
	// EncodeMessage returns the message in the encoder's format. The slice is
	// the caller's own.
	EncodeMessage(m Message) ([]byte, error)
	// DecodeMessage returns the message, with its event. It keeps nothing of
	// data.
	DecodeMessage(data []byte) (Message, error)
}
