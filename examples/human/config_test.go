package main

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseConfig(t *testing.T) {
	c, err := parseConfig([]byte(`{"reactors": {"say.hello": ["human.born"], "none": []}}` + "\n"))
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"say.hello": {"human.born"}, "none": {}}, c.Reactors)

	for text, want := range map[string]string{
		``:                                  "EOF",
		`{`:                                 "EOF",
		`{}`:                                `"reactors" is missing`,
		`[]`:                                "cannot unmarshal array",
		`{"reactor": {}}`:                   `unknown field "reactor"`,
		`{"reactors": {"say.hello": "x"}}`:  "cannot unmarshal string",
		`{"reactors": {}} {"reactors": {}}`: "something follows the JSON object",
	} {
		_, err := parseConfig([]byte(text))
		assert.ErrorContains(t, err, want, text)
	}
}

// What can't be subscribed gets a warning, and the rest is subscribed.
func TestSubscribe(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	var heard []string
	reactor := evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
		heard = append(heard, m.Topic)
		return nil
	})
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: evsourcing.NewRegistry(Born{}), Logger: logger})
	config{Reactors: map[string][]string{
		"good":    {"human.born"},
		"missing": {"human.born"},
		"topic":   {"human.born", "human.immortal"},
		"twice":   {"human.born", "human.born"},
		"without": {},
	}}.subscribe(bus, map[string]evsourcing.Reactor{"good": reactor, "topic": reactor, "twice": reactor, "without": reactor}, logger)

	assert.Equal(t, `level=WARN msg="no such reactor" reactor=missing topics=[human.born]
level=WARN msg="reactor not subscribed" reactor=topic error="evsourcing: unknown topic \"human.immortal\": subscribe \"topic\""
level=WARN msg="reactor not subscribed" reactor=twice error="evsourcing: duplicate subscription: \"twice\" to \"human.born\""
level=WARN msg="reactor not subscribed" reactor=without error="evsourcing: no topic: subscribe \"without\": name at least one"
`, log.String())

	require.NoError(t, bus.Listen())
	humans := evsourcing.NewRepository[Human]("human", evsourcing.NewMemoryStore(), evsourcing.NewRegistry(Born{}),
		&evsourcing.RepositoryOptions{Bus: bus})
	_, err := humans.Create(t.Context(), "otto", func(h *Human) error { return evsourcing.Execute(h, birth("Otto")) })
	require.NoError(t, err)
	require.NoError(t, bus.Close(t.Context()))
	assert.Equal(t, []string{"human.born"}, heard)
}
