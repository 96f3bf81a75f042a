package evtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evsourcing/evsourcing"
)

var goldenStream = evsourcing.StreamID{Type: "golden", ID: "1"}

// An entry of a golden file is an event as it is stored, and what it was read
// as.
type entry struct {
	Topic       string              `json:"topic"`
	ContentType string              `json:"content_type,omitempty"`
	Data        json.RawMessage     `json:"data,omitempty"`   // if it is JSON
	Base64      string              `json:"base64,omitempty"` // if not
	Tags        []string            `json:"tags,omitempty"`
	Metadata    evsourcing.Metadata `json:"metadata,omitempty"`
	ReadAs      *reading            `json:"read_as,omitempty"`

	number int             // in the file, from 1
	raw    json.RawMessage // as it stands in the file, to be written as it was
}

// A reading is what an entry is read as.
type reading struct {
	Topic string          `json:"topic"`
	Event json.RawMessage `json:"event"`
}

func newReading(topic string, e evsourcing.Event) (*reading, error) {
	data, err := marshal(e)
	if err != nil {
		return nil, fmt.Errorf("%T has no JSON to compare: %w", e, err)
	}
	return &reading{topic, data}, nil
}

// newEntry stores an event and reads it.
func newEntry(ctx context.Context, codec evsourcing.Codec, e evsourcing.Event) (entry, error) {
	stored := envelope(goldenStream, 0)
	if err := codec.Encode(ctx, &stored, e); err != nil {
		return entry{}, fmt.Errorf("it can't be stored: %w", err)
	}
	n := entry{Topic: stored.Topic, ContentType: stored.ContentType, Tags: stored.Tags}
	if strings.Contains(stored.ContentType, "json") && json.Valid(stored.Data) {
		n.Data = slices.Clone(stored.Data)
	} else {
		n.Base64 = base64.StdEncoding.EncodeToString(stored.Data)
	}
	back, err := codec.Decode(ctx, &stored)
	if err != nil {
		return entry{}, fmt.Errorf("once stored, it can't be read: %w", err)
	}
	if n.ReadAs, err = newReading(stored.Topic, back); err != nil {
		return entry{}, err
	}
	want, err := newReading(n.Topic, e)
	if err != nil {
		return entry{}, err
	}
	if diff := want.lost(n.ReadAs); diff != "" {
		return entry{}, fmt.Errorf("it does not come back from the codec as it was (- before, + after):%s", diff)
	}
	return n, nil
}

// stored returns the event to be read.
func (e *entry) stored() (evsourcing.StoredEvent, error) {
	s := envelope(goldenStream, 0)
	s.Topic, s.ContentType, s.Tags, s.Metadata = e.Topic, e.ContentType, e.Tags, e.Metadata
	if e.Data != nil && e.Base64 != "" {
		return s, errors.New("it has both data and base64")
	}
	if e.Base64 != "" {
		var err error
		s.Data, err = base64.StdEncoding.DecodeString(e.Base64)
		return s, err
	}
	var compact bytes.Buffer // as encoders write it, not as it is laid out here
	err := json.Compact(&compact, e.Data)
	s.Data = compact.Bytes()
	return s, err
}

// fillIn adds what the entry is read as, and leaves the rest of it alone.
func (e *entry) fillIn(r *reading) error {
	e.ReadAs = r
	text, err := marshal(r)
	if err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(e.raw, &members); err != nil {
		return err
	}
	if _, null := members["read_as"]; null {
		e.raw = nil // to be written anew
		return nil
	}
	e.raw = slices.Concat(bytes.TrimSuffix(bytes.TrimSpace(e.raw), []byte("}")), []byte(`,"read_as":`), text, []byte("}"))
	return nil
}

// load reads the file; one that does not exist is empty.
func (g *golden) load() error {
	data, err := os.ReadFile(g.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("%s is not a list of entries: %w", g.file, err)
	}
	g.entries = make([]entry, len(raw))
	for i := range raw {
		e := &g.entries[i]
		if err := json.Unmarshal(raw[i], e); err != nil {
			return fmt.Errorf("%s: entry %d: %w", g.file, i+1, err)
		}
		e.number, e.raw = i+1, raw[i]
	}
	return nil
}

// save writes the file if there is something new.
func (g *golden) save() error {
	if !g.changed {
		return nil
	}
	all := make([]json.RawMessage, len(g.entries))
	for i := range g.entries {
		e := &g.entries[i]
		if all[i] = e.raw; e.raw != nil {
			continue
		}
		var err error
		if all[i], err = marshal(e); err != nil {
			return err
		}
	}
	data, err := marshal(all)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	if err := os.MkdirAll(filepath.Dir(g.file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(g.file, b.Bytes(), 0o644)
}

// marshal is json.Marshal, but leaves <, > and & readable.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
