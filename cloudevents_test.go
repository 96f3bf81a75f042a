package evsourcing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

const ceSource = "https://example.com/flights"

// ceCodec decodes everything, to a ceEvent.
type ceCodec struct{}

type ceEvent struct{ topic, contentType, data string }

func (e ceEvent) Topic() string { return e.topic }

func (ceCodec) Encode(context.Context, *evsourcing.StoredEvent, evsourcing.Event) error {
	return errors.New("not expected")
}

func (ceCodec) Decode(_ context.Context, src *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return ceEvent{src.Topic, src.ContentType, string(src.Data)}, nil
}

func (ceCodec) Names(topic string) []string { return []string{topic} }

func ceEncoder() *evsourcing.CloudEvents { return evsourcing.NewCloudEvents(ceSource, ceCodec{}) }

// ceMessage returns an event as a store has it, after change.
func ceMessage(change func(e *evsourcing.StoredEvent)) evsourcing.Message {
	m := evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
		ID:     uuid.MustParse("019a1b2c-3d4e-7f60-8123-456789abcdef"),
		Stream: aircraftStream("DM2018"), Version: 3, Position: 41,
		Topic: "aircraft.landed", ContentType: "application/json", Data: []byte(`{"airport":"CDG"}`),
		Time: time.Date(2026, 3, 1, 12, 30, 0, 123_456_000, time.UTC),
	}}
	if change != nil {
		change(&m.StoredEvent)
	}
	return m
}

// requireCloudEvent checks that a message encodes to a CloudEvent, and comes
// back as it was, at a program of the same source and at another one.
func requireCloudEvent(t *testing.T, m evsourcing.Message) (data []byte) {
	t.Helper()
	m.Event = ceEvent{m.Topic, m.ContentType, string(m.Data)}
	meta := maps.Clone(m.Metadata)
	data, err := ceEncoder().EncodeMessage(m)
	require.NoError(t, err)
	require.Equal(t, meta, m.Metadata, "the message is not changed")
	requireValidCloudEvent(t, data)
	got, err := ceEncoder().DecodeMessage(data)
	require.NoError(t, err, "%s", data)
	require.Equal(t, m, got, "%s", data)

	other := evsourcing.NewCloudEvents("/other", ceCodec{})
	got, err = other.DecodeMessage(data)
	require.NoError(t, err)
	if _, forwarded := m.Metadata[evsourcing.MetaCloudEventSource]; !forwarded {
		m.Metadata = m.Metadata.With(evsourcing.MetaCloudEventSource, ceSource)
	}
	require.Equal(t, m, got, "%s", data)
	forwarded, err := other.EncodeMessage(got)
	require.NoError(t, err)
	require.Equal(t, string(data), string(forwarded), "who passes an event on changes nothing")
	return data
}

// ceTexts are names and values that need care on their way.
func ceTexts() []string {
	texts := []string{
		"plain", "%", "%2F", "100%25", `"`, `\`, `\u0041`, "\\\"", "<script>&amp;", "a:b", "a,b;c", "[]", "{}", "null", "1", "true",
		"\u2028\u2029", "\ufeffbom", "é", "e\u0301", "\u202eabc", "🛩️", "\U00010000", "\U0010fffd", "\ue000", "\ufffd", "a\ufffdb",
		"\x01", "a\x1fb", "\t", "\r\n", "\x7f", "\u0080", "\u009f", "\u00a0", "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff",
		"a\n/b", "/\n", "\n\ufffd", strings.Repeat("\x01", evsourcing.MaxNameSize),
	}
	return append(texts, goodNames()...)
}

func TestCloudEventsRoundTrip(t *testing.T) {
	t.Parallel()
	type change = func(e *evsourcing.StoredEvent)
	cases := map[string]change{
		"plain":   nil,
		"no time": func(e *evsourcing.StoredEvent) { e.Time = time.Time{} },
		"year 0":  func(e *evsourcing.StoredEvent) { e.Time = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year 9999": func(e *evsourcing.StoredEvent) {
			e.Time = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
		},
		"nanoseconds":    func(e *evsourcing.StoredEvent) { e.Time = time.Unix(1_700_000_000, 1).UTC() },
		"before 1970":    func(e *evsourcing.StoredEvent) { e.Time = time.Unix(-1, 1000).UTC() },
		"no numbers":     func(e *evsourcing.StoredEvent) { e.Version, e.Position = 0, 0 },
		"large numbers":  func(e *evsourcing.StoredEvent) { e.Version, e.Position = math.MaxInt64, math.MaxInt64-1 },
		"beyond doubles": func(e *evsourcing.StoredEvent) { e.Version, e.Position = 1<<53+1, 1<<31 },
		"no stream":      func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{} },
		"no type":        func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{ID: "a/b"} },
		"no stream ID":   func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{Type: "a"} },
		"only a slash":   func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{ID: "/"} },
		"slash in ID":    func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{Type: "a", ID: "b/c"} },
		"slash in type":  func(e *evsourcing.StoredEvent) { e.Stream = evsourcing.StreamID{Type: "a/b", ID: "c"} },
		"tags":           func(e *evsourcing.StoredEvent) { e.Tags = []string{"airport:CDG", "a", "a", "b,c"} },
		"metadata":       func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"user": "jo", "es.command_id": "c"} },
		"empty values": func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{"user": "", "causation_id": "", "x y": ""}
		},
		"own correlation": func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"correlation_id": e.ID.String()} },
		"no correlation":  func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"correlation_id": ""} },
		"control in causes": func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{"correlation_id": "a\n", "causation_id": "\ufffe"}
		},
		"keys of attributes": func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{}
			for _, key := range []string{
				"id", "source", "specversion", "type", "subject", "time", "data", "datacontenttype", "dataschema", "data_base64",
				"correlationid", "causationid", "correlation_id", "causation_id", "esversion", "esposition", "estopic", "esstream",
				"escontenttype", "estags", "esmetadata", "es", "traceparent", "tracestate", "sequence", "partitionkey",
				"twentycharactersfits", "twentyonecharactersso", "Upper", "under_score", "dash-ed", "ünïcode", "0", "9lives",
			} {
				e.Metadata[key] = "value of " + key
			}
		},
		"origin": func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{evsourcing.MetaCloudEventSource: "urn:x:y", evsourcing.MetaCloudEventSchema: "https://example.com/s#a"}
		},
		"opaque content": func(e *evsourcing.StoredEvent) { e.ContentType = "application/octet-stream" },
	}
	for _, data := range []string{
		`null`, `true`, `1`, `-0`, `1e400`, `12345678901234567890`, `"text"`, `"\ud800"`, `"</script>"`, "\"\u2028\"", `[]`, `{}`,
		`[1,{"a":null}]`, `{"a":1,"a":2}`, `{ "a" : 1 }`, "{\n}", `{"a":"/"}`, `{"specversion":"0.3"}`, // JSON
		" 1", "1\n", "1 2", `1,"id":"x"`, `}`, `{"a":1`, "", "text", "\xff", "\"\xff\"", "\x00", "\ufeff{}", // not, or not bare
		strings.Repeat("[", 9_998) + strings.Repeat("]", 9_998),
	} {
		for _, contentType := range []string{
			"application/json", "application/json; charset=utf-8", "Application/JSON", "text/json", "application/vnd.acme+json;v=1", "a/B+JSON",
			"application/xml", "text/plain", "application/jsonx", "application/octet-stream", "json", "", "a/b/json", "a/b;", "a/b; c", "a b/c",
			"a/b; c=\"d\x01\"", "ü/json", "\n",
		} {
			cases[fmt.Sprintf("data %.20q as %q", data, contentType)] = func(e *evsourcing.StoredEvent) {
				if e.ContentType = contentType; data == "" {
					e.Data = nil
				} else {
					e.Data = []byte(data)
				}
			}
		}
	}
	for i, text := range ceTexts() {
		cases[fmt.Sprintf("texts %d", i)] = func(e *evsourcing.StoredEvent) {
			e.Stream = evsourcing.StreamID{Type: text, ID: text}
			e.Topic, e.ContentType = text, text
			e.Tags = []string{text, "b", text}
			e.Metadata = evsourcing.Metadata{text: text, "user": text, "causation_id": text, "correlation_id": text}
		}
		cases[fmt.Sprintf("type %d", i)] = func(e *evsourcing.StoredEvent) { e.Stream.Type = text }
		cases[fmt.Sprintf("ID %d", i)] = func(e *evsourcing.StoredEvent) { e.Stream.ID = text }
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) { requireCloudEvent(t, ceMessage(change)) })
	}
}

// Similar names stay apart.
func TestCloudEventsStreamsStayApart(t *testing.T) {
	t.Parallel()
	names := append(ceTexts(), "a", "b", "a/b", "b/c", "c", "a\n", "a\r", "a%0A", "a\ufffd", "a\u240a")
	seen := map[string]evsourcing.StreamID{}
	for _, typ := range names {
		for _, id := range names {
			stream := evsourcing.StreamID{Type: typ, ID: id}
			data, err := ceEncoder().EncodeMessage(ceMessage(func(e *evsourcing.StoredEvent) { e.Stream = stream }))
			require.NoError(t, err)
			if other, ok := seen[string(data)]; ok {
				require.Equal(t, other, stream, "%s", data)
			}
			seen[string(data)] = stream
		}
	}
}

func TestCloudEventsProperty(t *testing.T) {
	t.Parallel()
	n := 3000
	if testing.Short() {
		n = 300
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	texts := ceTexts()
	text := func() string {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			if r.IntN(2) == 0 {
				b.WriteString(texts[r.IntN(len(texts))])
			} else if c := r.Int32N(utf8.MaxRune) + 1; utf8.ValidRune(c) {
				b.WriteRune(c >> r.IntN(16) & 0xFFFF)
			}
		}
		s := strings.ToValidUTF8(strings.ReplaceAll(b.String(), "\x00", "0"), "")
		if s = s[:min(len(s), evsourcing.MaxNameSize)]; s == "" || !utf8.ValidString(s) {
			return "x"
		}
		return s
	}
	maybe := func(s string) string {
		if r.IntN(4) == 0 {
			return ""
		}
		return s
	}
	contentTypes := []string{"application/json", "text/plain; a=b", "application/x+json", "application/cbor", "", "odd"}
	for range n {
		requireCloudEvent(t, ceMessage(func(e *evsourcing.StoredEvent) {
			for i := range e.ID {
				e.ID[i] = byte(r.Uint32())
			}
			e.Stream = evsourcing.StreamID{Type: maybe(text()), ID: maybe(text())}
			e.Version, e.Position = r.Uint64()>>(1+r.IntN(63)), r.Uint64()>>(1+r.IntN(63))
			e.Topic = text()
			e.ContentType = contentTypes[r.IntN(len(contentTypes))]
			e.Data = nil
			if r.IntN(3) > 0 {
				e.Data, _ = json.Marshal(map[string]any{text(): text(), text(): []any{1.5, nil, text()}})
			} else if s := maybe(text()); s != "" {
				e.Data = []byte(s)
			}
			for range r.IntN(3) {
				e.Tags = append(e.Tags, text())
			}
			for _, key := range []string{"user", "traceparent", "tracestate", "causation_id", "correlation_id", "es.command_id", text(), text()} {
				if r.IntN(3) == 0 {
					e.Metadata = e.Metadata.With(key, maybe(text()))
				}
			}
			e.Time = time.UnixMicro(r.Int64N(1<<52) - 1<<50).UTC()
		}))
	}
}

// One event as it is on the wire. What is in the file has been sent, and must
// stay readable.
func TestCloudEventsGolden(t *testing.T) {
	t.Parallel()
	m := ceMessage(func(e *evsourcing.StoredEvent) {
		e.Tags = []string{"airport:CDG", "late"}
		e.Metadata = evsourcing.Metadata{
			evsourcing.MetaCausationID:   "019a1b2c-0000-7000-8000-000000000001",
			evsourcing.MetaCorrelationID: "request-7",
			"traceparent":                "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01",
			"tracestate":                 "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
			"user":                       "jürgen",
			"Reply-To":                   "tower@example.com",
		}
	})
	data, err := ceEncoder().EncodeMessage(m)
	require.NoError(t, err)
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, data, "", "  "))
	golden := readFile(t, "testdata/cloudevents/landed.json")
	assert.Equal(t, strings.TrimSpace(string(golden)), indented.String())

	got, err := evsourcing.NewCloudEvents(ceSource, newCodec()).DecodeMessage(golden)
	require.NoError(t, err)
	assert.JSONEq(t, string(m.Data), string(got.Data), "formatted anew, it is the same JSON, not the same bytes")
	got.Data = m.Data
	m.Event = Landed{Airport: "CDG"}
	assert.Equal(t, m, got)
}

func TestCloudEventsCorrelation(t *testing.T) {
	t.Parallel()
	root := ceMessage(nil)
	assert.Equal(t, root.ID.String(), ceAttributes(t, requireCloudEvent(t, root))["correlationid"], "a root is one of its own chain")
	attributes := ceAttributes(t, requireCloudEvent(t, ceMessage(func(e *evsourcing.StoredEvent) {
		e.Metadata = evsourcing.Metadata{"correlation_id": "root", "causation_id": "cause", "traceparent": "00-a-b-01", "tracestate": "a=b"}
	})))
	assert.Equal(t, "root", attributes["correlationid"])
	assert.Equal(t, "cause", attributes["causationid"])
	assert.Equal(t, "00-a-b-01", attributes["traceparent"])
	assert.Equal(t, "a=b", attributes["tracestate"])
	assert.NotContains(t, attributes, "esmetadata")
}

// JSON is JSON, for everybody to read; the rest is base64.
func TestCloudEventsData(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		contentType, data string
		want              any
	}{
		{"application/json", `{"a":[1]}`, map[string]any{"a": []any{1.0}}},
		{"text/JSON; charset=utf-8", `"{}"`, "{}"},
		{"application/vnd.acme+json", `1`, 1.0},
		{"application/json", `null`, nil},
		{"application/json", `{`, "ew=="},
		{"application/json", ` 1`, "IDE="},
		{"application/xml", `{}`, "e30="},
		{"", `{}`, "e30="},
	} {
		attributes := ceAttributes(t, requireCloudEvent(t, ceMessage(func(e *evsourcing.StoredEvent) {
			e.ContentType, e.Data = test.contentType, []byte(test.data)
		})))
		plain, isPlain := attributes["data"]
		binary, isBinary := attributes["data_base64"]
		if s, ok := test.want.(string); ok && strings.HasSuffix(s, "=") {
			assert.False(t, isPlain, test.contentType)
			assert.Equal(t, test.want, binary)
		} else {
			assert.False(t, isBinary, test.contentType)
			assert.True(t, isPlain)
			assert.Equal(t, test.want, plain)
		}
	}
	none := ceAttributes(t, requireCloudEvent(t, ceMessage(func(e *evsourcing.StoredEvent) { e.Data = nil })))
	assert.NotContains(t, none, "data")
	assert.NotContains(t, none, "data_base64")
}

// ceAttributes returns the members of an event.
func ceAttributes(t *testing.T, data []byte) (attributes map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(data, &attributes), "%s", data)
	return attributes
}

func TestCloudEventsEncodeRefuses(t *testing.T) {
	t.Parallel()
	foreign, err := ceEncoder().DecodeMessage([]byte(`{"specversion":"1.0","id":"7","source":"/x","type":"t"}`))
	require.NoError(t, err)
	for says, change := range map[string]func(e *evsourcing.StoredEvent){
		"event ID is nil":            func(e *evsourcing.StoredEvent) { e.ID = uuid.Nil },
		"topic is empty":             func(e *evsourcing.StoredEvent) { e.Topic = "" },
		"topic is not valid UTF-8":   func(e *evsourcing.StoredEvent) { e.Topic = "\xff" },
		"stream":                     func(e *evsourcing.StoredEvent) { e.Stream.ID = "\xff" },
		"over the limit of 512":      func(e *evsourcing.StoredEvent) { e.Stream.Type = longName },
		`tag "\xff"`:                 func(e *evsourcing.StoredEvent) { e.Tags = []string{"\xff"} },
		`metadata value of "user"`:   func(e *evsourcing.StoredEvent) { e.Metadata = evsourcing.Metadata{"user": "\xff"} },
		"year is 10000":              func(e *evsourcing.StoredEvent) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"out of range":               func(e *evsourcing.StoredEvent) { e.Version = 1 << 63 },
		"position is out of range":   func(e *evsourcing.StoredEvent) { e.Position = evsourcing.AnyVersion },
		"over the limit of 16777216": func(e *evsourcing.StoredEvent) { e.Data = make([]byte, evsourcing.MaxDataSize+1) },
		"over the limit of 1048576": func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{"causation_id": strings.Repeat("x", evsourcing.MaxMetadataSize)}
		},
		`"source", from the metadata`: func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{evsourcing.MetaCloudEventSource: "no reference"}
		},
		`"dataschema", from the metadata`: func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{evsourcing.MetaCloudEventSchema: "/relative"}
		},
		"belongs to another event": func(e *evsourcing.StoredEvent) { e.Metadata = foreign.Metadata },
	} {
		data, err := ceEncoder().EncodeMessage(ceMessage(change))
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "evsourcing: encode a CloudEvent: ")
		assert.Nil(t, data)
	}
}

// The largest event that a store takes, of what takes the most room.
func TestCloudEventsLargest(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(e *evsourcing.StoredEvent){
		"value": func(e *evsourcing.StoredEvent) {
			e.Metadata = evsourcing.Metadata{"k": strings.Repeat("\x01", evsourcing.MaxMetadataSize-1)}
		},
		"tags": func(e *evsourcing.StoredEvent) {
			e.Tags = strings.Split(strings.Repeat("\x01", evsourcing.MaxMetadataSize), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := ceMessage(change)
			m.Data = make([]byte, evsourcing.MaxDataSize)
			data, err := ceEncoder().EncodeMessage(m)
			require.NoError(t, err)
			t.Logf("%d MiB", len(data)>>20)
			got, err := evsourcing.NewCloudEvents("/other", ceCodec{}).DecodeMessage(data)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(m.Data, got.Data))
			assert.Equal(t, m.Tags, got.Tags)
			assert.Equal(t, m.Metadata["k"], got.Metadata["k"])
		})
	}
	_, err := ceEncoder().DecodeMessage(bytes.Repeat([]byte(" "), 64<<20+1))
	require.ErrorContains(t, err, "over the limit")
}

func TestNewCloudEventsRefuses(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"", " ", "a b", "ü", "%", "%zz", "a%2", "a\n", ":", "1:2", "#a#b", "a[", "http://[::1", "http://h/[x]", `"`, "a\\b", "^"} {
		assert.Panics(t, func() { evsourcing.NewCloudEvents(source, ceCodec{}) }, source)
	}
	for _, source := range []string{
		"/", "a", "a/b", "//host", "https://example.com/flights?x=y#z", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
		"mailto:a@b", "1-555-123-4567", "%41", "http://[::1]:80/", "?", "#",
	} {
		assert.NotPanics(t, func() { evsourcing.NewCloudEvents(source, ceCodec{}) }, source)
	}
	assert.Panics(t, func() { evsourcing.NewCloudEvents("/", nil) })
}
