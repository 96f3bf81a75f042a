package evsourcing_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

// A read model: the ports that vessels have moored in, kept by a subscription.
func ExampleNewSubscription() {
	ctx, stop := context.WithCancel(context.Background())
	store := evsourcing.NewMemoryStore()
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), nil)

	ports := map[string]int{} // the handler's alone, until WaitFor has returned
	sub := evsourcing.NewSubscription("ports", store, store, vesselCodec(),
		evsourcing.Each(evsourcing.On(func(_ context.Context, _ string, e Moored) error {
			ports[e.Port]++
			return nil
		})), nil)
	done := make(chan error)
	go func() { done <- sub.Run(ctx) }()

	v, err := vessels.Create(ctx, "Rickmer", func(v *Vessel) error {
		evsourcing.Record(v, Sailed{}, Moored{Port: "Hamburg"}, Sailed{}, Moored{Port: "Oslo"}, Sailed{})
		return nil
	})
	if err != nil {
		panic(err)
	}
	if err := sub.WaitFor(ctx, v.Position()); err != nil { // read your own writes
		panic(err)
	}
	fmt.Println(ports, "lag", sub.Status().Lag)

	stop()
	fmt.Println(<-done)
	// Output:
	// map[Hamburg:1 Oslo:1] lag 0
	// <nil>
}

// A relay makes a bus at least once: what was not handled before a crash is
// published again.
func ExampleRelay() {
	store := evsourcing.NewMemoryStore()
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), nil) // without a bus
	v, err := vessels.Create(context.Background(), "Rickmer", func(v *Vessel) error {
		return errors.Join(evsourcing.Execute(v, Sail), evsourcing.Execute(v, Moor("Hamburg")))
	})
	if err != nil {
		panic(err)
	}

	bus := evsourcing.NewEventBus(nil)
	announce := evsourcing.On(func(_ context.Context, id string, e Moored) error {
		fmt.Println(id, "is in", e.Port)
		return nil
	})
	if err := bus.Subscribe("announce", announce); err != nil {
		panic(err)
	}
	if err := bus.Listen(); err != nil {
		panic(err)
	}
	relay := evsourcing.Relay("announcements", store, store, vesselCodec(), bus, nil)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	if err := relay.WaitFor(ctx, v.Position()); err != nil {
		panic(err)
	}
	stop()
	fmt.Println(<-done, bus.Close(context.Background()))
	// Output:
	// Rickmer is in Hamburg
	// <nil> <nil>
}

// In a batch, what the handler stores names the message it follows from by
// ContextWithCause.
func ExampleContextWithCause() {
	handler := evsourcing.HandlerFunc(func(ctx context.Context, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			ctx := evsourcing.ContextWithCause(ctx, m)
			fmt.Println(m.Topic, evsourcing.MetadataFromContext(ctx)[evsourcing.MetaCausationID] == m.ID.String())
			// save something under ctx
		}
		return nil
	})
	msgs := []evsourcing.Message{{StoredEvent: evsourcing.StoredEvent{Topic: "vessel.sailed"}, Event: Sailed{}}}
	if err := handler.Handle(context.Background(), msgs); err != nil {
		panic(err)
	}
	// Output: vessel.sailed true
}

func ExampleRequire() {
	store := struct{ evsourcing.EventStore }{evsourcing.NewMemoryStore()} // hides what else it can do
	_, err := evsourcing.Require[evsourcing.Log](store)
	fmt.Println(errors.Is(err, errors.ErrUnsupported))
	// Output: true
}
