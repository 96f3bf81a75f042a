package aircraft

import (
	"errors"

	"github.com/evsourcing/evsourcing"
)

// Errors of the commands.
var (
	ErrNoRoute      = errors.New("aircraft: a plan needs an origin and a destination")
	ErrScheduled    = errors.New("aircraft: it is scheduled already")
	ErrNotScheduled = errors.New("aircraft: it is not scheduled")
	ErrFlying       = errors.New("aircraft: it is in the air already")
	ErrOnGround     = errors.New("aircraft: it is on the ground already")
)

// A Command decides what happens to an aircraft.
type Command = evsourcing.Command[*Aircraft]

// event is what a command returns.
type event = evsourcing.EventOf[*Aircraft]

// Schedule plans a flight. It fails with [ErrScheduled] until the flight
// planned before has landed.
func Schedule(p Plan) Command {
	return func(a *Aircraft) (event, error) {
		if p.Origin == "" || p.Destination == "" {
			return nil, ErrNoRoute
		}
		if a.Plan != (Plan{}) {
			return nil, ErrScheduled
		}
		return Scheduled{p}, nil
	}
}

// TakeOff starts the scheduled flight, so many minutes late; negative is early.
func TakeOff(delay int) Command {
	return func(a *Aircraft) (event, error) {
		if a.Flying {
			return nil, ErrFlying
		}
		if a.Plan == (Plan{}) {
			return nil, ErrNotScheduled
		}
		return TakenOff{Airport: a.Airport, Delay: delay}, nil
	}
}

// Land ends the flight at an airport, which need not be the one planned.
func Land(airport string) Command {
	return func(a *Aircraft) (event, error) {
		if !a.Flying {
			return nil, ErrOnGround
		}
		return Landed{Airport: airport}, nil
	}
}

// Do returns a transaction that runs commands in order, up to the first that
// fails.
func Do(commands ...Command) func(*Aircraft) error {
	return func(a *Aircraft) error {
		for _, c := range commands {
			if err := evsourcing.Execute(a, c); err != nil {
				return err
			}
		}
		return nil
	}
}
