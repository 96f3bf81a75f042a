package main

import (
	"errors"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

// adulthood is the age at which one may grow up.
const adulthood = 18

// A Human is born once, has birthdays, and may grow up.
type Human struct {
	evsourcing.Base
	Name  string
	Age   int
	Adult bool
}

// String describes the human on one line.
func (h *Human) String() string {
	if h.Adult {
		return fmt.Sprintf("%s, %d years old, a grown-up", h.Name, h.Age)
	}
	return fmt.Sprintf("%s, %d years old", h.Name, h.Age)
}

// Born says that a human's life has begun.
type Born struct {
	Name string `json:"name"`
}

// HadBirthday says that a human is a year older.
type HadBirthday struct {
	Age int `json:"age"`
}

// GrewUp says that a human is a child no more.
type GrewUp struct{}

// Topic names the event in the store, on the bus and in the configuration.
func (Born) Topic() string { return "human.born" }

// Topic names the event in the store, on the bus and in the configuration.
func (HadBirthday) Topic() string { return "human.had_birthday" }

// Topic names the event in the store, on the bus and in the configuration.
func (GrewUp) Topic() string { return "human.grew_up" }

// ApplyTo gives the human its name.
func (e Born) ApplyTo(h *Human) { h.Name = e.Name }

// ApplyTo sets the human's age.
func (e HadBirthday) ApplyTo(h *Human) { h.Age = e.Age }

// ApplyTo makes the human an adult.
func (GrewUp) ApplyTo(h *Human) { h.Adult = true }

// Errors of the commands.
var (
	errNoName   = errors.New("human: a name is needed")
	errBorn     = errors.New("human: born already")
	errNotBorn  = errors.New("human: not born yet")
	errTooYoung = errors.New("human: too young to grow up")
	errAdult    = errors.New("human: grown up already")
)

type (
	command = evsourcing.Command[*Human]
	event   = evsourcing.EventOf[*Human]
)

// birth brings a human into the world.
func birth(name string) command {
	return func(h *Human) (event, error) {
		if name == "" {
			return nil, errNoName
		}
		if h.Name != "" {
			return nil, errBorn
		}
		return Born{Name: name}, nil
	}
}

// birthday makes a human a year older. It is a command as it stands: it takes
// no arguments.
func birthday(h *Human) (event, error) {
	if h.Name == "" {
		return nil, errNotBorn
	}
	return HadBirthday{Age: h.Age + 1}, nil
}

// growUp makes a human an adult, once.
func growUp(h *Human) (event, error) {
	if h.Age < adulthood {
		return nil, errTooYoung
	}
	if h.Adult {
		return nil, errAdult
	}
	return GrewUp{}, nil
}
