package aircraft_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var plan = aircraft.Plan{Origin: "Amsterdam AMS", Destination: "Paris CDG"}

// Each command is tried on an aircraft in each state that a sequence of
// commands leads to.
func TestCommands(t *testing.T) {
	schedule, takeOff, land := aircraft.Schedule(plan), aircraft.TakeOff(5), aircraft.Land("Paris CDG")
	tests := []struct {
		name   string
		before []aircraft.Command
		cmd    aircraft.Command
		want   evsourcing.Event
		err    error
	}{
		{"schedule", nil, schedule, aircraft.Scheduled{Plan: plan}, nil},
		{"schedule without origin", nil, aircraft.Schedule(aircraft.Plan{Destination: "Paris CDG"}), nil, aircraft.ErrNoRoute},
		{"schedule without destination", nil, aircraft.Schedule(aircraft.Plan{Origin: "Amsterdam AMS"}), nil, aircraft.ErrNoRoute},
		{"schedule twice", []aircraft.Command{schedule}, schedule, nil, aircraft.ErrScheduled},
		{"schedule in the air", []aircraft.Command{schedule, takeOff}, schedule, nil, aircraft.ErrScheduled},
		{"schedule after landing", []aircraft.Command{schedule, takeOff, land}, schedule, aircraft.Scheduled{Plan: plan}, nil},
		{"take off", []aircraft.Command{schedule}, takeOff, aircraft.TakenOff{Airport: "Amsterdam AMS", Delay: 5}, nil},
		{"take off unscheduled", nil, takeOff, nil, aircraft.ErrNotScheduled},
		{"take off in the air", []aircraft.Command{schedule, takeOff}, takeOff, nil, aircraft.ErrFlying},
		{"take off after landing", []aircraft.Command{schedule, takeOff, land}, takeOff, nil, aircraft.ErrNotScheduled},
		{"land", []aircraft.Command{schedule, takeOff}, land, aircraft.Landed{Airport: "Paris CDG"}, nil},
		{"land elsewhere", []aircraft.Command{schedule, takeOff}, aircraft.Land("Lille"), aircraft.Landed{Airport: "Lille"}, nil},
		{"land before flight", []aircraft.Command{schedule}, land, nil, aircraft.ErrOnGround},
		{"land twice", []aircraft.Command{schedule, takeOff, land}, land, nil, aircraft.ErrOnGround},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &aircraft.Aircraft{}
			require.NoError(t, aircraft.Do(tt.before...)(a))
			err := evsourcing.Execute(a, tt.cmd)
			events := a.Changes()[len(tt.before):]
			if tt.err != nil {
				assert.ErrorIs(t, err, tt.err)
				assert.Empty(t, events)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []evsourcing.Event{tt.want}, events)
		})
	}
}

func TestDoStopsAtTheFirstRefusal(t *testing.T) {
	a := &aircraft.Aircraft{}
	err := aircraft.Do(aircraft.Schedule(plan), aircraft.Land("Paris CDG"), aircraft.TakeOff(0))(a)
	assert.ErrorIs(t, err, aircraft.ErrOnGround)
	assert.Equal(t, []evsourcing.Event{aircraft.Scheduled{Plan: plan}}, a.Changes())
}

func TestString(t *testing.T) {
	a := evsourcing.NewRepository[aircraft.Aircraft]("aircraft", evsourcing.NewMemoryStore(), aircraft.Events(), nil).New("DAILY2018")
	for _, step := range []struct {
		cmd  aircraft.Command
		want string
	}{
		{nil, "aircraft DAILY2018, version 0: on the ground in <unknown>"},
		{aircraft.Schedule(plan), "aircraft DAILY2018, version 0: on the ground in Amsterdam AMS, scheduled for Paris CDG"},
		{aircraft.TakeOff(0), "aircraft DAILY2018, version 0: in the air, from Amsterdam AMS to Paris CDG"},
		{aircraft.Land("Lille"), "aircraft DAILY2018, version 0: on the ground in Lille"},
	} {
		if step.cmd != nil {
			require.NoError(t, evsourcing.Execute(a, step.cmd))
		}
		assert.Equal(t, step.want, a.String())
	}
}

// Stored events outlive the code that wrote them, so their JSON is part of what
// the package promises.
func TestEventsAsStored(t *testing.T) {
	full := aircraft.Plan{Origin: "DTW", Destination: "LAS", Departure: time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC), Distance: 1750}
	for want, e := range map[string]evsourcing.Event{
		`{"origin":"Amsterdam AMS","destination":"Paris CDG"}`:                                       aircraft.Scheduled{Plan: plan},
		`{"origin":"DTW","destination":"LAS","departure":"2001-01-01T00:47:00Z","distance_mi":1750}`: aircraft.Scheduled{Plan: full},
		`{"airport":"DTW","delay_min":-6}`:                                                           aircraft.TakenOff{Airport: "DTW", Delay: -6},
		`{"airport":"LAS"}`:                                                                          aircraft.Landed{Airport: "LAS"},
	} {
		data, err := json.Marshal(e)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
	}
	codec := aircraft.Events()
	for _, topic := range []string{"aircraft.scheduled", "aircraft.taken_off", "aircraft.landed"} {
		assert.Equal(t, []string{topic}, codec.Names(topic))
	}
}
