// Package aircraft is the domain of the flight example: one aggregate, its
// events, and the commands that decide about them. It knows nothing of stores,
// buses and files, and does no input or output, so that every rule in it can be
// tested with plain calls.
package aircraft

import (
	"fmt"
	"time"

	"github.com/evsourcing/evsourcing"
)

// An Aircraft stands at an airport, is scheduled for a flight, takes off and
// lands; then it may be scheduled again.
type Aircraft struct {
	evsourcing.Base
	Airport string // where it stands, or stood last
	Plan    Plan   // the flight it is scheduled for or on; zero if there is none
	Flying  bool
}

// A Plan is a flight as it is scheduled.
type Plan struct {
	Origin      string    `json:"origin"`
	Destination string    `json:"destination"`
	Departure   time.Time `json:"departure,omitzero"`
	Distance    int       `json:"distance_mi,omitzero"` // miles
}

// Init sets the state of an aircraft before its first event.
func (a *Aircraft) Init() { a.Airport = "<unknown>" }

// String describes the aircraft on one line.
func (a *Aircraft) String() string {
	var doing string
	switch {
	case a.Flying:
		doing = fmt.Sprintf("in the air, from %s to %s", a.Airport, a.Plan.Destination)
	case a.Plan != Plan{}:
		doing = fmt.Sprintf("on the ground in %s, scheduled for %s", a.Airport, a.Plan.Destination)
	default:
		doing = "on the ground in " + a.Airport
	}
	return fmt.Sprintf("aircraft %s, version %d: %s", a.ID(), a.Version(), doing)
}

// NewRepository returns the repository of aircraft in the store. opts may be
// nil.
func NewRepository(store evsourcing.EventStore, opts *evsourcing.RepositoryOptions) *evsourcing.Repository[Aircraft] {
	return evsourcing.NewRepository[Aircraft]("aircraft", store, Events(), opts)
}
