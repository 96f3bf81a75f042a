package mixed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evsourcing/evsourcing"
)

// A Service is a repository with snapshots, a bus with a reactor, and a projection on
// one store.
type Service struct {
	store   Store
	opts    Options
	streams []string
	note    string

	repo *evsourcing.Repository[Account]
	bus  *evsourcing.EventBus

	projection *evsourcing.Subscription // nil without one
	cancel     context.CancelFunc       // ends the projection
	ended      chan error               // what its Run has returned
}

// Start begins each stream of the load, unless that was done before, and starts the
// projection. Stop has to be called. ctx is for starting only.
func Start(ctx context.Context, store Store, opts *Options) (*Service, error) {
	s := &Service{store: store, opts: opts.withDefaults(), ended: make(chan error, 1)}
	s.note = strings.Repeat("x", s.opts.Payload)
	for i := range s.opts.Streams {
		s.streams = append(s.streams, streamName(i))
	}
	codec := NewRegistry()
	if err := fill(ctx, store, codec, "", s.streams); err != nil {
		return nil, err
	}
	s.bus = evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: codec, Logger: s.opts.Logger})
	if err := s.bus.Subscribe("mixed", evsourcing.ReactorFunc(s.react), Posted{}.Topic()); err != nil {
		return nil, err
	}
	if err := s.bus.Listen(); err != nil {
		return nil, err
	}
	s.repo = evsourcing.NewRepository[Account](AccountType, timed{store, s.opts.Observe}, codec, &evsourcing.RepositoryOptions{
		Bus: s.bus, Snapshots: store, Logger: s.opts.Logger,
	})
	if s.opts.Handler == nil {
		s.cancel = func() {}
		s.ended <- nil
		return s, nil
	}
	s.projection = evsourcing.NewSubscription("mixed", store, store, codec, s.opts.Handler, &evsourcing.SubscriptionOptions{
		Logger: s.opts.Logger,
	})
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go func() { s.ended <- s.projection.Run(following) }()
	return s, nil
}

func (s *Service) react(_ context.Context, m evsourcing.Message) error {
	s.opts.Observe(React, time.Since(m.Time))
	return nil
}

// timed is the store as the repository sees it.
type timed struct {
	Store
	observe func(Kind, time.Duration)
}

// Unwrap lets [evsourcing.Capability] see the store.
func (t timed) Unwrap() evsourcing.EventStore { return t.Store }

// Append implements [evsourcing.EventStore].
func (t timed) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	began := time.Now()
	r, err := t.Store.Append(ctx, batches...)
	if err == nil {
		t.observe(Append, time.Since(began))
	}
	return r, err
}

// A Lag is how far those who follow are behind.
type Lag struct {
	Projection uint64 // positions of the log
	Reactor    int    // messages
}

// Lag returns how far the projection and the reactor are behind now.
func (s *Service) Lag() (l Lag) {
	if s.projection != nil {
		l.Projection = s.projection.Status().Lag
	}
	l.Reactor = s.bus.Pending()
	return l
}

// CatchUp returns when the projection shows what is in the log now.
func (s *Service) CatchUp(ctx context.Context) error {
	if s.projection == nil {
		return nil
	}
	head, err := s.store.Head(ctx)
	if err != nil {
		return err
	}
	return s.projection.WaitFor(ctx, head.Position)
}

// Stop waits until the projection and the reactor have caught up, and ends them. When
// ctx ends first, they are broken off, and the error says how far behind they are. No
// goroutine is left.
func (s *Service) Stop(ctx context.Context) error {
	var errs []error
	if err := s.CatchUp(ctx); err != nil {
		errs = append(errs, fmt.Errorf("the projection has not caught up: %w; %+v", err, s.Lag()))
	}
	s.cancel()
	errs = append(errs, <-s.ended)
	s.ended <- nil // for who stops again
	errs = append(errs, s.bus.Close(ctx), s.repo.Close(ctx))
	return errors.Join(errs...)
}
