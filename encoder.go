package evsourcing

import (
	"encoding/json"
	"strings"
)

// An Encoder turns event payloads into bytes and back. Its methods may be
// called concurrently, and must not keep what they are given.
type Encoder interface {
	// ContentType names the format, such as "application/json". It is stored
	// with each event.
	ContentType() string
	// Marshal returns v encoded. The slice is the caller's own.
	Marshal(v any) ([]byte, error)
	// Unmarshal decodes data into v, a non-nil pointer to a zero value.
	Unmarshal(data []byte, v any) error
}

// JSON is the [Encoder] of encoding/json, with its rules: unknown fields are
// ignored, missing ones keep their zero value.
type JSON struct{}

// ContentType returns "application/json".
func (JSON) ContentType() string { return "application/json" }

// Marshal calls [json.Marshal].
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal calls [json.Unmarshal].
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// bareMediaType returns the media type in lower case and without parameters.
func bareMediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}
