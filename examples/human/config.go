package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/evsourcing/evsourcing"
)

//go:embed config.json
var defaultConfig []byte

// A config says which reactors the program uses, and what for.
type config struct {
	// Reactors has the topics for each reactor, by its name.
	Reactors map[string][]string `json:"reactors"`
}

// readConfig reads the named file; an empty name means the configuration built
// in.
func readConfig(name string) (config, error) {
	if name == "" {
		return parseConfig(defaultConfig)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return config{}, err
	}
	c, err := parseConfig(data)
	if err != nil {
		return config{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// parseConfig refuses what it does not know, so that a misspelt key is an error
// and not a program that does nothing.
func parseConfig(data []byte) (config, error) {
	var c config
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return config{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return config{}, errors.New("something follows the JSON object")
	}
	if c.Reactors == nil {
		return config{}, errors.New(`"reactors" is missing`)
	}
	return c, nil
}

// subscribe subscribes the reactors that the configuration names, in the order
// of their names. A name that the table lacks, and one that the bus refuses, for
// a topic that nobody has heard of, say, gets a warning: the rest is still of use.
func (c config) subscribe(bus *evsourcing.EventBus, table map[string]evsourcing.Reactor, logger *slog.Logger) {
	for _, name := range slices.Sorted(maps.Keys(c.Reactors)) {
		topics := c.Reactors[name]
		r, ok := table[name]
		if !ok {
			logger.Warn("no such reactor", "reactor", name, "topics", topics)
			continue
		}
		if err := bus.Subscribe(name, r, topics...); err != nil {
			logger.Warn("reactor not subscribed", "reactor", name, "error", err)
		}
	}
}
