package aircraft

import "github.com/evsourcing/evsourcing"

// Scheduled says that the aircraft will fly as planned.
type Scheduled struct {
	Plan
}

// TakenOff says that the aircraft has left the airport.
type TakenOff struct {
	Airport string `json:"airport"`
	Delay   int    `json:"delay_min"` // minutes; negative if it was early
}

// Landed says that the aircraft has arrived at the airport, which need not be
// the one planned.
type Landed struct {
	Airport string `json:"airport"`
}

// Topic names the event in the store and on the bus.
func (Scheduled) Topic() string { return "aircraft.scheduled" }

// Topic names the event in the store and on the bus.
func (TakenOff) Topic() string { return "aircraft.taken_off" }

// Topic names the event in the store and on the bus.
func (Landed) Topic() string { return "aircraft.landed" }

// ApplyTo puts the aircraft at the plan's origin.
func (e Scheduled) ApplyTo(a *Aircraft) { a.Plan, a.Airport = e.Plan, e.Origin }

// ApplyTo puts the aircraft into the air.
func (e TakenOff) ApplyTo(a *Aircraft) { a.Flying = true }

// ApplyTo puts the aircraft back on the ground, with its flight done.
func (e Landed) ApplyTo(a *Aircraft) { a.Flying, a.Airport, a.Plan = false, e.Airport, Plan{} }

// Events returns a registry of the package's events.
func Events() *evsourcing.Registry {
	return evsourcing.NewRegistry(Scheduled{}, TakenOff{}, Landed{})
}
