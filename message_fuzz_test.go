package evsourcing_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// FuzzCloudEventsDecode: whatever arrives, DecodeMessage returns a message or an
// error. What it returns a message of encodes, to a CloudEvent, and decodes to
// the same message again.
func FuzzCloudEventsDecode(f *testing.F) {
	golden, err := os.ReadFile("testdata/cloudevents/landed.json")
	require.NoError(f, err)
	f.Add(golden)
	for _, members := range []string{
		`"subject":"a/b"`, `"subject":"\ufffd/c","esstream":"[\"\\n\",\"c\"]"`, `"time":"2018-04-05T17:31:00.123456789+02:00"`,
		`"datacontenttype":"application/xml","data":"<a/>"`, `"datacontenttype":"a/b","data":""`, `"data":null`, `"data":{"a":[1e400,"\ud800"]}`, `"data_base64":"AAE="`,
		`"flag":true,"n":-5,"none":null`, `"correlationid":"c","causationid":"d"`, `"estags":"[\"a\",\"b\"]"`, `"estags":"[]","esmetadata":"{}"`,
		`"esmetadata":"{\"X Y\":\"\\u0001\",\"correlation_id\":\"\"}"`, `"esversion":"1","esposition":"9223372036854775807"`,
		`"datacontenttype":"application/octet-stream","escontenttype":"\"\"","data_base64":"AA=="`, `"dataschema":"a:b"`,
	} {
		f.Add([]byte(ceForeign(members)))
	}
	m := ceMessage(func(e *evsourcing.StoredEvent) {
		e.Topic, e.Stream, e.Tags = "a\nb", evsourcing.StreamID{Type: "a/b", ID: "\uffff"}, []string{"\x01"}
		e.Metadata = evsourcing.Metadata{"correlation_id": e.ID.String(), "a": "", "traceparent": "00-a-b-01"}
	})
	data, err := ceEncoder().EncodeMessage(m)
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		m, err := ceEncoder().DecodeMessage(data)
		if !bytes.Equal(data, before) {
			t.Fatal("DecodeMessage has written to the data")
		}
		if err != nil {
			require.Equal(t, evsourcing.Message{}, m)
			return
		}
		requireCloudEvent(t, m)
	})
}

// FuzzMessageDecode: the same of the encoder that a bus uses if it is given
// none.
func FuzzMessageDecode(f *testing.F) {
	encoder := evsourcing.JSONMessages(ceCodec{})
	m := ceMessage(func(e *evsourcing.StoredEvent) {
		e.Tags, e.Metadata = []string{"a", ""}, evsourcing.Metadata{"a": "b", "": "\x00"}
	})
	data, err := encoder.EncodeMessage(m)
	require.NoError(f, err)
	f.Add(data)
	for _, data := range []string{"", "{}", "null", "[]", `{"id":"x"}`, `{"version":-1}`, `{"data":"?"}`, `{"time":"0000-01-01T00:00:00+23:59"}`, `{"topic":"\ud800"}`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := encoder.DecodeMessage(data)
		if err != nil {
			return
		}
		data, err = encoder.EncodeMessage(m)
		require.NoError(t, err)
		again, err := encoder.DecodeMessage(data)
		require.NoError(t, err, "%s", data)
		require.True(t, m.Time.Equal(again.Time))
		again.Time = m.Time
		m.Data, again.Data = append([]byte{}, m.Data...), append([]byte{}, again.Data...) // nil or empty
		if len(m.Tags)+len(again.Tags) == 0 {
			m.Tags, again.Tags = nil, nil
		}
		if len(m.Metadata)+len(again.Metadata) == 0 {
			m.Metadata, again.Metadata = nil, nil
		}
		require.Equal(t, m, again)
	})
}

// FuzzStreamNames: whatever a stream is called, Validate and every other judge
// agree on it; if it is valid, it keeps its events apart from those of another
// stream, and its name comes through everything as it is.
func FuzzStreamNames(f *testing.F) {
	for _, name := range append(ceTexts(), "", "a\x00", "\xff", longName, "a/b", "c") {
		f.Add(name, "b", "a", name)
		f.Add("a", name, "a/b", "c")
	}
	f.Add("a/b", "c", "a", "b/c")
	transport := &envelopes{Transport: evsourcing.NewChannelTransport()}
	bus := transportBus(transport, evsourcing.EventBusOptions{})
	require.NoError(f, bus.Listen())
	f.Fuzz(func(t *testing.T, typ1, id1, typ2, id2 string) {
		store := evsourcing.NewMemoryStore()
		streams := []evsourcing.StreamID{{Type: typ1, ID: id1}, {Type: typ2, ID: id2}}
		var keys []string
		for i, stream := range streams {
			e := evsourcing.StoredEvent{ID: uuid.UUID{byte(i + 1)}, Stream: stream, Version: 1, Topic: "t", ContentType: "application/json", Data: []byte("1")}
			batch := evsourcing.Batch{Stream: stream, Events: []evsourcing.StoredEvent{e}}
			verdict := stream.Validate()
			_, err := store.Append(t.Context(), batch)
			if verdict != nil {
				require.ErrorIs(t, verdict, evsourcing.ErrInvalidStream)
				require.ErrorIs(t, evsourcing.Validate(batch), evsourcing.ErrInvalidStream)
				require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
				for _, err := range store.Load(t.Context(), stream, evsourcing.Range{}) {
					require.ErrorIs(t, err, evsourcing.ErrInvalidStream)
				}
				return
			}
			if i == 1 && stream == streams[0] {
				require.ErrorIs(t, err, evsourcing.ErrConflict)
				return
			}
			require.NoError(t, evsourcing.Validate(batch))
			require.NoError(t, err)
			found := 0
			for got, err := range store.Load(t.Context(), stream, evsourcing.Range{}) {
				require.NoError(t, err)
				require.Equal(t, e.ID, got.ID)
				require.Equal(t, stream, got.Stream)
				found++
			}
			require.Equal(t, 1, found)

			m := evsourcing.Message{StoredEvent: e, Event: busNote{}}
			requireCloudEvent(t, m)
			data, err := evsourcing.JSONMessages(ceCodec{}).EncodeMessage(m)
			require.NoError(t, err)
			got, err := evsourcing.JSONMessages(ceCodec{}).DecodeMessage(data)
			require.NoError(t, err)
			require.Equal(t, stream, got.Stream)

			transport.sent = nil
			require.NoError(t, bus.Publish(t.Context(), m))
			keys = append(keys, transport.sent[0].Key)
		}
		// Streams with one key share a lane, no more: it may happen, as with
		// a/b + c and a + b/c, but only through a slash in a type.
		if keys[0] == keys[1] {
			require.Contains(t, typ1+typ2, "/")
		}
	})
}
