package evsourcing_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// replacing returns an upcaster that replaces text in the payload.
func replacing(old, text string) func(evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
	return func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		e.Data = bytes.ReplaceAll(e.Data, []byte(old), []byte(text))
		return e, nil
	}
}

func TestAliasesAndUpcastersChain(t *testing.T) {
	t.Parallel()
	// touchdown -> landing -> arrived.v1 => arrived.v2 -> arrived.v3 => aircraft.landed;
	// -> is an alias, => an upcaster. They are registered from the wrong end.
	codec := newCodec()
	codec.Upcast("arrived.v3", "aircraft.landed", replacing("port", "airport"))
	codec.Alias("arrived.v2", named{"arrived.v3"})
	codec.Upcast("arrived.v1", "arrived.v2", replacing("place", "port"))
	codec.Alias("touchdown", named{"landing"}) // landing is not known yet
	codec.Alias("landing", named{"arrived.v1"})
	for _, test := range []struct{ topic, data, want string }{
		{"aircraft.landed", `{"airport":"CDG"}`, "CDG"},
		{"arrived.v3", `{"port":"CDG"}`, "CDG"},
		{"arrived.v2", `{"port":"CDG"}`, "CDG"},
		{"arrived.v1", `{"place":"CDG"}`, "CDG"},
		{"landing", `{"place":"CDG"}`, "CDG"},
		{"touchdown", `{"place":"CDG"}`, "CDG"},
		{"touchdown", `{"port":"CDG"}`, "CDG"},
		{"aircraft.landed", `{"place":"CDG"}`, ""}, // no upcaster: it is of the current schema
	} {
		src := payload(test.topic, test.data)
		e, err := codec.Decode(t.Context(), src)
		require.NoError(t, err, test.topic)
		assert.Equal(t, Landed{Airport: test.want}, e, test.topic)
		assert.Equal(t, "aircraft.landed", src.Topic, "Topic becomes the current name")
		if test.want != "" {
			assert.JSONEq(t, `{"airport":"CDG"}`, string(src.Data), "Data becomes what the event was read from")
		}
		assert.Equal(t, aircraftStream("DM2018"), src.Stream)
		assert.Equal(t, uint64(3), src.Version)
	}
	assert.Equal(t, []string{"aircraft.landed", "arrived.v1", "arrived.v2", "arrived.v3", "landing", "touchdown"},
		codec.Names("aircraft.landed"))
}

func TestNamesOfTopicsThatAreNotCurrent(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	codec.Alias("arrived", Landed{})
	codec.Upcast("old", "nowhere", same)
	for _, topic := range []string{"arrived", "old", "nowhere", "never heard of", ""} {
		assert.Empty(t, codec.Names(topic), topic)
	}
	assert.Equal(t, []string{"aircraft.taken_off"}, codec.Names("aircraft.taken_off"))
	names := codec.Names("aircraft.landed")
	names[0] = "changed"
	assert.Equal(t, []string{"aircraft.landed", "arrived"}, codec.Names("aircraft.landed"), "the slice is the caller's own")
}

func TestChainThatEndsNowhereIsAnUnknownTopic(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry()
	codec.Upcast("a", "b", same)
	_, err := codec.Decode(t.Context(), payload("a", `{}`))
	require.ErrorIs(t, err, evsourcing.ErrUnknownTopic)
	require.ErrorContains(t, err, `topic "a": it is read as one of "b": `)
	require.NoError(t, codec.Register(named{"b"}), "its end may be registered later")
	_, err = codec.Decode(t.Context(), payload("a", `{}`))
	require.NoError(t, err)
}

func TestUpcasterThatFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		upcast func(evsourcing.StoredEvent) (evsourcing.StoredEvent, error)
		is     error
		says   string
	}{
		"returns an error": {func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) { return e, errUpcast }, errUpcast, errUpcast.Error()},
		"changes the ID": {func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			e.ID = uuid.UUID{2}
			return e, nil
		}, nil, "changed the event's ID, stream or version"},
		"changes the stream": {func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			e.Stream.ID = "DM2019"
			return e, nil
		}, nil, "changed the event's ID, stream or version"},
		"changes the version": {func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			e.Version++
			return e, nil
		}, nil, "changed the event's ID, stream or version"},
		"returns nothing": {func(evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			return evsourcing.StoredEvent{}, nil
		}, nil, "changed the event's ID, stream or version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := newCodec()
			codec.Upcast("arrived", "aircraft.landed", test.upcast)
			e, err := codec.Decode(t.Context(), payload("arrived", `{}`))
			require.Error(t, err)
			assert.Nil(t, e)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			for _, s := range []string{"version 3", "aircraft/DM2018", `"arrived"`, `"aircraft.landed"`, test.says} {
				assert.ErrorContains(t, err, s)
			}
		})
	}
}

func TestUpcasterMayChangeTheRest(t *testing.T) {
	t.Parallel()
	codec := newCodec().WithEncoder(base64JSON{})
	codec.Upcast("arrived", "aircraft.landed", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		assert.Equal(t, "arrived", e.Topic)
		e.Topic = "what it says here does not count"
		e.ContentType, e.Data = "application/base64", []byte("eyJhaXJwb3J0IjoiQ0RHIn0=")
		e.Metadata = e.Metadata.With("upcast", "yes")
		e.Tags = []string{"tag"}
		return e, nil
	})
	src := payload("arrived", `{}`)
	e, err := codec.Decode(t.Context(), src)
	require.NoError(t, err)
	assert.Equal(t, Landed{Airport: "CDG"}, e)
	assert.Equal(t, "aircraft.landed", src.Topic)
	assert.Equal(t, evsourcing.Metadata{"upcast": "yes"}, src.Metadata)
	assert.Equal(t, []string{"tag"}, src.Tags)
}

func TestCyclesAndDuplicatesAreRefusedWhenTheyAreMade(t *testing.T) {
	t.Parallel()
	prepared := func() *evsourcing.Registry {
		codec := newCodec()
		codec.Alias("a", named{"b"})
		codec.Upcast("b", "c", same)
		codec.Alias("c", named{"d"})
		return codec
	}
	for name, test := range map[string]struct {
		register func(*evsourcing.Registry)
		says     string
	}{
		"an alias of itself":           {func(r *evsourcing.Registry) { r.Alias("x", named{"x"}) }, "leads back to itself"},
		"an upcaster to itself":        {func(r *evsourcing.Registry) { r.Upcast("x", "x", same) }, "leads back to itself"},
		"an upcaster through aliases":  {func(r *evsourcing.Registry) { r.Upcast("d", "a", same) }, "leads back to itself"},
		"an alias through an upcaster": {func(r *evsourcing.Registry) { r.Alias("d", named{"b"}) }, "leads back to itself"},
		"a second upcaster":            {func(r *evsourcing.Registry) { r.Upcast("b", "z", same) }, "duplicate topic"},
		"an upcaster of an alias":      {func(r *evsourcing.Registry) { r.Upcast("a", "z", same) }, "duplicate topic"},
		"an alias twice":               {func(r *evsourcing.Registry) { r.Alias("a", Landed{}) }, "duplicate topic"},
		"an alias of a current topic":  {func(r *evsourcing.Registry) { r.Alias("aircraft.landed", TakenOff{}) }, "duplicate topic"},
		"an upcaster of a current one": {func(r *evsourcing.Registry) { r.Upcast("aircraft.landed", "z", same) }, "duplicate topic"},
		"an alias of nil":              {func(r *evsourcing.Registry) { r.Alias("x", nil) }, "the event is nil"},
		"no upcaster":                  {func(r *evsourcing.Registry) { r.Upcast("x", "y", nil) }, "the function is nil"},
		"an empty topic":               {func(r *evsourcing.Registry) { r.Upcast("", "y", same) }, "the topic is empty"},
		"to an empty topic":            {func(r *evsourcing.Registry) { r.Upcast("x", "", same) }, "the topic is empty"},
		"an empty alias":               {func(r *evsourcing.Registry) { r.Alias("", Landed{}) }, "the topic is empty"},
		"an alias of an empty topic":   {func(r *evsourcing.Registry) { r.Alias("x", named{}) }, "the topic is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			codec := prepared()
			defer func() {
				v := recover()
				require.NotNil(t, v, "it must panic")
				assert.Contains(t, fmt.Sprint(v), test.says)
				require.NoError(t, codec.Register(named{"d"}), "what was there is as it was")
				assert.Equal(t, []string{"a", "b", "c", "d"}, codec.Names("d"))
			}()
			test.register(codec)
		})
	}
}

func TestATypeCantTakeTheTopicOfAnAliasOrUpcaster(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	codec.Alias("arrived", Landed{})
	codec.Upcast("arrived.v1", "arrived", same)
	err := codec.Register(named{"arrived"})
	require.ErrorIs(t, err, evsourcing.ErrDuplicateTopic)
	require.ErrorContains(t, err, `"arrived" is an alias of "aircraft.landed"`)
	err = codec.Register(named{"arrived.v1"})
	require.ErrorIs(t, err, evsourcing.ErrDuplicateTopic)
	require.ErrorContains(t, err, `"arrived.v1" is upcast to "arrived"`)
}

func TestAliasedAndUpcastEventsLoad(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry(Landed{})
	codec.Upcast("arrived", "aircraft.landed", replacing("place", "airport"))
	codec.Alias("touchdown", named{"arrived"})
	var events []evsourcing.StoredEvent
	for i, e := range []*evsourcing.StoredEvent{
		payload("touchdown", `{"place":"CDG"}`), payload("arrived", `{"place":"ORY"}`), payload("aircraft.landed", `{"airport":"LHR"}`),
	} {
		e.Version, e.Position = uint64(i)+1, uint64(i)+100
		events = append(events, *e)
	}
	repo := evsourcing.NewRepository[Aircraft]("aircraft", &listStore{events: events}, codec, nil)
	a, err := repo.Load(t.Context(), "DM2018")
	require.NoError(t, err)
	assert.Equal(t, "LHR", a.Airport)
	assert.Equal(t, uint64(3), a.Version())
	assert.Equal(t, uint64(102), a.Position())
}

// FuzzRegistryDecode: whatever is stored, Decode returns an event or an error;
// an event encodes and decodes to one that encodes in the same way.
func FuzzRegistryDecode(f *testing.F) {
	for _, topic := range []string{"aircraft.landed", "aircraft.inspected", "aircraft.diverted", "arrived", "touchdown", "manifest", "remark", "tagged", "x"} {
		for _, data := range []string{`{"airport":"CDG"}`, `{"hours":3,"findings":["a",""]}`, `null`, `"text"`, `["a"]`, `{"names":[],"bags":{}}`, "", "{", "\xff"} {
			f.Add(topic, "application/json", []byte(data))
		}
	}
	f.Add("aircraft.landed", "application/base64", []byte("eyJhaXJwb3J0IjoiQ0RHIn0="))
	f.Add("aircraft.landed", "", []byte(`{}`))
	codec := newCodec().WithEncoder(base64JSON{})
	if err := codec.Register(manifest{}, remark(""), tagged{}); err != nil {
		f.Fatal(err)
	}
	codec.Upcast("arrived", "aircraft.landed", replacing("place", "airport"))
	codec.Alias("touchdown", named{"arrived"})
	f.Fuzz(func(t *testing.T, topic, contentType string, data []byte) {
		src := evsourcing.StoredEvent{
			ID: uuid.UUID{1}, Stream: aircraftStream("DM2018"), Version: 3, Topic: topic, ContentType: contentType, Data: data,
		}
		before := slices.Clone(data)
		e, err := codec.Decode(t.Context(), &src)
		if !bytes.Equal(data, before) {
			t.Fatal("Decode has written to the data")
		}
		if err != nil {
			if e != nil || !strings.Contains(err.Error(), "aircraft/DM2018") {
				t.Fatalf("%v, %v", e, err)
			}
			return
		}
		if !slices.Contains(codec.Names(src.Topic), topic) {
			t.Fatalf("%q decodes to %q, but Names does not say so", topic, src.Topic)
		}
		again := encode(t, codec, e)
		if again.Topic != src.Topic {
			t.Fatalf("encoded as %q, decoded as %q", again.Topic, src.Topic)
		}
		first := bytes.Clone(again.Data)
		e2, err := codec.Decode(t.Context(), &again)
		require.NoError(t, err)
		// Compared as encoded: omitempty makes no difference between no list and an
		// empty one.
		require.Equal(t, first, encode(t, codec, e2).Data)
	})
}

// FuzzUpcasterChain: whatever aliases and upcasters are registered, those that
// are accepted lead somewhere, and Names knows from where.
func FuzzUpcasterChain(f *testing.F) {
	f.Add([]byte{0x01, 0x12, 0x23})
	f.Add([]byte{0x81, 0x12, 0x20, 0x01, 0x10})
	f.Add([]byte{0x00})
	f.Add([]byte{0x70, 0x61, 0x52, 0x43, 0x34, 0x25, 0x16, 0x07})
	f.Fuzz(func(t *testing.T, moves []byte) {
		const topics = 8 // of which 0 is registered
		name := func(n byte) string { return fmt.Sprint("topic.", n%topics) }
		codec := evsourcing.NewRegistry(named{name(0)})
		next := map[string]string{} // the model
		steps := map[string]int{}   // upcasters from there
		for _, m := range moves {
			from, to, upcast := name(m>>4), name(m), m&0x80 != 0
			leads := to
			for next[leads] != "" && leads != from {
				leads = next[leads]
			}
			want := from != name(0) && next[from] == "" && leads != from
			got := func() (ok bool) {
				defer func() { ok = recover() == nil }()
				if upcast {
					codec.Upcast(from, to, func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
						e.Tags = append(slices.Clone(e.Tags), from)
						return e, nil
					})
				} else {
					codec.Alias(from, named{to})
				}
				return true
			}()
			if got != want {
				t.Fatalf("%q to %q: accepted %v, want %v", from, to, got, want)
			}
			if got {
				next[from] = to
				if upcast {
					steps[from] = 1
				}
			}
		}
		names := codec.Names(name(0))
		for n := range byte(topics) {
			end, upcasts := name(n), 0
			for next[end] != "" {
				upcasts += steps[end]
				end = next[end]
			}
			src := payload(name(n), `{}`)
			_, err := codec.Decode(t.Context(), src)
			if end != name(0) {
				require.ErrorIs(t, err, evsourcing.ErrUnknownTopic)
			} else {
				require.NoError(t, err)
				require.Equal(t, end, src.Topic)
				require.Len(t, src.Tags, upcasts)
			}
			require.Equal(t, end == name(0), slices.Contains(names, name(n)))
		}
		require.True(t, slices.IsSorted(names))
	})
}
