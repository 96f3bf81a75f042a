package evtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
)

// ScenarioOptions change the defaults of a [Scenario].
type ScenarioOptions struct {
	// Codec is the one that the program uses. What is given and what is recorded
	// then passes through it, and the test fails if an event, or the state that
	// follows from it, is not the same afterwards: a mistake in a JSON tag shows.
	// If nil, events stay the Go values that they are.
	Codec evsourcing.Codec
	// Type is the type of the aggregate's stream. If empty, "evtest".
	Type string
	// ID is the aggregate's. If empty, "1".
	ID string
	// Store is where the events are stored, for a test that looks at how; the
	// stream must not exist. If nil, a new MemoryStore.
	Store evsourcing.EventStore
	// Now is the clock of what is recorded. The given events have the times and
	// IDs that Messages gives them. If nil, a clock that stands still on
	// 2026-01-02 00:00 UTC.
	Now func() time.Time
}

// A Scenario is an aggregate of type T, as events have made it, about to be
// tested.
type Scenario[T any] struct {
	t       testing.TB
	given   []evsourcing.EventOf[*T]
	opts    ScenarioOptions
	repo    func(o *ScenarioOptions) *evsourcing.Repository[T]
	execute func(a *T, cmd func(a *T) (evsourcing.EventOf[*T], error)) error
}

// Given begins the test of an aggregate: these events have happened to it. For
// none, or for clarity, name the type:
//
//	evtest.Given[Account](t, Opened{Owner: "ada"}).
//		When(Deposit(5)).
//		Then(Deposited{Amount: 5})
//
// The compiler refuses events of another aggregate. The aggregate is made as a
// program makes it, by a repository: its Init has run, its version is the number
// of events, and its events have been stored and loaded.
func Given[T any, P interface {
	*T
	evsourcing.Aggregate
}](t testing.TB, events ...evsourcing.EventOf[P]) *Scenario[T] {
	given := make([]evsourcing.EventOf[*T], len(events))
	for i, e := range events {
		given[i], _ = e.(evsourcing.EventOf[*T]) // the same type
	}
	return &Scenario[T]{
		t:     t,
		given: given,
		repo: func(o *ScenarioOptions) *evsourcing.Repository[T] {
			return evsourcing.NewRepository[T, P](o.Type, o.Store, o.Codec, &evsourcing.RepositoryOptions{Now: o.Now})
		},
		execute: func(a *T, cmd func(a *T) (evsourcing.EventOf[*T], error)) error {
			if cmd == nil {
				return evsourcing.Execute[P](a, nil)
			}
			return evsourcing.Execute(P(a), func(a P) (evsourcing.EventOf[P], error) {
				e, err := cmd(a)
				of, _ := e.(evsourcing.EventOf[P])
				return of, err
			})
		},
	}
}

// With changes the defaults. opts may be nil.
func (s *Scenario[T]) With(opts *ScenarioOptions) *Scenario[T] {
	s.opts = ScenarioOptions{}
	if opts != nil {
		s.opts = *opts
	}
	return s
}

// When runs a command on the aggregate: an evsourcing.Command[*T], or a function
// like one.
//
// The test fails if the command changes the aggregate, or records an event,
// instead of returning one.
func (s *Scenario[T]) When(cmd func(a *T) (evsourcing.EventOf[*T], error)) *Outcome[T] {
	s.t.Helper()
	return s.run(func(a *T) error {
		s.t.Helper()
		return s.execute(a, s.watched(cmd))
	})
}

// watched returns the command with an eye on what it does to the aggregate.
func (s *Scenario[T]) watched(cmd func(a *T) (evsourcing.EventOf[*T], error)) func(a *T) (evsourcing.EventOf[*T], error) {
	if cmd == nil {
		return nil
	}
	return func(a *T) (evsourcing.EventOf[*T], error) {
		s.t.Helper()
		before := describe(a, false)
		e, err := cmd(a)
		if n := len(baseOf(a).Changes()); n > 0 {
			s.t.Errorf("evtest: the command recorded events itself, %d of them; a command returns its event", n)
		} else if diff, ok := diffValues(before, describe(a, false)); !ok {
			s.t.Errorf("evtest: the command changed the aggregate; only ApplyTo may (- before, + after):%s", diff)
		}
		return e, err
	}
}

// WhenFunc runs a function like those that [evsourcing.Repository.Update] takes,
// which may execute several commands. As there, its error means that nothing is
// stored of what it has recorded.
func (s *Scenario[T]) WhenFunc(fn func(a *T) error) *Outcome[T] {
	s.t.Helper()
	return s.run(fn)
}

// ThenState tests the state that the given events lead to. check may use t, or
// the test's own.
func (s *Scenario[T]) ThenState(check func(t testing.TB, a *T)) *Scenario[T] {
	s.t.Helper()
	_, a := s.load(s.t.Context(), s.store())
	check(s.t, a)
	return s
}

// store stores the given events.
func (s *Scenario[T]) store() *evsourcing.Repository[T] {
	s.t.Helper()
	o := s.opts
	if o.Codec == nil {
		o.Codec = &valueCodec{}
	}
	if o.Type == "" {
		o.Type = "evtest"
	}
	if o.ID == "" {
		o.ID = "1"
	}
	if o.Store == nil {
		o.Store = evsourcing.NewMemoryStore()
	}
	if o.Now == nil {
		o.Now = func() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) }
	}
	s.opts.ID = o.ID
	repo := s.repo(&o)
	if len(s.given) == 0 {
		return repo
	}
	plain := make([]evsourcing.Event, len(s.given))
	for i, e := range s.given {
		plain[i] = e
	}
	batch := evsourcing.Batch{Stream: evsourcing.StreamID{Type: o.Type, ID: o.ID}}
	for _, m := range Messages(s.t, o.Codec, batch.Stream, plain...) {
		m.Position = 0
		batch.Events = append(batch.Events, m.StoredEvent)
	}
	if _, err := o.Store.Append(s.t.Context(), batch); err != nil {
		s.t.Fatalf("evtest: storing the given events: %v", err)
	}
	return repo
}

// load returns the aggregate as it is stored.
func (s *Scenario[T]) load(ctx context.Context, repo *evsourcing.Repository[T]) (*evsourcing.Repository[T], *T) {
	s.t.Helper()
	a, err := repo.Load(ctx, s.opts.ID)
	if err != nil && !errors.Is(err, evsourcing.ErrNotFound) {
		s.t.Fatalf("evtest: loading the aggregate: %v", err)
	}
	if err != nil {
		a = repo.New(s.opts.ID)
	}
	return repo, a
}

// run runs fn and saves what it has recorded.
func (s *Scenario[T]) run(fn func(a *T) error) *Outcome[T] {
	s.t.Helper()
	repo, a := s.load(s.t.Context(), s.store())
	o := &Outcome[T]{t: s.t}
	o.err = fn(a)
	for _, e := range baseOf(a).Changes() {
		of, _ := e.(evsourcing.EventOf[*T])
		o.recorded = append(o.recorded, of)
	}
	o.state = a
	if o.err != nil {
		_, o.state = s.load(s.t.Context(), repo)
	} else if len(o.recorded) > 0 {
		s.save(repo, a, o.recorded)
	}
	s.t.Cleanup(func() {
		if !o.checked && !s.t.Failed() {
			s.t.Errorf("evtest: a When without a Then tests nothing")
		}
	})
	return o
}

// save stores what was recorded and fails the test unless it comes back, and
// leads to the same state.
func (s *Scenario[T]) save(repo *evsourcing.Repository[T], live *T, recorded []evsourcing.EventOf[*T]) {
	s.t.Helper()
	if s.opts.Codec != nil {
		plain := make([]evsourcing.Event, len(recorded))
		for i, e := range recorded {
			plain[i] = e
		}
		Messages(s.t, s.opts.Codec, evsourcing.StreamID{Type: "evtest", ID: s.opts.ID}, plain...)
	}
	if err := repo.Save(s.t.Context(), live); err != nil {
		s.t.Fatalf("evtest: saving what was recorded: %v", err)
	}
	_, replayed := s.load(s.t.Context(), repo)
	if diff, ok := diffValues(describe(live, false), describe(replayed, false)); !ok {
		s.t.Errorf("evtest: the state is another one after replaying the events (- live, + replayed):%s", diff)
	}
}
