package evsourcing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxCloudEvent is how long a message may be, in bytes. None of what
// EncodeMessage makes is longer.
const maxCloudEvent = 4 * MaxDataSize

// ceReader takes an event apart. Members that have been read are removed. The
// first error stays.
type ceReader struct {
	members map[string]json.RawMessage
	err     error
}

// newCEReader returns a reader of the members of a JSON object, with those
// removed that are null.
func newCEReader(data []byte) (*ceReader, error) {
	if len(data) > maxCloudEvent {
		return nil, fmt.Errorf("it has %d bytes, over the limit of %d", len(data), maxCloudEvent)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	token, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if token != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	r := &ceReader{members: map[string]json.RawMessage{}}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read JSON: %w", err)
		}
		if err := r.member(name.(string), d); err != nil {
			return nil, attributeError(name.(string), err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	maps.DeleteFunc(r.members, func(name string, value json.RawMessage) bool {
		return name != "data" && string(value) == "null"
	})
	return r, nil
}

func (r *ceReader) member(name string, d *json.Decoder) error {
	if !isAttributeName(name) && name != "data" && name != "data_base64" {
		return errors.New("the name is not of lower-case letters and digits")
	}
	if _, ok := r.members[name]; ok {
		return errors.New("it occurs twice")
	}
	var value json.RawMessage
	err := d.Decode(&value)
	r.members[name] = value
	return err
}

func attributeError(name string, err error) error {
	return fmt.Errorf("attribute %q: %w", abbreviate(name), err)
}

func (r *ceReader) fail(name, format string, args ...any) {
	if r.err == nil {
		r.err = attributeError(name, fmt.Errorf(format, args...))
	}
}

// text removes an attribute and returns its value, a string that is not empty,
// or "" if it is absent.
func (r *ceReader) text(name string) string {
	raw := r.members[name]
	delete(r.members, name)
	if raw == nil {
		return ""
	}
	s, err := ceText(raw)
	switch {
	case err != nil:
		r.fail(name, "%w", err)
	case s == "":
		r.fail(name, "it is empty")
	}
	return s
}

func (r *ceReader) required(name string) string {
	if r.members[name] == nil {
		r.fail(name, "it is missing")
	}
	return r.text(name)
}

// ceText returns the value of an attribute of the type String.
func ceText(raw json.RawMessage) (string, error) {
	s, err := jsonText(raw)
	if err == nil && s != "" && !isLegalText(s) {
		err = errors.New("it has characters that the specification does not allow")
	}
	return s, err
}

func jsonText(raw json.RawMessage) (s string, err error) {
	if raw[0] != '"' {
		return "", errors.New("it is not a string")
	}
	if hasLoneSurrogate(raw) {
		return "", errors.New("it has half of a surrogate pair")
	}
	return s, json.Unmarshal(raw, &s)
}

// json reads an attribute that holds JSON, and reports whether there is one.
func (r *ceReader) json(name string, v any) bool {
	text := r.text(name)
	if text == "" {
		return false
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		r.fail(name, "%w", err)
	}
	return true
}

func (r *ceReader) number(name string) uint64 {
	text := r.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		r.fail(name, "%q is not a number from 0 to %d", abbreviate(text), uint64(maxVersion))
	}
	return n
}

func (r *ceReader) topic() string {
	topic := r.required("type")
	if exact := ""; r.json(ceTopic, &exact) {
		if legalText(exact) != topic {
			r.fail(ceTopic, "it contradicts type")
		}
		topic = exact
	}
	if err := ValidateName(topic); err != nil {
		r.fail("type", "it %w", err)
	}
	return topic
}

func (r *ceReader) stream() StreamID {
	subject := r.text("subject")
	exact := []string(nil)
	if !r.json(ceStream, &exact) {
		return streamOf(subject)
	}
	if len(exact) != 2 {
		r.fail(ceStream, "it is not an array of two strings")
		return StreamID{}
	}
	stream := StreamID{Type: exact[0], ID: exact[1]}
	if legalText(subjectOf(stream)) != subject {
		r.fail(ceStream, "it contradicts subject")
	}
	return stream
}

func (r *ceReader) time() (t time.Time) {
	if text := r.text("time"); text != "" {
		if err := t.UnmarshalText([]byte(text)); err != nil {
			r.fail("time", "%w", err)
		}
	}
	return t.UTC()
}

func (r *ceReader) data() (contentType string, data []byte) {
	contentType = r.text("datacontenttype")
	if contentType == "" {
		contentType = JSON{}.ContentType()
	}
	if !isMediaType(contentType) {
		r.fail("datacontenttype", "it is no media type")
	}
	plain, binary := r.members["data"], r.members["data_base64"]
	delete(r.members, "data")
	delete(r.members, "data_base64")
	switch {
	case plain != nil && binary != nil:
		r.fail("data_base64", "there is data, too")
	case binary != nil:
		text, err := jsonText(binary)
		if err == nil {
			data, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil {
			r.fail("data_base64", "%w", err)
		}
	case plain != nil && isJSON(contentType):
		data = plain
	case plain != nil:
		text, err := jsonText(plain)
		if err != nil {
			r.fail("data", "%w, which %q asks for", err, abbreviate(contentType))
		}
		data = []byte(text)
	}
	if exact := ""; r.json(ceContentType, &exact) {
		if contentType != ceOpaque {
			r.fail(ceContentType, "it contradicts datacontenttype")
		}
		contentType = exact
	}
	return contentType, data
}

// metadata returns what esmetadata and the Correlation extension tell of the
// metadata, in a map that is not nil.
func (r *ceReader) metadata(event uuid.UUID) Metadata {
	meta := Metadata{}
	if r.json(ceMetadata, &meta) && meta == nil {
		r.fail(ceMetadata, "it is not an object")
		return Metadata{}
	}
	if s := r.text(ceCorrelation); s != "" && s != event.String() {
		r.keep(meta, MetaCorrelationID, ceCorrelation, s)
	}
	if s := r.text(ceCausation); s != "" {
		r.keep(meta, MetaCausationID, ceCausation, s)
	}
	return meta
}

// extensions makes metadata of the attributes that are left.
func (r *ceReader) extensions(meta Metadata) {
	for _, name := range slices.Sorted(maps.Keys(r.members)) {
		raw := r.members[name]
		value := string(raw)
		switch raw[0] {
		case '"':
			var err error
			if value, err = ceText(raw); err != nil {
				r.fail(name, "%w", err)
			}
		case 't', 'f':
		default:
			if _, err := strconv.ParseInt(value, 10, 32); err != nil {
				r.fail(name, "it is no string, Boolean or Integer")
			}
		}
		r.keep(meta, name, name, value)
	}
}

// keep puts what an attribute tells into the metadata, where it must be new.
func (r *ceReader) keep(meta Metadata, key, attribute, value string) {
	if _, ok := meta[key]; ok {
		r.fail(attribute, "%s has %q, too", ceMetadata, key)
		return
	}
	meta[key] = value
}
