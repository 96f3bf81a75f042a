// Package encoder has an encoder and a codec, as examples for docs/extending.md:
// payloads as XML, and payloads encrypted.
package encoder

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// XML is an [evsourcing.Encoder] of encoding/xml. As with JSON, elements that an
// event has no field for are ignored, and fields without an element keep their
// zero value. Maps can't be encoded, nor texts with characters that XML does not
// have, such as most control characters, or with U+FFFD.
type XML struct{}

// ContentType returns "application/xml".
func (XML) ContentType() string { return "application/xml" }

// Marshal implements [evsourcing.Encoder].
func (XML) Marshal(v any) ([]byte, error) {
	data, err := xml.Marshal(v)
	if err != nil {
		return nil, err
	}
	// encoding/xml puts U+FFFD in place of what XML can't hold. An event that
	// does not come back as it was must not be stored.
	if bytes.ContainsRune(data, '\uFFFD') {
		return nil, fmt.Errorf("encoder: %T has text that XML can't hold", v)
	}
	return data, nil
}

// Unmarshal implements [evsourcing.Encoder].
func (XML) Unmarshal(data []byte, v any) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("encoder: something follows the element")
	}
	return nil
}
