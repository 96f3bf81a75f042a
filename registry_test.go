package evsourcing_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// encode returns e as the codec stores it, as version 3 of DM2018.
func encode(t *testing.T, codec evsourcing.Codec, e evsourcing.Event) evsourcing.StoredEvent {
	t.Helper()
	stored := evsourcing.StoredEvent{ID: uuid.UUID{1}, Stream: aircraftStream("DM2018"), Version: 3}
	require.NoError(t, codec.Encode(t.Context(), &stored, e))
	return stored
}

// payload returns an event of the topic, stored as version 3 of DM2018.
func payload(topic, data string) *evsourcing.StoredEvent {
	return &evsourcing.StoredEvent{
		ID: uuid.UUID{1}, Stream: aircraftStream("DM2018"), Version: 3,
		Topic: topic, ContentType: "application/json", Data: []byte(data),
	}
}

func TestEventsComeBackInTheKindOfTheirPrototype(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	for _, test := range []struct {
		name        string
		event, want evsourcing.Event
	}{
		{"a value of a value", Landed{Airport: "CDG"}, Landed{Airport: "CDG"}},
		{"a pointer to a value", &Landed{Airport: "CDG"}, Landed{Airport: "CDG"}},
		{"a pointer", &Inspected{Hours: 3, Findings: []string{"a dent"}}, &Inspected{Hours: 3, Findings: []string{"a dent"}}},
		{"without fields", TakenOff{}, TakenOff{}},
		{"tagged", Diverted{Airport: "ORY", Reason: "fog"}, Diverted{Airport: "ORY", Reason: "fog"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stored := encode(t, codec, test.event)
			before := stored
			got, err := codec.Decode(t.Context(), &stored)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			assert.Equal(t, before, stored, "an event of the current schema is not changed")
		})
	}
}

func TestPrototypeMayBeANilPointer(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry((*Inspected)(nil), (*Landed)(nil))
	for event, want := range map[evsourcing.Event]evsourcing.Event{
		Landed{Airport: "CDG"}: &Landed{Airport: "CDG"},
	} {
		stored := encode(t, codec, event)
		got, err := codec.Decode(t.Context(), &stored)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestEncodeSetsThePayloadAndNothingElse(t *testing.T) {
	t.Parallel()
	stored := encode(t, newCodec(), Diverted{Airport: "ORY", Reason: "fog"})
	assert.Equal(t, evsourcing.StoredEvent{
		ID: uuid.UUID{1}, Stream: aircraftStream("DM2018"), Version: 3,
		Topic: "aircraft.diverted", ContentType: "application/json",
		Data: []byte(`{"airport":"ORY","reason":"fog"}`), Tags: []string{"airport:ORY", "reason:fog"},
	}, stored)
	require.NoError(t, newCodec().Encode(t.Context(), &stored, TakenOff{}))
	assert.Nil(t, stored.Tags, "an event without tags clears what was there")
	assert.JSONEq(t, `{}`, string(stored.Data))
}

func TestTagsAreCopied(t *testing.T) {
	t.Parallel()
	e := tagged{"a", "b"}
	stored := encode(t, evsourcing.NewRegistry(tagged{}), e)
	e[0] = "changed"
	assert.Equal(t, []string{"a", "b"}, stored.Tags)
}

// Parameters and case of a content type change nothing, unless somebody says so.
func TestDecodeLooksPastParametersOfContentTypes(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	decode := func(contentType, data string) (evsourcing.Event, error) {
		src := payload("aircraft.landed", data)
		src.ContentType = contentType
		return codec.Decode(t.Context(), src)
	}
	for _, contentType := range []string{"application/json", "application/json;charset=utf-8", "Application/JSON ; a=b", "APPLICATION/JSON"} {
		e, err := decode(contentType, `{"airport":"CDG"}`)
		require.NoError(t, err)
		assert.Equal(t, Landed{Airport: "CDG"}, e)
	}
	for _, contentType := range []string{"", "application/jsonx", "application/x+json", "text/json", ";", "application/base64"} {
		_, err := decode(contentType, `{}`)
		require.ErrorContains(t, err, fmt.Sprintf("no encoder for content type %q", contentType))
	}
	codec.WithEncoder(strictJSON{}).WithEncoder(evsourcing.JSON{})
	_, err := decode("application/json;strict", `{"airport":"CDG","runway":3}`)
	require.ErrorContains(t, err, "unknown field")
	_, err = decode("application/json;lax", `{"airport":"CDG","runway":3}`)
	require.NoError(t, err)
}

// strictJSON is JSON without unknown fields.
type strictJSON struct{ evsourcing.JSON }

func (strictJSON) ContentType() string { return "application/json;strict" }

func (strictJSON) Unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

type tagged []string

func (tagged) Topic() string    { return "tagged" }
func (t tagged) Tags() []string { return t }

func TestEventsNeedNotBeStructs(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry(tagged{}, remark(""))
	for _, e := range []evsourcing.Event{tagged{"a"}, remark("a remark")} {
		stored := encode(t, codec, e)
		got, err := codec.Decode(t.Context(), &stored)
		require.NoError(t, err)
		assert.Equal(t, e, got)
	}
}

type remark string

func (remark) Topic() string { return "remark" }

func TestDecodedEventsShareNothing(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry(manifest{})
	first, err := codec.Decode(t.Context(), payload("manifest", `{"names":["a","b"],"bags":{"a":1}}`))
	require.NoError(t, err)
	second, err := codec.Decode(t.Context(), payload("manifest", `{"names":["c"],"bags":{"c":2}}`))
	require.NoError(t, err)
	third, err := codec.Decode(t.Context(), payload("manifest", `{}`))
	require.NoError(t, err)
	assert.Equal(t, manifest{Names: []string{"a", "b"}, Bags: map[string]int{"a": 1}}, first)
	assert.Equal(t, manifest{Names: []string{"c"}, Bags: map[string]int{"c": 2}}, second)
	assert.Equal(t, manifest{}, third, "nothing is left of the one before")
}

type manifest struct {
	Names []string       `json:"names"`
	Bags  map[string]int `json:"bags"`
}

func (manifest) Topic() string { return "manifest" }

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	var inspected *Inspected
	var unsupported *json.UnsupportedValueError
	for _, test := range []struct {
		name  string
		event evsourcing.Event
		is    error
		says  []string
	}{
		{"nil", nil, evsourcing.ErrNoEvent, nil},
		{"a nil pointer", inspected, evsourcing.ErrNoEvent, nil},
		{"an unknown topic", Repainted{}, evsourcing.ErrUnknownTopic, []string{`"aircraft.repainted"`, "Repainted"}},
		{"another type under the topic", Crashed{}, nil, []string{`"aircraft.landed"`, "evsourcing_test.Landed", "evsourcing_test.Crashed"}},
		{"a pointer to another type", &Crashed{}, nil, []string{`"aircraft.landed"`, "*evsourcing_test.Crashed"}},
		{"an event that does not encode", Refuelled{Tons: math.NaN()}, nil, []string{`"aircraft.refuelled"`, "Refuelled", "NaN"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dst := evsourcing.StoredEvent{Version: 3}
			err := newCodec().Encode(t.Context(), &dst, test.event)
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), "evsourcing: "), err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			for _, s := range test.says {
				assert.ErrorContains(t, err, s)
			}
			assert.Equal(t, evsourcing.StoredEvent{Version: 3}, dst, "nothing was set")
		})
	}
	err := newCodec().Encode(t.Context(), &evsourcing.StoredEvent{}, Refuelled{Tons: math.Inf(1)})
	assert.ErrorAs(t, err, &unsupported, "the encoder's error is wrapped")
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	var syntax *json.SyntaxError
	for _, test := range []struct {
		name  string
		event *evsourcing.StoredEvent
		is    error
		says  string
	}{
		{"an unknown topic", payload("aircraft.painted", `{}`), evsourcing.ErrUnknownTopic, ""},
		{"an empty topic", payload("", `{}`), evsourcing.ErrUnknownTopic, ""},
		{"a corrupt payload", payload("aircraft.landed", `{"airport":`), nil, "unexpected end of JSON input"},
		{"an empty payload", payload("aircraft.landed", ``), nil, "unexpected end of JSON input"},
		{"a payload of another shape", payload("aircraft.inspected", `{"hours":"three"}`), nil, "cannot unmarshal"},
		{"an unknown content type", &evsourcing.StoredEvent{
			Stream: aircraftStream("DM2018"), Version: 3, Topic: "aircraft.landed", ContentType: "application/cbor",
		}, nil, `no encoder for content type "application/cbor"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			topic := strconv.Quote(test.event.Topic)
			e, err := newCodec().Decode(t.Context(), test.event)
			require.Error(t, err)
			assert.Nil(t, e)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			for _, s := range []string{"version 3", "aircraft/DM2018", topic, test.says} {
				assert.ErrorContains(t, err, s)
			}
		})
	}
	_, err := newCodec().Decode(t.Context(), payload("aircraft.landed", `{]`))
	assert.ErrorAs(t, err, &syntax, "the encoder's error is wrapped")
}

func TestDecodeGoesOnAfterACorruptPayload(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	for range 3 {
		_, err := codec.Decode(t.Context(), payload("aircraft.landed", `{"airport":"CDG","airport":7}`))
		require.Error(t, err)
		got, err := codec.Decode(t.Context(), payload("aircraft.landed", `{}`))
		require.NoError(t, err)
		assert.Equal(t, Landed{}, got, "nothing is left of the corrupt one")
	}
}

func TestRegisterReturnsAnError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		events []evsourcing.Event
		is     error
		says   string
	}{
		{"nil", []evsourcing.Event{TakenOff{}, nil}, nil, "event 1 is nil"},
		{"twice", []evsourcing.Event{TakenOff{}, TakenOff{}}, evsourcing.ErrDuplicateTopic, `"aircraft.taken_off"`},
		{"a value and a pointer", []evsourcing.Event{TakenOff{}, &TakenOff{}}, evsourcing.ErrDuplicateTopic, `"aircraft.taken_off"`},
		{"two types under one topic", []evsourcing.Event{TakenOff{}, Landed{}, Crashed{}}, evsourcing.ErrDuplicateTopic, `"aircraft.landed"`},
		{"a topic registered before", []evsourcing.Event{TakenOff{}, Scheduled{}}, evsourcing.ErrDuplicateTopic, `"aircraft.scheduled"`},
		{"an empty topic of the zero value", []evsourcing.Event{TakenOff{}, &named{"set"}}, nil, "the topic is empty"},
		{"an empty topic", []evsourcing.Event{TakenOff{}, named{""}}, nil, "the topic is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			codec := evsourcing.NewRegistry(Scheduled{})
			err := codec.Register(test.events...)
			require.Error(t, err)
			assert.ErrorContains(t, err, test.says)
			assert.True(t, strings.HasPrefix(err.Error(), "evsourcing: register"), err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			assert.Empty(t, codec.Names("aircraft.taken_off"), "all or none")
			require.NoError(t, codec.Register(TakenOff{}, Landed{}), "the next one is not affected")
			assert.Panics(t, func() { evsourcing.NewRegistry(append([]evsourcing.Event{Scheduled{}}, test.events...)...) })
		})
	}
}

// named is an event whose topic is not fixed, as no event should be.
type named struct{ topic string }

func (n named) Topic() string { return n.topic }

func TestRegisterRefusesBadTopics(t *testing.T) {
	t.Parallel()
	for topic, what := range badNames() {
		err := evsourcing.NewRegistry().Register(named{topic})
		require.ErrorContains(t, err, "the topic "+what)
	}
	for _, topic := range goodNames() {
		require.NoError(t, evsourcing.NewRegistry().Register(named{topic}))
	}
}

// base64JSON is an encoder beside JSON.
type base64JSON struct{}

func (base64JSON) ContentType() string { return "application/base64" }

func (base64JSON) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return []byte(base64.StdEncoding.EncodeToString(data)), err
}

func (base64JSON) Unmarshal(data []byte, v any) error {
	data, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func TestWithEncoderWritesTheNewFormatAndReadsTheOld(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	old := encode(t, codec, Landed{Airport: "CDG"})
	require.Same(t, codec, codec.WithEncoder(base64JSON{}))
	recent := encode(t, codec, Landed{Airport: "CDG"})
	assert.Equal(t, "application/base64", recent.ContentType)
	assert.NotEqual(t, old.Data, recent.Data)
	for _, stored := range []evsourcing.StoredEvent{old, recent} {
		got, err := codec.Decode(t.Context(), &stored)
		require.NoError(t, err)
		assert.Equal(t, Landed{Airport: "CDG"}, got)
	}
	codec.WithEncoder(evsourcing.JSON{})
	got, err := codec.Decode(t.Context(), &recent)
	require.NoError(t, err, "an encoder given before still decodes")
	assert.Equal(t, Landed{Airport: "CDG"}, got)
	assert.Panics(t, func() { codec.WithEncoder(nil) })
}

func TestRegisterWhileDecoding(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	var wg sync.WaitGroup
	const n = 50
	wg.Go(func() {
		for i := range n {
			assert.NoError(t, codec.Register(named{fmt.Sprint("topic ", i)}))
		}
	})
	wg.Go(func() {
		for i := range n {
			codec.Alias(fmt.Sprint("alias ", i), Landed{})
			codec.Upcast(fmt.Sprint("old ", i), "aircraft.landed", same)
		}
	})
	wg.Go(func() {
		for range n {
			codec.WithEncoder(evsourcing.JSON{})
		}
	})
	for range 2 {
		wg.Go(func() {
			for range 5 * n {
				stored := evsourcing.StoredEvent{}
				assert.NoError(t, codec.Encode(context.Background(), &stored, Landed{Airport: "CDG"}))
				e, err := codec.Decode(context.Background(), &stored)
				assert.NoError(t, err)
				assert.Equal(t, Landed{Airport: "CDG"}, e)
				codec.Names("aircraft.landed")
			}
		})
	}
	wg.Wait()
	assert.Len(t, codec.Names("aircraft.landed"), 2*n+1)
}

func same(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) { return e, nil }

var errUpcast = errors.New("no such schema")

func TestTopicsAreThoseOfTheRegisteredTypes(t *testing.T) {
	t.Parallel()
	r := evsourcing.NewRegistry(Moored{}, Sailed{})
	r.Alias("vessel.docked", Moored{})
	r.Upcast("vessel.moored.v0", "vessel.moored", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) { return e, nil })
	assert.Equal(t, []string{"vessel.moored", "vessel.sailed"}, r.Topics())
	assert.Empty(t, evsourcing.NewRegistry().Topics())
}

// The error of encoding/json quotes a number that does not fit.
func TestDecodeErrorDoesNotQuoteThePayload(t *testing.T) {
	registry := evsourcing.NewRegistry(busNote{})
	e := evsourcing.StoredEvent{Stream: aircraftStream("a"), Version: 3, Topic: "note", ContentType: "application/json"}
	e.Data = []byte(`{"text":` + strings.Repeat("9", 1<<20) + `}`)
	_, err := registry.Decode(t.Context(), &e)
	require.ErrorContains(t, err, "decode version 3 of aircraft/a")
	assert.Less(t, len(err.Error()), 2000)
}
