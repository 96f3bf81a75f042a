package evsourcing

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// ceOrigin is what an event has of its producer that a StoredEvent has no field
// for.
type ceOrigin struct {
	source, id string
	schema     string // may be empty
}

// maxOrigin is how long each of them may be, in bytes.
const maxOrigin = 64 << 10

// eventID returns the ID of the event.
func (o *ceOrigin) eventID() uuid.UUID {
	if isEventID(o.id) {
		return uuid.MustParse(o.id)
	}
	return uuid.NewSHA1(uuid.NewSHA1(uuid.NameSpaceURL, []byte(o.source)), []byte(o.id))
}

// isEventID reports whether s is how an ID is written.
func isEventID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id != uuid.Nil && id.String() == s
}

// validate returns the name of an attribute that is wrong, and what about it;
// or nothing.
func (o *ceOrigin) validate() (attribute, complaint string) {
	switch {
	case len(o.source) > maxOrigin:
		return "source", "it is too long"
	case !isURIReference(o.source):
		return "source", "it is no URI reference"
	case len(o.id) > maxOrigin:
		return "id", "it is too long"
	case !isLegalText(o.id):
		return "id", "it is empty or has characters that the specification does not allow"
	case len(o.schema) > maxOrigin:
		return "dataschema", "it is too long"
	case o.schema != "" && !isURI(o.schema):
		return "dataschema", "it is no URI"
	}
	return "", ""
}

// takeOrigin returns the origin of an event and removes it from the metadata.
// Where it is not there, source and the event's ID are.
func takeOrigin(source string, event uuid.UUID, meta Metadata) (ceOrigin, error) {
	o := ceOrigin{source: source, id: event.String()}
	if event == uuid.Nil {
		return o, errors.New("the event ID is nil")
	}
	for _, field := range []struct {
		key string
		to  *string
	}{{MetaCloudEventSource, &o.source}, {MetaCloudEventID, &o.id}, {MetaCloudEventSchema, &o.schema}} {
		if value, ok := meta[field.key]; ok {
			*field.to = value
			delete(meta, field.key)
		}
	}
	if attribute, complaint := o.validate(); attribute != "" {
		return o, fmt.Errorf("the attribute %q, from the metadata: %s", attribute, complaint)
	}
	if o.eventID() != event {
		return o, fmt.Errorf("the metadata value of %q belongs to another event than %v", MetaCloudEventID, event)
	}
	return o, nil
}

// keep puts the origin into the metadata, so that takeOrigin finds it.
func (o *ceOrigin) keep(r *ceReader, own string, meta Metadata) {
	for _, key := range []string{MetaCloudEventSource, MetaCloudEventID, MetaCloudEventSchema} {
		if _, ok := meta[key]; ok {
			r.fail(ceMetadata, "%q can't be in it", key)
		}
	}
	if attribute, complaint := o.validate(); attribute != "" {
		r.fail(attribute, "%s", complaint)
	}
	if o.source != own || !isEventID(o.id) { // the ID is made of the source, too
		meta[MetaCloudEventSource] = o.source
	}
	if !isEventID(o.id) {
		meta[MetaCloudEventID] = o.id
	}
	if o.schema != "" {
		meta[MetaCloudEventSchema] = o.schema
	}
}

// takeCauses returns the attributes of the Correlation extension, and removes
// from the metadata what they tell.
func (o *ceOrigin) takeCauses(event uuid.UUID, meta Metadata) (correlation, causation string) {
	own := event.String()
	value, ok := meta[MetaCorrelationID]
	switch {
	case isLegalText(value) && value != own:
		correlation = value
		delete(meta, MetaCorrelationID)
	case o.id == own && (!ok || value == own):
		correlation = own // which is read as none
	}
	if value := meta[MetaCausationID]; isLegalText(value) {
		causation = value
		delete(meta, MetaCausationID)
	}
	return correlation, causation
}
