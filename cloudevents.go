package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Keys of the metadata in which [CloudEvents] keeps what an event of another
// producer has and a [StoredEvent] has no field for. They belong to that event
// alone: what is stored in reaction to it does not inherit them.
const (
	MetaCloudEventSource = "es.ce_source"     // its source, if that is not the encoder's own
	MetaCloudEventID     = "es.ce_id"         // its id, if that is no UUID; its source is kept then, too
	MetaCloudEventSchema = "es.ce_dataschema" // its dataschema
)

// CloudEvents is a [MessageEncoder] for messages that other systems read, or
// that come from them: CloudEvents 1.0 in the JSON format, one event a message
// (structured mode; its media type is application/cloudevents+json).
// See https://cloudevents.io.
//
// The attributes of an event are:
//
//	specversion      "1.0"
//	id               ID
//	source           what NewCloudEvents was given
//	type             Topic
//	subject          Stream, as Type/ID
//	time             Time; none if it is zero
//	datacontenttype  ContentType
//	correlationid    CorrelationID, so a root event's own ID too
//	causationid      the metadata's causation_id
//	esversion        Version, in decimal digits; none if it is zero
//	esposition       Position, likewise
//	estags           Tags, a JSON array
//	esmetadata       metadata that can't be attributes, a JSON object
//
// Versions and positions are strings because an Integer of CloudEvents has 32
// bits. Attributes whose value is JSON hold it as text in a string, since
// attributes have no structure. correlationid and causationid are those of the
// Correlation extension.
//
// Metadata whose key is lower-case letters and digits, at most 20 of them, and
// taken by nothing else, is an attribute of that name, traceparent and
// tracestate among it: they are those of the Distributed Tracing extension.
// Other keys are in esmetadata, and so are empty values.
//
// The payload stands in the member data as it is if it is JSON by content type,
// */json or *+json, and in fact; else in data_base64. Data so comes back byte
// for byte, unless somebody on the way formats the JSON anew.
//
// A message comes back as it was, whatever its names are made of, as long as it
// is one that [Validate] lets into a store; EncodeMessage refuses others. At an
// encoder of another source, its metadata has [MetaCloudEventSource] besides. A
// string of CloudEvents has no control characters, nor code points that Unicode
// will never assign. Where a name has them, the attribute shows U+FFFD instead,
// and the name itself is in one more attribute, as JSON: estopic, esstream (an
// array of type and ID; also for a type with a slash in it), or escontenttype
// (also for what is no media type; datacontenttype is application/octet-stream
// then).
//
// Attributes can be read by all who carry the message. A codec that encrypts
// payloads leaves topics, streams, tags and metadata in the clear. The
// specification asks everybody to pass on events of up to 64 KiB, and nobody to
// pass on larger ones.
//
// # Events of other producers
//
// DecodeMessage accepts what the specification allows:
//
//   - An id that is not a UUID in its usual form makes an ID of its hash and the
//     source's, always the same one; it is kept as [MetaCloudEventID].
//   - A source that is not the encoder's own is kept as [MetaCloudEventSource],
//     and dataschema as [MetaCloudEventSchema].
//   - subject is the Stream's Type and ID, cut at the first slash; without one,
//     Type is empty, and without a subject, ID too. Version is 0 then.
//   - Extension attributes are metadata: strings as they are, Booleans and
//     Integers as their text.
//   - Without a datacontenttype, it is application/json. Without data, Data is
//     empty, and what that means is the codec's to say.
//
// EncodeMessage makes the same attributes of these again, but Booleans and
// Integers stay strings; it refuses metadata with the origin of another event.
// What is stored in reaction names the ID, not the id, as its cause.
//
// DecodeMessage refuses another specversion, a missing or
// empty required attribute, an attribute that occurs twice, has no proper name
// or a value of the wrong type, both data and data_base64, what [Validate] finds
// too large, and messages over 64 MiB. The error names the attribute.
type CloudEvents struct {
	source string
	codec  Codec
}

// NewCloudEvents returns an encoder of messages from the source, a non-empty URI
// reference, best an absolute one, such as "https://example.com/flights". Other
// systems may take two events with one source and one ID for the same event.
// The codec, usually the repositories' own, decodes the payloads of messages
// that arrive, so aliases and upcasters apply. NewCloudEvents panics if the
// source is no URI reference or the codec is nil.
func NewCloudEvents(source string, codec Codec) *CloudEvents {
	if !isURIReference(source) {
		panic(fmt.Sprintf("evsourcing: NewCloudEvents: the source %q is no URI reference", source))
	}
	if codec == nil {
		panic("evsourcing: NewCloudEvents: the codec is nil")
	}
	return &CloudEvents{source: source, codec: codec}
}

// Names of attributes, beyond those that need no constant.
const (
	ceCorrelation = "correlationid"
	ceCausation   = "causationid"
	ceVersion     = "esversion"
	cePosition    = "esposition"
	ceTopic       = "estopic"
	ceStream      = "esstream"
	ceContentType = "escontenttype"
	ceTags        = "estags"
	ceMetadata    = "esmetadata"
)

// ceOpaque is the datacontenttype of data whose ContentType is no media type.
const ceOpaque = "application/octet-stream"

// EncodeMessage implements [MessageEncoder]. It encodes the message's
// StoredEvent, not its Event.
func (c *CloudEvents) EncodeMessage(m Message) ([]byte, error) {
	data, err := c.write(m.StoredEvent)
	if err != nil {
		return nil, fmt.Errorf("evsourcing: encode a CloudEvent: %w", err)
	}
	return data, nil
}

// DecodeMessage implements [MessageEncoder]. If the error is the codec's, the
// message has everything but its Event.
func (c *CloudEvents) DecodeMessage(data []byte) (Message, error) {
	e, err := c.read(data)
	if err != nil {
		return Message{}, fmt.Errorf("evsourcing: decode a CloudEvent: %w", err)
	}
	m := Message{StoredEvent: e}
	m.Event, err = c.codec.Decode(context.Background(), &m.StoredEvent)
	return m, err
}

func (c *CloudEvents) write(e StoredEvent) ([]byte, error) {
	e.Metadata = maps.Clone(e.Metadata)
	from, err := takeOrigin(c.source, e.ID, e.Metadata)
	if err != nil {
		return nil, err
	}
	if err := validateMessage(&e); err != nil {
		return nil, err
	}
	correlation, causation := from.takeCauses(e.ID, e.Metadata)

	w := ceWriter{'{'}
	w.text("specversion", "1.0")
	w.text("id", from.id)
	w.text("source", from.source)
	w.text("type", legalText(e.Topic))
	subject := legalText(subjectOf(e.Stream))
	w.text("subject", subject)
	if !e.Time.IsZero() {
		w.text("time", e.Time.UTC().Format(time.RFC3339Nano))
	}
	contentType := e.ContentType
	if !isMediaType(contentType) {
		contentType = ceOpaque
	}
	w.text("datacontenttype", contentType)
	w.text("dataschema", from.schema)
	w.text(ceCorrelation, correlation)
	w.text(ceCausation, causation)
	w.number(ceVersion, e.Version)
	w.number(cePosition, e.Position)
	if legalText(e.Topic) != e.Topic {
		w.json(ceTopic, e.Topic)
	}
	if streamOf(subject) != e.Stream {
		w.json(ceStream, []string{e.Stream.Type, e.Stream.ID})
	}
	if contentType != e.ContentType {
		w.json(ceContentType, e.ContentType)
	}
	if len(e.Tags) > 0 {
		w.json(ceTags, e.Tags)
	}
	w.metadata(e.Metadata)
	w.data(contentType, e.Data)
	return append(w, '}'), nil
}

func (c *CloudEvents) read(data []byte) (StoredEvent, error) {
	r, err := newCEReader(data)
	if err != nil {
		return StoredEvent{}, err
	}
	if version := r.required("specversion"); r.err == nil && version != "1.0" {
		r.fail("specversion", "%q is not supported, 1.0 is", abbreviate(version))
	}
	from := ceOrigin{source: r.required("source"), id: r.required("id"), schema: r.text("dataschema")}
	e := StoredEvent{ID: from.eventID()}
	e.Topic = r.topic()
	e.Stream = r.stream()
	e.Time = r.time()
	e.ContentType, e.Data = r.data()
	e.Version, e.Position = r.number(ceVersion), r.number(cePosition)
	r.json(ceTags, &e.Tags)
	e.Metadata = r.metadata(e.ID)
	r.extensions(e.Metadata)
	if r.err == nil {
		r.err = validateMessage(&e)
	}
	from.keep(r, c.source, e.Metadata)
	if len(e.Data) == 0 {
		e.Data = nil
	}
	if len(e.Tags) == 0 {
		e.Tags = nil
	}
	if len(e.Metadata) == 0 {
		e.Metadata = nil
	}
	return e, r.err
}

// validateMessage returns what is wrong with an event to be sent or received.
// Unlike one to be stored, it may have no stream and no version.
func validateMessage(e *StoredEvent) error {
	for _, name := range []string{e.Stream.Type, e.Stream.ID} {
		if name != "" {
			if err := ValidateName(name); err != nil {
				return fmt.Errorf("a name of the stream %q %w", abbreviate(e.Stream.String()), err)
			}
		}
	}
	if e.Version > maxVersion || e.Position > maxVersion {
		return errors.New("the version or the position is out of range")
	}
	_, err := validateEvent(e)
	return err
}
