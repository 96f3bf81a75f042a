package main

import (
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCommands(t *testing.T) {
	born := func(h *Human) { evsourcing.Record(h, Born{Name: "Otto"}) }
	adult := func(h *Human) {
		evsourcing.Record(h, Born{Name: "Otto"}, HadBirthday{Age: 18}, GrewUp{})
	}
	for _, tt := range []struct {
		name   string
		before func(*Human)
		cmd    command
		want   evsourcing.Event
		err    error
	}{
		{"birth", nil, birth("Otto"), Born{Name: "Otto"}, nil},
		{"birth without name", nil, birth(""), nil, errNoName},
		{"second birth", born, birth("Ada"), nil, errBorn},
		{"birthday", born, birthday, HadBirthday{Age: 1}, nil},
		{"birthday before birth", nil, birthday, nil, errNotBorn},
		{"grow up too early", born, growUp, nil, errTooYoung},
		{"grow up", func(h *Human) { evsourcing.Record(h, HadBirthday{Age: 18}) }, growUp, GrewUp{}, nil},
		{"grow up twice", adult, growUp, nil, errAdult},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &Human{}
			if tt.before != nil {
				tt.before(h)
			}
			before := len(h.Changes())
			err := evsourcing.Execute(h, tt.cmd)
			if tt.err != nil {
				assert.ErrorIs(t, err, tt.err)
				assert.Len(t, h.Changes(), before)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []evsourcing.Event{tt.want}, h.Changes()[before:])
		})
	}
	h := &Human{}
	born(h)
	assert.Equal(t, "Otto, 0 years old", h.String())
	adult(h)
	assert.Equal(t, "Otto, 18 years old, a grown-up", h.String())
}
