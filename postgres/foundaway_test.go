package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// If the database is away, the subscription waits for it, and gives no event up.
func TestSubscriptionGivesNoEventUpWhileTheDatabaseHangs(t *testing.T) {
	for _, what := range []string{"no connection", "the position lock", "the checkpoints table"} {
		t.Run(what, func(t *testing.T) {
			dsn := serverDSN(t)
			schema := newSchema(t, dsn)
			log := open(t, dsn, quiet(postgres.Options{Schema: schema}))
			put(t, log, batch(stream("a"), 0, 1))
			pool := newPool(t, withParam(t, dsn, "pool_max_conns", "1"))
			s, err := postgres.New(t.Context(), pool, quiet(postgres.Options{Schema: schema, NoListen: true, HandlerTime: 100 * time.Millisecond}))
			if err != nil {
				t.Fatal(err)
			}
			closeAfter(t, s)
			if err := s.SaveCheckpoint(t.Context(), "name", evsourcing.Checkpoint{}); err != nil {
				t.Fatal(err)
			}
			// The log is read after the checkpoint: from then on the database hangs.
			gated := &gatedLog{Store: log, first: make(chan struct{}), gate: make(chan struct{})}
			h := s.Handler(func(ctx context.Context, _ pgx.Tx, _ []evsourcing.Message) error {
				_, err := s.Append(ctx, batch(stream("reaction"), evsourcing.AnyVersion, 1))
				return err
			})
			given := make(chan evsourcing.DeadLetter, 1)
			sub := evsourcing.NewSubscription("name", gated, s, evsourcing.NewRegistry(happened{}), h, &evsourcing.SubscriptionOptions{
				Retry:  evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Millisecond, MaxInterval: time.Millisecond},
				Logger: quiet(postgres.Options{}).Logger,
				OnFailure: func(_ context.Context, d evsourcing.DeadLetter) error {
					select {
					case given <- d:
					default:
					}
					return nil
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- sub.Run(ctx) }()
			<-gated.first
			var undo func()
			switch what {
			case "no connection":
				conn, err := pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				undo = conn.Release
			case "the position lock":
				_, tx := holder(t, dsn)
				do(t, tx, fmt.Sprintf(positionLock, schema))
				undo = func() { do(t, tx, "COMMIT") }
			case "the checkpoints table":
				_, tx := holder(t, dsn)
				do(t, tx, "LOCK TABLE "+schema+".checkpoints IN EXCLUSIVE MODE")
				undo = func() { do(t, tx, "COMMIT") }
			}
			close(gated.gate)
			ended := false
			select {
			case d := <-given:
				t.Errorf("the event at position %d was given up after %d attempts: %v", d.Message.Position, d.Attempts, d.Err)
			case err := <-done:
				ended = true
				t.Errorf("Run ended: %v", err)
			case <-time.After(time.Duration(faulttest.Scale(600, 1000, 4000)) * time.Millisecond): // two attempts take 200 ms
			}
			undo()
			if !ended {
				eventually(t, "the event is handled", func() bool {
					n, err := headOf(t.Context(), log, stream("reaction"))
					return err == nil && n > 0
				})
				cancel()
				<-done
			}
		})
	}
}

// gatedLog stops the first reading of the log.
type gatedLog struct {
	*postgres.Store
	first, gate chan struct{}
	once        sync.Once
}

func (l *gatedLog) Head(ctx context.Context) (evsourcing.Mark, error) {
	l.once.Do(func() { close(l.first); <-l.gate })
	return l.Store.Head(ctx)
}
