package docs_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
)

type Order struct {
	evsourcing.Base
	Lines     []Line
	Paid      int
	Cancelled string // by whom
	Parcels   int
}

type Placed struct {
	Lines []Line `json:"lines"`
}

type Line struct {
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

type Paid struct {
	Amount int `json:"amount"`
}

func (Placed) Topic() string { return "order.placed.v3" }
func (Paid) Topic() string   { return "order.paid" }

func (e Placed) ApplyTo(o *Order) { o.Lines = append([]Line(nil), e.Lines...) }
func (e Paid) ApplyTo(o *Order)   { o.Paid += e.Amount }

type Shipped struct {
	Carrier string `json:"carrier"`
	Express bool   `json:"express"` // added in May: false in events from before
	Parcels int    `json:"parcels"` // added in June: 1 in events from before
}

func (e *Shipped) UnmarshalJSON(data []byte) error {
	type plain Shipped // has no UnmarshalJSON
	e.Parcels = 1
	return json.Unmarshal(data, (*plain)(e))
}

func (Shipped) Topic() string      { return "order.shipped" }
func (e Shipped) ApplyTo(o *Order) { o.Parcels += e.Parcels }

// Bought is an order that was placed and paid at once. Nothing records it any
// more; it is two events now.
type Bought struct {
	Lines  []Line `json:"lines"`
	Amount int    `json:"amount"`
}

func (Bought) Topic() string { return "order.bought" }

func (e Bought) ApplyTo(o *Order) {
	Placed{Lines: e.Lines}.ApplyTo(o)
	Paid{Amount: e.Amount}.ApplyTo(o)
}

type Cancelled struct {
	By string `json:"by"`
}

func (Cancelled) Topic() string      { return "order.cancelled" }
func (e Cancelled) ApplyTo(o *Order) { o.Cancelled = e.By }

// Ignored takes the place of events that mean nothing any more.
type Ignored struct{}

func (Ignored) Topic() string  { return "order.ignored" }
func (Ignored) ApplyTo(*Order) {}

// upcastPlaced leads from an order for one item, by one for some, to the present
// one, which has quantities.
func upcastPlaced(registry *evsourcing.Registry) {
	registry.Upcast("order.placed", "order.placed.v2", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		var v1 struct{ Item string }
		if err := json.Unmarshal(e.Data, &v1); err != nil {
			return e, err
		}
		var err error
		e.Data, err = json.Marshal(map[string]any{"items": []string{v1.Item}})
		return e, err
	})
	registry.Upcast("order.placed.v2", "order.placed.v3", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		var v2 struct{ Items []string }
		if err := json.Unmarshal(e.Data, &v2); err != nil {
			return e, err
		}
		v3 := Placed{}
		for _, item := range v2.Items {
			v3.Lines = append(v3.Lines, Line{Item: item, Quantity: 1})
		}
		var err error
		e.Data, err = json.Marshal(v3)
		return e, err
	})
}

// cancelledBy returns an upcaster to Cancelled.
func cancelledBy(whom string) func(evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
	return func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		var err error
		e.Data, err = json.Marshal(Cancelled{By: whom})
		e.ContentType = evsourcing.JSON{}.ContentType() // whatever it was
		return e, err
	}
}

func Orders() *evsourcing.Registry {
	registry := evsourcing.NewRegistry(Placed{}, Paid{}, Shipped{}, Bought{}, Cancelled{}, Ignored{})
	upcastPlaced(registry)
	registry.Alias("order.settled", Paid{})
	registry.Upcast("order.withdrawn", "order.cancelled", cancelledBy("customer"))
	registry.Upcast("order.refused", "order.cancelled", cancelledBy("shop"))
	registry.Alias("order.viewed", Ignored{})
	return registry
}

func TestOrderEvents(t *testing.T) {
	evtest.Golden(t, Orders(), "testdata/order.json")
}

func TestOrder(t *testing.T) {
	evtest.Check[Order](t, Orders(), nil, Placed{}, Paid{}, Shipped{}, Bought{}, Cancelled{}, Ignored{})
}

// Gob is an encoder of encoding/gob.
type Gob struct{}

func (Gob) ContentType() string { return "application/x-gob" }

func (Gob) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (Gob) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

// The rest is what the guide says in words.

// stored returns an event of an order as some program stored it.
func stored(version uint64, topic, data string) evsourcing.StoredEvent {
	return evsourcing.StoredEvent{
		ID: uuid.UUID{byte(version)}, Stream: evsourcing.StreamID{Type: "order", ID: "1"}, Version: version,
		Topic: topic, ContentType: "application/json", Data: []byte(data),
	}
}

func TestOldEventsAreRead(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	orders := evsourcing.NewRepository[Order]("order", store, Orders().WithEncoder(Gob{}), nil)
	_, err := store.Append(t.Context(), evsourcing.Batch{Stream: evsourcing.StreamID{Type: "order", ID: "1"}, Events: []evsourcing.StoredEvent{
		stored(1, "order.placed", `{"item":"pen"}`),
		stored(2, "order.settled", `{"amount":3}`),
		stored(3, "order.viewed", `{"by":"ada"}`),
		stored(4, "order.shipped", `{"carrier":"post"}`),
		stored(5, "order.withdrawn", `{}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	o, err := orders.Load(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	evsourcing.Record(o, Paid{Amount: 4}) // stored as gob
	if err := orders.Save(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o, err = orders.Load(t.Context(), "1")
	if err != nil || !reflect.DeepEqual(o.Lines, []Line{{"pen", 1}}) || o.Paid != 7 || o.Parcels != 1 || o.Cancelled != "customer" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestUnknownTopics(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	_, err := store.Append(t.Context(), evsourcing.Batch{Stream: evsourcing.StreamID{Type: "order", ID: "1"}, Events: []evsourcing.StoredEvent{stored(1, "order.wrapped", `{}`)}})
	if err != nil {
		t.Fatal(err)
	}
	codec := evsourcing.NewRegistry(Paid{})
	orders := evsourcing.NewRepository[Order]("order", store, codec, nil)
	if _, err := orders.Load(t.Context(), "1"); !errors.Is(err, evsourcing.ErrUnknownTopic) || !strings.Contains(err.Error(), `version 1 of order/1, topic "order.wrapped"`) {
		t.Error(err)
	}
	o := orders.New("2")
	evsourcing.Record(o, Cancelled{})
	if err := orders.Save(t.Context(), o); !errors.Is(err, evsourcing.ErrUnknownTopic) {
		t.Error(err)
	}
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: codec})
	if err := bus.Subscribe("mail", evsourcing.ReactorFunc(nil), "order.settled"); !errors.Is(err, evsourcing.ErrUnknownTopic) {
		t.Error(err)
	}
}

func TestCyclesAreRefused(t *testing.T) {
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, `"order.paid.v2" leads back to itself`) {
			t.Error(text)
		}
	}()
	keep := func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) { return e, nil }
	registry := evsourcing.NewRegistry()
	registry.Upcast("order.paid", "order.paid.v2", keep)
	registry.Upcast("order.paid.v2", "order.paid", keep)
}
