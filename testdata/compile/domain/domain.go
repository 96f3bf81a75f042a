// Package domain has two aggregates with an event and a command each, for the
// packages beside it to use rightly and wrongly.
package domain

import "github.com/evsourcing/evsourcing"

// Aircraft is an aggregate.
type Aircraft struct {
	evsourcing.Base
	Airport string
}

// Landed is an event of an Aircraft.
type Landed struct{ Airport string }

// Topic implements evsourcing.Event.
func (Landed) Topic() string { return "aircraft.landed" }

// ApplyTo implements evsourcing.EventOf.
func (e Landed) ApplyTo(a *Aircraft) { a.Airport = e.Airport }

// Land is a command for an Aircraft.
func Land(at string) evsourcing.Command[*Aircraft] {
	return func(*Aircraft) (evsourcing.EventOf[*Aircraft], error) { return Landed{at}, nil }
}

// Hangar is another aggregate.
type Hangar struct {
	evsourcing.Base
	Clean bool
}

// Swept is an event of a Hangar.
type Swept struct{}

// Topic implements evsourcing.Event.
func (Swept) Topic() string { return "hangar.swept" }

// ApplyTo implements evsourcing.EventOf.
func (Swept) ApplyTo(h *Hangar) { h.Clean = true }

// Sweep is a command for a Hangar.
func Sweep() evsourcing.Command[*Hangar] {
	return func(*Hangar) (evsourcing.EventOf[*Hangar], error) { return Swept{}, nil }
}
