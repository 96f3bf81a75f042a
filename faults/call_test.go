package faults

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// arguments are what calls take that should fail.
type arguments struct {
	stream      evsourcing.StreamID
	name, owner string
}

// A refusable is a call that fails if an argument or the context is bad.
type refusable struct {
	what  string
	takes string // a stream, or a name, or nothing
	do    func(ctx context.Context, s store, a arguments) error
}

// refusables are all calls but Append. None would change what a comparison does
// not look at.
var refusables = []refusable{
	{"Load", "stream", func(ctx context.Context, s store, a arguments) error {
		list, err := collect(s.Load(ctx, a.stream, evsourcing.Range{}))
		if len(list) > 0 {
			return fmt.Errorf("it yields %d events", len(list))
		}
		return err
	}},
	{"Find", "stream", func(ctx context.Context, s store, a arguments) error {
		_, _, err := s.Find(ctx, a.stream, uuid.UUID{0: 0xe5, 15: 1})
		return err
	}},
	{"LoadSnapshot", "stream", func(ctx context.Context, s store, a arguments) error {
		_, _, err := s.LoadSnapshot(ctx, a.stream)
		return err
	}},
	{"SaveSnapshot", "stream", func(ctx context.Context, s store, a arguments) error {
		return s.SaveSnapshot(ctx, evsourcing.Snapshot{Stream: a.stream, Version: 1000, Fingerprint: "refused"})
	}},
	{"Checkpoint", "name", func(ctx context.Context, s store, a arguments) error {
		_, _, err := s.Checkpoint(ctx, a.name)
		return err
	}},
	{"SaveCheckpoint", "name", func(ctx context.Context, s store, a arguments) error {
		return s.SaveCheckpoint(ctx, a.name, evsourcing.Checkpoint{Position: 99, Token: math.MaxInt64})
	}},
	{"Claim", "name", func(ctx context.Context, s store, a arguments) error {
		_, err := s.Claim(ctx, a.name, a.owner, lease)
		return err
	}},
	{"Events", "", func(ctx context.Context, s store, _ arguments) error {
		list, err := collect(s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}))
		if len(list) > 0 {
			return fmt.Errorf("it yields %d events", len(list))
		}
		return err
	}},
	{"Head", "", func(ctx context.Context, s store, _ arguments) error {
		_, err := s.Head(ctx)
		return err
	}},
	{"Wait", "", func(ctx context.Context, s store, _ arguments) error { return s.Wait(ctx, 0) }},
}

// callDead makes all calls, which would do under another context.
func (m *machine) callDead(t *rapid.T) {
	s, ctx := m.store(t), m.deadContext(t)
	a := arguments{pick(t, "stream", streams), pick(t, "name", names), pick(t, "owner", owners)}
	for _, call := range refusables {
		m.within(t, call.what+" under a context that had ended", func() error {
			if err := call.do(ctx, s, a); !errors.Is(err, ctx.Err()) {
				return fmt.Errorf("the error is %v, want %v", err, ctx.Err())
			}
			return nil
		})
	}
	m.compareSnapshot(t, s, a.stream)
	m.compareCheckpoint(t, s, a.name)
}

// callInvalid makes all calls that take a stream or name, with a bad one.
func (m *machine) callInvalid(t *rapid.T) {
	s, bad, half := m.store(t), pick(t, "bad name", badNames), rapid.Bool().Draw(t, "the first part of it")
	for _, call := range refusables {
		a := arguments{streams[0], names[0], owners[0]}
		var want error
		switch call.takes {
		case "stream":
			want = evsourcing.ErrInvalidStream
			if half {
				a.stream.Type = bad
			} else {
				a.stream.ID = bad
			}
		case "name":
			if half && call.what == "Claim" {
				a.owner = bad
			} else {
				a.name = bad
			}
		default:
			continue
		}
		m.within(t, fmt.Sprintf("%s with the name %.20q", call.what, bad), func() error {
			switch err := call.do(m.ctx, s, a); {
			case err == nil:
				return errors.New("it was accepted")
			case want != nil && !errors.Is(err, want):
				return fmt.Errorf("the error is %w, want %w", err, want)
			case errors.Is(err, evsourcing.ErrFenced):
				return fmt.Errorf("the error is %w, which does not name the mistake", err)
			}
			return nil
		})
	}
}
