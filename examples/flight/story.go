package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
)

// closeTimeout is how long the program waits for reactors and transactions
// when it ends.
const closeTimeout = 5 * time.Second

// story tells of one flight. It is the library in short: a bus with a reactor,
// a repository that publishes to the bus, transactions, and an orderly end.
func story(ctx context.Context, store evsourcing.EventStore, stdout io.Writer, logger *slog.Logger) error {
	out := log.New(stdout, "", 0) // for the reactor as well, which runs beside the story

	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: aircraft.Events(), Logger: logger})
	if err := bus.Subscribe("think", think(out)); err != nil {
		return err
	}
	if err := bus.Listen(); err != nil {
		return err
	}
	fleet := aircraft.NewRepository(store, &evsourcing.RepositoryOptions{Bus: bus, Logger: logger})

	err := fly(ctx, fleet, out)

	out.Println("Closing the bus, which waits for its reactors.")
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return errors.Join(err, bus.Close(ctx), fleet.Close(ctx))
}

// fly takes flight DAILY2018 from Amsterdam to Paris, in one transaction a step.
func fly(ctx context.Context, fleet *evsourcing.Repository[aircraft.Aircraft], out *log.Logger) error {
	const id = "DAILY2018"

	out.Printf("Scheduling flight %s from Amsterdam to Paris.", id)
	plan := aircraft.Plan{Origin: "Amsterdam AMS", Destination: "Paris CDG"}
	a, err := fleet.Create(ctx, id, aircraft.Do(aircraft.Schedule(plan)))
	if err != nil {
		return err
	}
	out.Println(" ", a)

	out.Println("Taking off!")
	a, err = fleet.Update(ctx, id, aircraft.Do(aircraft.TakeOff(0)))
	if err != nil {
		return err
	}
	out.Println(" ", a)

	out.Println("Landing in Paris CDG.")
	land := aircraft.Do(aircraft.Land("Paris CDG"))
	a, err = fleet.Update(ctx, id, land)
	if err != nil {
		return err
	}
	out.Println(" ", a)

	out.Println("Landing again, to be sure.")
	_, err = fleet.Update(ctx, id, land)
	if !errors.Is(err, aircraft.ErrOnGround) {
		return fmt.Errorf("landing twice should be refused, but: %v", err)
	}
	out.Println("  refused:", err)
	return nil
}

// think returns a reactor to take-offs.
func think(out *log.Logger) evsourcing.Reactor {
	return evsourcing.On(func(ctx context.Context, _ string, _ aircraft.TakenOff) error {
		select {
		case <-time.After(time.Second): // it has to think
			out.Println("Did we forget to pack something important?")
			return nil
		case <-ctx.Done(): // the bus is not going to wait any longer
			return context.Cause(ctx)
		}
	})
}
