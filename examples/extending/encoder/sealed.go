package encoder

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"strings"

	"github.com/evsourcing/evsourcing"
)

// Sealed is an [evsourcing.Codec] around another one, that encrypts payloads. It
// leaves topics, tags and metadata as they are, and decodes events that were
// stored before, unencrypted.
type Sealed struct {
	evsourcing.Codec
	aead cipher.AEAD
}

// sealedType starts the content type of sealed data; the payload's own follows.
const sealedType = "application/x-sealed+"

// Seal returns a codec that encrypts what codec encodes by AES-GCM. The key has
// 16, 24 or 32 bytes, and is good for 2^32 events. Seal panics if the key has
// another length.
func Seal(codec evsourcing.Codec, key []byte) *Sealed {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Errorf("encoder: seal: %w", err))
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Errorf("encoder: seal: %w", err))
	}
	return &Sealed{Codec: codec, aead: aead}
}

// Encode implements [evsourcing.Codec].
func (s *Sealed) Encode(ctx context.Context, dst *evsourcing.StoredEvent, e evsourcing.Event) error {
	if err := s.Codec.Encode(ctx, dst, e); err != nil {
		return err
	}
	s.seal(dst)
	return nil
}

func (s *Sealed) seal(e *evsourcing.StoredEvent) {
	e.Data = s.aead.Seal(nil, nil, e.Data, e.ID[:]) // which is then good for no other event
	e.ContentType = sealedType + e.ContentType
}

// Decode implements [evsourcing.Codec]. Data stays sealed: a message goes on to
// transports with the data that Decode leaves in it.
func (s *Sealed) Decode(ctx context.Context, src *evsourcing.StoredEvent) (evsourcing.Event, error) {
	inner, ok := strings.CutPrefix(src.ContentType, sealedType)
	if !ok {
		return s.Codec.Decode(ctx, src)
	}
	data, err := s.aead.Open(nil, nil, src.Data, src.ID[:])
	if err != nil {
		return nil, fmt.Errorf("encoder: open the payload of event %v: %w", src.ID, err)
	}
	plain := *src
	plain.ContentType, plain.Data = inner, data
	e, err := s.Codec.Decode(ctx, &plain)
	if err != nil {
		return nil, err
	}
	// If an upcaster has made new data, that is what the message has.
	sealed := *src
	*src = plain
	if plain.ContentType == inner && bytes.Equal(plain.Data, data) {
		src.ContentType, src.Data = sealed.ContentType, sealed.Data
	} else {
		s.seal(src)
	}
	return e, nil
}
