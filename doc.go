// Package evsourcing is an event-sourcing library for Go services.
//
// State that matters is kept as the events that led to it. An [Aggregate] is a
// struct that embeds [Base]; its events apply themselves to it, and commands
// decide which event comes next:
//
//	type Aircraft struct {
//		evsourcing.Base
//		Flying  bool
//		Airport string
//	}
//
//	type Landed struct {
//		Airport string `json:"airport"`
//	}
//
//	func (Landed) Topic() string         { return "aircraft.landed" }
//	func (e Landed) ApplyTo(a *Aircraft) { a.Flying, a.Airport = false, e.Airport }
//
//	func Land(at string) evsourcing.Command[*Aircraft] {
//		return func(a *Aircraft) (evsourcing.EventOf[*Aircraft], error) {
//			if !a.Flying {
//				return nil, ErrOnGround
//			}
//			return Landed{Airport: at}, nil
//		}
//	}
//
// Which events an aggregate accepts is the compiler's business: [Record],
// [Execute] and [Command] take no others.
//
// A [Repository] loads an aggregate by replaying its stream from an
// [EventStore], and saves what has changed in one atomic append, which fails
// with [ErrConflict] if somebody else was faster. [Repository.Create],
// [Repository.Update] and [Repository.CreateOrUpdate] are transactions: they
// load, call a function, save, and start over after a conflict. A [Codec],
// usually a [Registry], knows which Go type belongs to which topic.
//
// With an [EventBus], what is saved is also published. A [Reactor] subscribes to
// topics and gets each stream's events in order; what fails is tried again, and
// then handed to a dead-letter function. Closing the bus waits for what is in
// progress, as long as its context says.
//
// A [Subscription] follows the [Log] of a store instead: it hands every event to
// a [Handler], in order and at least once, and keeps its place as a [Checkpoint],
// so that a read model can be built from the beginning and goes on after a
// restart. A [Relay] feeds a bus in this way.
//
// A repository with a [SnapshotStore] loads long streams from a snapshot and the
// events behind it. When events change their form, a Registry's aliases and
// upcasters translate what is stored.
//
// A service ends in the order that its work flows: stop what calls the
// repositories, end the contexts of subscriptions and relays and wait for their
// Run, close the bus, whose last reactors may still need a repository, and then
// the repositories.
//
//	stop() // ends the context of Run
//	errors.Join(<-done, bus.Close(ctx), aircraft.Close(ctx))
//
// Give both a context that ends some seconds from now, not the one that a signal
// has cancelled; transactions too, if they are to finish when the signal comes.
//
// [MemoryStore] is the store to begin with. The promises that it and every
// other store keep are written at [EventStore], and package storetest checks
// them against any implementation.
package evsourcing
