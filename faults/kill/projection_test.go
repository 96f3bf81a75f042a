package kill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// createRows makes the table of the projection: a row for each event, and nothing that
// would refuse a second one.
func createRows(ctx context.Context, s durable.Store, place string) error {
	return s.InTx(ctx, func(_ context.Context, exec durable.Exec) error {
		return exec("CREATE TABLE rows_seen (n " + durable.Numbered(place) + ", position bigint NOT NULL)")
	})
}

// projection returns the subscription that fills the table. inside, if it is not nil, is
// called in each transaction when its work is done.
func projection(s durable.Store, m mode, inside func()) *evsourcing.Subscription {
	insert := func(exec durable.Exec, msgs []evsourcing.Message) error {
		values := make([]string, len(msgs))
		for i := range msgs {
			values[i] = fmt.Sprintf("(%d)", msgs[i].Position)
		}
		err := exec("INSERT INTO rows_seen (position) VALUES " + strings.Join(values, ","))
		if err == nil && inside != nil {
			inside()
		}
		return err
	}
	var h evsourcing.Handler = s.Handler(func(_ context.Context, exec durable.Exec, msgs []evsourcing.Message) error {
		return insert(exec, msgs)
	})
	if m == outside {
		h = evsourcing.HandlerFunc(func(ctx context.Context, msgs []evsourcing.Message) error {
			err := s.InTx(ctx, func(_ context.Context, exec durable.Exec) error { return insert(exec, msgs) })
			pause(ctx, 2*time.Millisecond) // it takes a while to save a checkpoint elsewhere
			return err
		})
	}
	return evsourcing.NewSubscription("rows", s, s, durable.Codec{}, h, &evsourcing.SubscriptionOptions{
		Retry:  evsourcing.RetryPolicy{MaxAttempts: 1000, InitialInterval: time.Millisecond, MaxInterval: 20 * time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
}

// project runs the projection until the context ends, beside others that do so too.
func project(ctx context.Context, s durable.Store, m mode, inside func()) error {
	for {
		err := projection(s, m, inside).Run(ctx)
		if ctx.Err() != nil || err != nil && !errors.Is(err, evsourcing.ErrFenced) {
			return err
		}
	}
}

// catchUp runs the projection until it has come to the position.
func catchUp(ctx context.Context, s durable.Store, m mode, position uint64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		running, stop := context.WithCancel(ctx)
		p := projection(s, m, nil)
		ended := make(chan error, 1)
		go func() { ended <- p.Run(running) }()
		err := p.WaitFor(ctx, position)
		stop()
		err = errors.Join(err, <-ended)
		if err == nil || ctx.Err() != nil || !errors.Is(err, evsourcing.ErrFenced) { // by who died just now
			return err
		}
	}
}
