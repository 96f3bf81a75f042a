package encoder

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

type Account struct {
	evsourcing.Base
	Owner   string
	Balance int
}

type Opened struct {
	Owner string   `json:"owner" xml:"owner"`
	Notes []string `json:"notes" xml:"notes>note"`
}

func (Opened) Topic() string        { return "account.opened" }
func (e Opened) ApplyTo(a *Account) { a.Owner = e.Owner }

type Frozen struct{}

func (Frozen) Topic() string    { return "account.frozen" }
func (Frozen) ApplyTo(*Account) {}

type Paid struct {
	Amount int `json:"amount" xml:"amount,attr"`
}

func (*Paid) Topic() string        { return "account.paid" }
func (e *Paid) ApplyTo(a *Account) { a.Balance += e.Amount }

func registry() *evsourcing.Registry { return evsourcing.NewRegistry(Opened{}, Frozen{}, &Paid{}) }

var events = []evsourcing.EventOf[*Account]{
	Opened{Owner: "<Ana & \"Bo\"> \r\n\t日本", Notes: []string{"a", "", " b "}}, Frozen{}, &Paid{Amount: -3}, Opened{},
}

// encode returns the event as the codec stores it.
func encode(t *testing.T, codec evsourcing.Codec, e evsourcing.Event) evsourcing.StoredEvent {
	t.Helper()
	stored := evsourcing.StoredEvent{ID: uuid.New(), Stream: evsourcing.StreamID{Type: "account", ID: "1"}, Version: 1}
	require.NoError(t, codec.Encode(t.Context(), &stored, e))
	return stored
}

func TestXMLRoundTrip(t *testing.T) {
	t.Parallel()
	codec := registry().WithEncoder(XML{})
	for _, e := range events {
		stored := encode(t, codec, e)
		assert.Equal(t, "application/xml", stored.ContentType)
		got, err := codec.Decode(t.Context(), &stored)
		require.NoError(t, err)
		assert.Equal(t, e, got, "%s", stored.Data)
	}
	assert.Equal(t, `<Paid amount="-3"></Paid>`, string(encode(t, codec, &Paid{Amount: -3}).Data))
}

// Events that were stored as JSON stay readable when XML takes over, whole
// aggregates of both too.
func TestXMLAfterJSON(t *testing.T) {
	t.Parallel()
	store := evsourcing.NewMemoryStore()
	before := evsourcing.NewRepository[Account]("account", store, registry(), nil)
	_, err := before.Create(t.Context(), "1", func(a *Account) error {
		evsourcing.Record(a, evsourcing.EventOf[*Account](Opened{Owner: "Ana"}), &Paid{Amount: 10})
		return nil
	})
	require.NoError(t, err)
	after := evsourcing.NewRepository[Account]("account", store, registry().WithEncoder(XML{}), nil)
	_, err = after.Update(t.Context(), "1", func(a *Account) error { evsourcing.Record(a, &Paid{Amount: 5}); return nil })
	require.NoError(t, err)
	a, err := after.Load(t.Context(), "1")
	require.NoError(t, err)
	assert.Equal(t, "Ana", a.Owner)
	assert.Equal(t, 15, a.Balance)
}

func TestXMLRefuses(t *testing.T) {
	t.Parallel()
	for _, v := range []any{Opened{Owner: "\x01"}, Opened{Owner: "\xff"}, Opened{Notes: []string{"\uffff"}}, map[string]int{}, make(chan int)} {
		_, err := XML{}.Marshal(v)
		require.Error(t, err)
	}
	for _, data := range []string{"", "<a>", "<a></b>", "<Paid amount='x'/>", "<Paid/><Paid/>", "<Paid/>x", "{}", "<Paid/>\x00"} {
		require.Error(t, XML{}.Unmarshal([]byte(data), &Paid{}), data)
	}
	require.NoError(t, XML{}.Unmarshal([]byte("<other amount='1' new='2'><more/></other>"), &Paid{}), "an event of another program")
}

// FuzzXML: what can be encoded comes back as it was; what can't is refused.
func FuzzXML(f *testing.F) {
	f.Add("Ana", "a", []byte("<Opened><owner>x</owner></Opened>"))
	f.Add("\x01\r", "\ufffd", []byte("<a><owner>"))
	f.Fuzz(func(t *testing.T, owner, note string, data []byte) {
		_ = XML{}.Unmarshal(data, &Opened{})
		e := Opened{Owner: owner, Notes: []string{note}}
		data, err := XML{}.Marshal(e)
		if err != nil {
			return
		}
		var got Opened
		require.NoError(t, XML{}.Unmarshal(data, &got))
		require.Equal(t, e, got)
	})
}

var key = bytes.Repeat([]byte{7}, 32)

func TestSealed(t *testing.T) {
	t.Parallel()
	for _, inner := range []*evsourcing.Registry{registry(), registry().WithEncoder(XML{})} {
		codec := Seal(inner, key)
		for _, e := range events {
			stored := encode(t, codec, e)
			assert.True(t, strings.HasPrefix(stored.ContentType, "application/x-sealed+application/"))
			assert.NotContains(t, string(stored.Data), "Ana")
			before := stored
			got, err := codec.Decode(t.Context(), &stored)
			require.NoError(t, err)
			assert.Equal(t, e, got)
			assert.Equal(t, before, stored, "it stays sealed")

			plain := encode(t, inner, e)
			got, err = codec.Decode(t.Context(), &plain)
			require.NoError(t, err)
			assert.Equal(t, e, got, "of the time before")
		}
		assert.Equal(t, []string{"account.paid"}, codec.Names("account.paid"))
	}
}

func TestSealedRefuses(t *testing.T) {
	t.Parallel()
	codec := Seal(registry(), key)
	stored := encode(t, codec, &Paid{Amount: 1})
	for name, change := range map[string]func(e *evsourcing.StoredEvent){
		"of another event": func(e *evsourcing.StoredEvent) { e.ID = uuid.New() },
		"changed":          func(e *evsourcing.StoredEvent) { e.Data = append([]byte{e.Data[0] ^ 1}, e.Data[1:]...) },
		"cut":              func(e *evsourcing.StoredEvent) { e.Data = e.Data[:5] },
		"of another type":  func(e *evsourcing.StoredEvent) { e.ContentType = "application/json" },
		"of another topic": func(e *evsourcing.StoredEvent) { e.Topic = "unheard.of" },
	} {
		e := stored
		change(&e)
		before := e
		_, err := codec.Decode(t.Context(), &e)
		require.Error(t, err, name)
		assert.Equal(t, before, e, name)
	}
	_, err := Seal(registry(), bytes.Repeat([]byte{8}, 32)).Decode(t.Context(), &stored)
	require.Error(t, err)
	require.Error(t, codec.Encode(t.Context(), &stored, nil))
	assert.Panics(t, func() { Seal(registry(), key[1:]) })
}

// Aliases and upcasters see the payload, and a message goes on sealed.
func TestSealedEvolution(t *testing.T) {
	t.Parallel()
	inner := registry()
	inner.Upcast("account.credited", "account.paid", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		e.Data = bytes.ReplaceAll(e.Data, []byte("cents"), []byte("amount"))
		return e, nil
	})
	inner.Alias("money", &Paid{})
	codec := Seal(inner, key)
	for topic, data := range map[string]string{"account.credited": `{"cents":5}`, "money": `{"amount":5}`} {
		stored := encode(t, codec, &Paid{})
		stored.Topic, stored.ContentType, stored.Data = topic, "application/json", []byte(data)
		codec.seal(&stored)
		e, err := codec.Decode(t.Context(), &stored)
		require.NoError(t, err)
		assert.Equal(t, &Paid{Amount: 5}, e)
		assert.Equal(t, "account.paid", stored.Topic)
		assert.NotContains(t, string(stored.Data), "amount")

		encoder := evsourcing.NewCloudEvents("/accounts", codec)
		sent, err := encoder.EncodeMessage(evsourcing.Message{StoredEvent: stored, Event: e})
		require.NoError(t, err)
		m, err := encoder.DecodeMessage(sent)
		require.NoError(t, err)
		assert.Equal(t, e, m.Event)
		assert.Equal(t, stored, m.StoredEvent)
	}
}
