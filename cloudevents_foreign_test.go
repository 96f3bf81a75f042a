package evsourcing_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// ceForeign is an event of another producer, with more members.
func ceForeign(members ...string) string {
	return `{"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","id":"A234-1234-1234"` +
		strings.Join(append([]string{""}, members...), ",") + `}`
}

// Events of other producers, among them those of the specification.
func TestCloudEventsOfOtherProducers(t *testing.T) {
	t.Parallel()
	id := uuid.NewSHA1(uuid.NewSHA1(uuid.NameSpaceURL, []byte("/mycontext")), []byte("A234-1234-1234"))
	for name, test := range map[string]struct {
		data string
		want func(e *evsourcing.StoredEvent)
	}{
		"the least": {ceForeign(), func(*evsourcing.StoredEvent) {}},
		"binary data": {
			ceForeign(`"time":"2018-04-05T17:31:00Z"`, `"comexampleextension1":"value"`, `"comexampleothervalue":5`,
				`"datacontenttype":"application/vnd.apache.thrift.binary"`, `"data_base64":"AAH/"`),
			func(e *evsourcing.StoredEvent) {
				e.Time = time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC)
				e.ContentType, e.Data = "application/vnd.apache.thrift.binary", []byte{0, 1, 255}
				e.Metadata["comexampleextension1"], e.Metadata["comexampleothervalue"] = "value", "5"
			},
		},
		"XML": {
			ceForeign(`"unsetextension":null`, `"datacontenttype":"application/xml"`, `"data":"<much wow=\"xml\"/>"`),
			func(e *evsourcing.StoredEvent) {
				e.ContentType, e.Data = "application/xml", []byte(`<much wow="xml"/>`)
			},
		},
		"JSON": {
			ceForeign(`"subject":null`, `"datacontenttype":"application/json"`, `"data" : {"a" : "abc", "b":1.50, "a":true} `),
			func(e *evsourcing.StoredEvent) { e.Data = []byte(`{"a" : "abc", "b":1.50, "a":true}`) },
		},
		"a string without a content type": {
			ceForeign(`"data":"I'm just a string"`), func(e *evsourcing.StoredEvent) { e.Data = []byte(`"I'm just a string"`) },
		},
		"JSON in a string": {
			ceForeign(`"data":"{\"a\":1}"`), func(e *evsourcing.StoredEvent) { e.Data = []byte(`"{\"a\":1}"`) },
		},
		"null data": {ceForeign(`"data":null`, `"data_base64":null`), func(e *evsourcing.StoredEvent) { e.Data = []byte("null") }},
		"+json with parameters": {
			ceForeign(`"datacontenttype":"application/vnd.acme+JSON; v=1"`, `"data":[1, 2]`),
			func(e *evsourcing.StoredEvent) {
				e.ContentType, e.Data = "application/vnd.acme+JSON; v=1", []byte("[1, 2]")
			},
		},
		"JSON in Base64": {
			ceForeign(`"datacontenttype":"application/json"`, `"data_base64":"ICAx"`), func(e *evsourcing.StoredEvent) { e.Data = []byte("  1") },
		},
		"a subject without a slash": {ceForeign(`"subject":"123"`), func(e *evsourcing.StoredEvent) { e.Stream.ID = "123" }},
		"a subject with slashes": {
			ceForeign(`"subject":"partnerid/5/clientid/100"`),
			func(e *evsourcing.StoredEvent) {
				e.Stream = evsourcing.StreamID{Type: "partnerid", ID: "5/clientid/100"}
			},
		},
		"a subject that starts with a slash": {ceForeign(`"subject":"/a"`), func(e *evsourcing.StoredEvent) { e.Stream.ID = "a" }},
		"a time elsewhere": {
			ceForeign(`"time":"2018-04-05T19:31:00.5+02:00"`),
			func(e *evsourcing.StoredEvent) { e.Time = time.Date(2018, 4, 5, 17, 31, 0, 5e8, time.UTC) },
		},
		"a schema": {
			ceForeign(`"dataschema":"https://example.com/schema#a"`),
			func(e *evsourcing.StoredEvent) {
				e.Metadata[evsourcing.MetaCloudEventSchema] = "https://example.com/schema#a"
			},
		},
		"extensions": {
			ceForeign(`"flag":true`, `"other":false`, `"low":-2147483648`, `"high":2147483647`, `"empty":""`, `"partitionkey":"k"`,
				`"averylongextensionattributename":"x"`, `"version":"v2"`, `"none":null`, `"traceparent":"00-a-b-01"`),
			func(e *evsourcing.StoredEvent) {
				for key, value := range map[string]string{
					"flag": "true", "other": "false", "low": "-2147483648", "high": "2147483647", "empty": "", "partitionkey": "k",
					"averylongextensionattributename": "x", "version": "v2", "traceparent": "00-a-b-01",
				} {
					e.Metadata[key] = value
				}
			},
		},
		"correlation": {
			ceForeign(`"correlationid":"txn-abc-123"`, `"causationid":"order-123"`),
			func(e *evsourcing.StoredEvent) {
				e.Metadata["correlation_id"], e.Metadata["causation_id"] = "txn-abc-123", "order-123"
			},
		},
		"its own correlation": {
			ceForeign(`"correlationid":"A234-1234-1234"`),
			func(e *evsourcing.StoredEvent) { e.Metadata["correlation_id"] = "A234-1234-1234" },
		},
		"a surrogate pair, and an escaped backslash before a u": {
			ceForeign(`"ext":"\uD83D\uDE00 \\ud800 \ufffd"`), func(e *evsourcing.StoredEvent) { e.Metadata["ext"] = "😀 \\ud800 \ufffd" },
		},
		"white space": {" \r\n\t" + ceForeign() + "\n ", func(*evsourcing.StoredEvent) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := ceEncoder().DecodeMessage([]byte(test.data))
			require.NoError(t, err)
			want := evsourcing.StoredEvent{
				ID: id, Topic: "com.example.someevent", ContentType: "application/json", Metadata: evsourcing.Metadata{
					evsourcing.MetaCloudEventSource: "/mycontext", evsourcing.MetaCloudEventID: "A234-1234-1234",
				},
			}
			test.want(&want)
			assert.Equal(t, want, m.StoredEvent)
			again := ceAttributes(t, requireCloudEvent(t, m))
			assert.Equal(t, "A234-1234-1234", again["id"])
			assert.Equal(t, "/mycontext", again["source"])
		})
	}
}

func TestCloudEventsIDs(t *testing.T) {
	t.Parallel()
	decode := func(source, id string) evsourcing.Message {
		t.Helper()
		m, err := ceEncoder().DecodeMessage([]byte(`{"specversion":"1.0","type":"t","source":"` + source + `","id":"` + id + `"}`))
		require.NoError(t, err)
		return m
	}
	const id = "019a1b2c-3d4e-7f60-8123-456789abcdef"
	m := decode(ceSource, id)
	assert.Equal(t, id, m.ID.String())
	assert.Empty(t, m.Metadata)
	assert.Equal(t, id, decode("/a", id).ID.String(), "a UUID is unique whoever made it")

	seen := map[uuid.UUID]bool{uuid.MustParse(id): true}
	for _, source := range []string{ceSource, "/a", "/b"} {
		for _, other := range []string{"1", "2", strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), uuid.Nil.String()} {
			m := decode(source, other)
			assert.False(t, seen[m.ID], "%s %s", source, other)
			seen[m.ID] = true
			assert.Equal(t, other, m.Metadata[evsourcing.MetaCloudEventID])
			assert.Equal(t, source, m.Metadata[evsourcing.MetaCloudEventSource])
			assert.Equal(t, m.ID, decode(source, other).ID, "always the same")
			requireCloudEvent(t, m)
		}
	}
}

// Errors name the attribute.
func TestCloudEventsDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := `{"specversion":"1.0","id":"1","source":"/a","type":"t"}`
	with := func(members string) string { return good[:len(good)-1] + "," + members + "}" }
	instead := func(old, text string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, text, 1)
	}
	_, err := ceEncoder().DecodeMessage([]byte(good))
	require.NoError(t, err)
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, test := range []struct{ says, data string }{
		{"read JSON", ""}, {"read JSON", "{"}, {"read JSON", good[:len(good)-1]}, {"read JSON", `{"id":"1",}`}, {"read JSON", `{1:2}`},
		{"no JSON object", "[]"}, {"no JSON object", "null"}, {"no JSON object", `"text"`}, {"no JSON object", "1"},
		{"something follows", good + good}, {"something follows", good + "x"}, {"not valid UTF-8", with("\"ext\":\"\xff\"")},
		{`"specversion"`, instead(`"1.0"`, `"0.3"`)}, {`"specversion": "1.1" is not supported`, instead(`"1.0"`, `"1.1"`)}, {`"specversion"`, instead(`"1.0"`, `1.0`)}, {`"specversion"`, instead(`"1.0"`, `null`)},
		{`"specversion": it is missing`, instead(`"specversion":"1.0",`, "")}, {`"specversion"`, instead(`"1.0"`, `""`)},
		{`"id": it is missing`, instead(`"id":"1",`, "")}, {`"id": it is empty`, instead(`"1",`, `"",`)}, {`"id": it is not a string`, instead(`"1",`, `1,`)},
		{`"id": it occurs twice`, with(`"id":"1"`)}, {`"id": it has characters`, instead(`"1",`, `"\n",`)},
		{`"id": it is too long`, instead(`"1",`, `"`+strings.Repeat("1", 64<<10+1)+`",`)},
		{`"source"`, instead(`"/a"`, `"a b"`)}, {`"source": it is missing`, instead(`"/a"`, `null`)},
		{`"source"`, instead(`/a`, strings.Repeat("a", 64<<10+1))},
		{`"type": it is missing`, instead(`,"type":"t"`, "")}, {`"type": it has 513 bytes`, instead(`"t"`, `"`+longName+`"`)}, {`"type"`, instead(`"t"`, `{}`)},
		{`"subject": it is empty`, with(`"subject":""`)}, {`"subject"`, with(`"subject":[]`)}, {"stream", with(`"subject":"` + longName + `"`)},
		{`"time"`, with(`"time":"yesterday"`)}, {`"time"`, with(`"time":1`)}, {`"time"`, with(`"time":"2018-04-05"`)}, {"time's year", with(`"time":"9999-12-31T23:59:59-01:00"`)},
		{`"dataschema": it is no URI`, with(`"dataschema":"/a"`)}, {`"dataschema"`, with(`"dataschema":""`)},
		{`"dataschema"`, with(`"dataschema":"a:` + strings.Repeat("a", 64<<10) + `"`)},
		{`"datacontenttype"`, with(`"datacontenttype":"json"`)}, {`"datacontenttype"`, with(`"datacontenttype":true`)},
		{"content type", with(`"datacontenttype":"a/` + longName + `"`)},
		{`"data": it is not a string, which "text/xml" asks for`, with(`"datacontenttype":"text/xml","data":{}`)},
		{`"data": it is not a string`, with(`"datacontenttype":"text/xml","data":null`)},
		{`"data": it has half`, with(`"datacontenttype":"text/xml","data":"\ud800"`)}, {`"data"`, with(`"data":tru`)}, {`"data"`, with(`"data":` + deep)},
		{`"data_base64"`, with(`"data_base64":"?"`)}, {`"data_base64"`, with(`"data_base64":"AAA"`)}, {`"data_base64"`, with(`"data_base64":1`)},
		{`"data_base64": there is data, too`, with(`"data":1,"data_base64":"AA=="`)}, {`"data": it occurs twice`, with(`"data":null,"data":1`)},
		{`"Ext"`, with(`"Ext":1`)}, {`"my_ext"`, with(`"my_ext":1`)}, {`""`, with(`"":1`)}, {`"ü"`, with(`"ü":1`)},
		{`"ext": it occurs twice`, with(`"ext":null,"ext":null`)}, {`"ext"`, with(`"ext":{}`)}, {`"ext"`, with(`"ext":[]`)}, {`"ext"`, with(`"ext":1.5`)},
		{`"ext"`, with(`"ext":1e3`)}, {`"ext"`, with(`"ext":2147483648`)}, {`"ext"`, with(`"ext":-2147483649`)}, {`"ext": it has characters`, with(`"ext":"\u0080"`)},
		{`"ext": it has half`, with(`"ext":"\ud800"`)}, {`"ext": it has half`, with(`"ext":"\udc00"`)}, {`"ext": it has half`, with(`"ext":"\ud800x"`)},
		{`"ext": it has half`, with(`"ext":"\ud800\n"`)}, {`"ext": it has half`, with(`"ext":"\uD800\ud800"`)},
		{`"esversion"`, with(`"esversion":3`)}, {`"esversion"`, with(`"esversion":"-1"`)}, {`"esversion"`, with(`"esversion":"9223372036854775808"`)},
		{`"esposition"`, with(`"esposition":"1.0"`)}, {`"esposition"`, with(`"esposition":""`)}, {`"esposition": "99`, with(`"esposition":"` + strings.Repeat("9", 99) + `"`)},
		{`"estags"`, with(`"estags":["a"]`)}, {`"estags"`, with(`"estags":"a"`)}, {`"estags"`, with(`"estags":"[1]"`)}, {"the tag", with(`"estags":"[\"\"]"`)},
		{`"esmetadata"`, with(`"esmetadata":"[]"`)}, {`"esmetadata"`, with(`"esmetadata":"null"`)}, {`"esmetadata"`, with(`"esmetadata":"{\"a\":1}"`)},
		{`"esmetadata"`, with(`"esmetadata":"{\"es.ce_id\":\"1\"}"`)}, {"metadata key", with(`"esmetadata":"{\"\":\"\"}"`)},
		{`"ext": esmetadata has "ext", too`, with(`"ext":"1","esmetadata":"{\"ext\":\"1\"}"`)},
		{`"causationid": esmetadata has "causation_id", too`, with(`"causationid":"1","esmetadata":"{\"causation_id\":\"1\"}"`)},
		{`"correlationid": esmetadata has "correlation_id", too`, with(`"correlationid":"1","esmetadata":"{\"correlation_id\":\"1\"}"`)},
		{`"estopic": it contradicts type`, with(`"estopic":"\"u\""`)}, {`"estopic"`, with(`"estopic":"u"`)},
		{`"esstream": it contradicts subject`, with(`"esstream":"[\"a\",\"b\"]"`)}, {`"esstream": it contradicts subject`, with(`"subject":"a/c","esstream":"[\"a\",\"b\"]"`)},
		{`"esstream": it is not an array of two`, with(`"subject":"a","esstream":"[\"a\"]"`)}, {`"esstream"`, with(`"esstream":"{}"`)},
		{`"esstream": it is not an array of two`, with(`"subject":"a/b","esstream":"[\"a\",\"b\",\"c\"]"`)},
		{`"escontenttype": it contradicts`, with(`"escontenttype":"\"a\""`)}, {"over the limit", with(`"ext":"` + strings.Repeat("x", evsourcing.MaxMetadataSize) + `"`)},
	} {
		m, err := ceEncoder().DecodeMessage([]byte(test.data))
		if assert.ErrorContains(t, err, test.says, "%.200s", test.data) {
			require.ErrorContains(t, err, "evsourcing: decode a CloudEvent: ")
			assert.Less(t, len(err.Error()), 500)
		}
		assert.Equal(t, evsourcing.Message{}, m)
	}
}

// The payload is the codec's to decode, with all that it knows.
func TestCloudEventsDecodeByTheCodec(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	codec.Alias("arrived", Landed{})
	codec.Upcast("touchdown", "aircraft.landed", replacing("place", "airport"))
	encoder := evsourcing.NewCloudEvents(ceSource, codec)
	for _, test := range []struct{ topic, contentType, data string }{
		{"aircraft.landed", "application/json", `{"airport":"CDG"}`},
		{"arrived", "application/json; charset=utf-8", `{"airport":"CDG"}`},
		{"touchdown", "Application/JSON", `{"place":"CDG"}`},
	} {
		data, err := encoder.EncodeMessage(ceMessage(func(e *evsourcing.StoredEvent) {
			e.Topic, e.ContentType, e.Data = test.topic, test.contentType, []byte(test.data)
		}))
		require.NoError(t, err)
		assert.Equal(t, test.topic, ceAttributes(t, data)["type"])
		m, err := encoder.DecodeMessage(data)
		require.NoError(t, err)
		assert.Equal(t, Landed{Airport: "CDG"}, m.Event)
		assert.Equal(t, "aircraft.landed", m.Topic)
		assert.JSONEq(t, `{"airport":"CDG"}`, string(m.Data))
	}

	data, err := encoder.EncodeMessage(ceMessage(func(e *evsourcing.StoredEvent) { e.Topic = "unheard.of" }))
	require.NoError(t, err)
	m, err := encoder.DecodeMessage(data)
	require.ErrorIs(t, err, evsourcing.ErrUnknownTopic)
	require.ErrorContains(t, err, "aircraft/DM2018")
	assert.Equal(t, "unheard.of", m.Topic)
	assert.Nil(t, m.Event)
}

func TestCloudEventsKeepNothingOfTheirInput(t *testing.T) {
	t.Parallel()
	data := []byte(ceForeign(`"subject":"aircraft/1"`, `"data":{"a":1}`, `"ext":"value"`))
	m, err := ceEncoder().DecodeMessage(data)
	require.NoError(t, err)
	for i := range data {
		data[i] = 'x'
	}
	assert.JSONEq(t, `{"a":1}`, string(m.Data))
	assert.Equal(t, "value", m.Metadata["ext"])
	assert.Equal(t, "aircraft/1", m.Stream.String())
}
