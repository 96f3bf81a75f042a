package evsourcing_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evsourcing/evsourcing"
)

// The domain of the examples: a vessel is an aggregate, with two events and a
// command for each.

type Vessel struct {
	evsourcing.Base
	Sailing bool
	Port    string
}

// Init is called once, before any event is applied.
func (v *Vessel) Init() { v.Port = "<unknown>" }

type Sailed struct{}

func (Sailed) Topic() string     { return "vessel.sailed" }
func (Sailed) ApplyTo(v *Vessel) { v.Sailing = true }

type Moored struct {
	Port string `json:"port"`
}

func (Moored) Topic() string       { return "vessel.moored" }
func (e Moored) ApplyTo(v *Vessel) { v.Sailing, v.Port = false, e.Port }

var ErrMoored = errors.New("the vessel is not at sea")

func Sail(v *Vessel) (evsourcing.EventOf[*Vessel], error) {
	if v.Sailing {
		return nil, errors.New("the vessel is at sea")
	}
	return Sailed{}, nil
}

func Moor(port string) evsourcing.Command[*Vessel] {
	return func(v *Vessel) (evsourcing.EventOf[*Vessel], error) {
		if !v.Sailing {
			return nil, ErrMoored
		}
		return Moored{Port: port}, nil
	}
}

func vesselCodec() *evsourcing.Registry {
	return evsourcing.NewRegistry(Sailed{}, Moored{})
}

func Example() {
	ctx := context.Background()
	bus := evsourcing.NewEventBus(nil)
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(),
		&evsourcing.RepositoryOptions{Bus: bus})

	announce := evsourcing.On(func(_ context.Context, id string, e Moored) error {
		fmt.Printf("%s is in %s\n", id, e.Port)
		return nil
	})
	if err := bus.Subscribe("announce", announce); err != nil {
		panic(err)
	}
	if err := bus.Listen(); err != nil {
		panic(err)
	}

	_, err := vessels.Create(ctx, "Rickmer", func(v *Vessel) error {
		return errors.Join(evsourcing.Execute(v, Sail), evsourcing.Execute(v, Moor("Hamburg")))
	})
	if err != nil {
		panic(err)
	}

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	fmt.Println("closed:", bus.Close(ctx))
	// Output:
	// Rickmer is in Hamburg
	// closed: <nil>
}

func ExampleRecord() {
	v := &Vessel{}
	evsourcing.Record(v, Sailed{}, Moored{Port: "Oslo"})
	fmt.Println(v.Port, v.Version(), v.Changes(), v.Saved())
	// Output: Oslo 0 [{} {Oslo}] false
}

func ExampleExecute() {
	v := &Vessel{}
	fmt.Println(evsourcing.Execute(v, Moor("Oslo")))
	fmt.Println(v.Port, len(v.Changes()))
	// Output:
	// the vessel is not at sea
	// <unknown> 0
}

func ExampleRepository_Update() {
	ctx := context.Background()
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(), nil)
	_, err := vessels.Update(ctx, "Rickmer", func(*Vessel) error { return nil })
	fmt.Println(errors.Is(err, evsourcing.ErrNotFound))

	_, err = vessels.Create(ctx, "Rickmer", func(v *Vessel) error { return evsourcing.Execute(v, Sail) })
	if err != nil {
		panic(err)
	}
	v, err := vessels.Update(ctx, "Rickmer", func(v *Vessel) error { return evsourcing.Execute(v, Moor("Hamburg")) })
	fmt.Println(v.Port, v.Version(), err)
	_, err = vessels.Update(ctx, "Rickmer", func(v *Vessel) error { return evsourcing.Execute(v, Moor("Kiel")) })
	fmt.Println(err)
	// Output:
	// true
	// Hamburg 2 <nil>
	// the vessel is not at sea
}

func ExampleRepository_Save() {
	ctx := context.Background()
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(), nil)
	mine := vessels.New("Rickmer")
	evsourcing.Record(mine, Sailed{})
	fmt.Println(vessels.Save(ctx, mine))

	theirs, err := vessels.Load(ctx, "Rickmer")
	if err != nil {
		panic(err)
	}
	evsourcing.Record(theirs, Moored{Port: "Kiel"})
	evsourcing.Record(mine, Moored{Port: "Hamburg"})
	fmt.Println(vessels.Save(ctx, theirs))
	fmt.Println(vessels.Save(ctx, mine))
	// Output:
	// <nil>
	// <nil>
	// evsourcing: version conflict: vessel/Rickmer is at version 2, expected 1
}

func ExampleRepository_LoadAt() {
	ctx := context.Background()
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(), nil)
	v := vessels.New("Rickmer")
	evsourcing.Record(v, Sailed{}, Moored{Port: "Hamburg"}, Sailed{}, Moored{Port: "Oslo"})
	if err := vessels.Save(ctx, v); err != nil {
		panic(err)
	}
	past, err := vessels.LoadAt(ctx, "Rickmer", 2)
	fmt.Println(past.Port, err)
	// Output: Hamburg <nil>
}

func ExampleCommandID() {
	ctx := context.Background()
	vessels := evsourcing.NewRepository[Vessel]("vessel", evsourcing.NewMemoryStore(), vesselCodec(), nil)
	for range 2 { // the request arrives twice
		v, err := vessels.CreateOrUpdate(ctx, "Rickmer", func(v *Vessel) error {
			return evsourcing.Execute(v, Sail)
		}, evsourcing.CommandID("request-4711"))
		fmt.Println(v.Version(), err)
	}
	// Output:
	// 1 <nil>
	// 1 <nil>
}

func ExampleContextWithMetadata() {
	store := evsourcing.NewMemoryStore()
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), nil)
	ctx := evsourcing.ContextWithMetadata(context.Background(), evsourcing.Metadata{"user": "ada"})
	v := vessels.New("Rickmer")
	evsourcing.Record(v, Sailed{})
	if err := vessels.Save(ctx, v); err != nil {
		panic(err)
	}
	for e, err := range store.Load(ctx, evsourcing.StreamID{Type: "vessel", ID: "Rickmer"}, evsourcing.Range{}) {
		fmt.Println(e.Version, e.Topic, string(e.Data), e.Metadata["user"], err)
	}
	// Output: 1 vessel.sailed {} ada <nil>
}

func ExampleRegistry_Alias() {
	codec := vesselCodec()
	codec.Alias("ship.moored", Moored{}) // the topic's name before 2024
	e, err := codec.Decode(context.Background(), &evsourcing.StoredEvent{
		Topic: "ship.moored", ContentType: "application/json", Data: []byte(`{"port":"Oslo"}`),
	})
	fmt.Printf("%+v %v\n", e, err)
	// Output: {Port:Oslo} <nil>
}

func ExampleRegistry_Upcast() {
	codec := vesselCodec()
	codec.Upcast("vessel.docked", "vessel.moored", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		e.Data = fmt.Appendf(nil, `{"port":%q}`, "Port of "+string(e.Data))
		return e, nil
	})
	e, err := codec.Decode(context.Background(), &evsourcing.StoredEvent{
		Topic: "vessel.docked", ContentType: "application/json", Data: []byte("Oslo"),
	})
	fmt.Printf("%+v %v\n", e, err)
	fmt.Println(codec.Names("vessel.moored"))
	// Output:
	// {Port:Port of Oslo} <nil>
	// [vessel.docked vessel.moored]
}

func ExampleEventBus_deadLetter() {
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{
		Logger: quiet,
		Retry:  evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Millisecond},
		DeadLetter: func(_ context.Context, d evsourcing.DeadLetter) error {
			fmt.Printf("%s gave up on %s after %d attempts: %v\n", d.Subscription, d.Message.Topic, d.Attempts, d.Err)
			return nil
		},
	})
	fail := evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { return errors.New("no connection") })
	if err := bus.Subscribe("mail", fail, "vessel.sailed"); err != nil {
		panic(err)
	}
	if err := bus.Listen(); err != nil {
		panic(err)
	}
	m := evsourcing.Message{StoredEvent: evsourcing.StoredEvent{Topic: "vessel.sailed"}, Event: Sailed{}}
	if err := bus.Publish(context.Background(), m); err != nil {
		panic(err)
	}
	fmt.Println(bus.Close(context.Background()))
	// Output:
	// mail gave up on vessel.sailed after 2 attempts: no connection
	// <nil>
}

// A middleware is a function from Reactor to Reactor.
func ExampleReactor_middleware() {
	trace := func(name string, next evsourcing.Reactor) evsourcing.Reactor {
		return evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			err := next.React(ctx, m)
			fmt.Println(name, m.Topic, err)
			return err
		})
	}
	announce := evsourcing.On(func(_ context.Context, id string, _ Sailed) error {
		fmt.Println(id, "has sailed")
		return nil
	})
	bus := evsourcing.NewEventBus(nil)
	// The middleware hides On's topic, so it is given.
	if err := bus.Subscribe("announce", trace("announce", announce), "vessel.sailed"); err != nil {
		panic(err)
	}
	if err := bus.Listen(); err != nil {
		panic(err)
	}
	m := evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
		Topic: "vessel.sailed", Stream: evsourcing.StreamID{Type: "vessel", ID: "Rickmer"},
	}, Event: Sailed{}}
	if err := bus.Publish(context.Background(), m); err != nil {
		panic(err)
	}
	if err := bus.Close(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	// Rickmer has sailed
	// announce vessel.sailed <nil>
}

func ExampleLog() {
	ctx := context.Background()
	store := evsourcing.NewMemoryStore()
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), nil)
	for _, id := range []string{"Rickmer", "Seute Deern"} {
		_, err := vessels.Create(ctx, id, func(v *Vessel) error { return evsourcing.Execute(v, Sail) })
		if err != nil {
			panic(err)
		}
	}
	log, ok := evsourcing.Capability[evsourcing.Log](store)
	if !ok {
		panic("the store has no global order")
	}
	for e, err := range log.Events(ctx, evsourcing.Range{Backward: true, Limit: 1}, evsourcing.Filter{Types: []string{"vessel"}}) {
		fmt.Println(e.Position, e.Stream, e.Topic, err)
	}
	// Output: 2 vessel/Seute Deern vessel.sailed <nil>
}
