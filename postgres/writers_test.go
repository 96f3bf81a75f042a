package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// Many writers, some of which stall with a transaction open or roll it back, and a
// subscription that starts and stops: nothing is missed, reordered or doubled.
func TestWritersWithStallsAndRollbacksAndASubscriptionThatComesAndGoes(t *testing.T) {
	const writers, streams = 32, 50
	events := faulttest.Scale(1_000, 5_000, 1_000_000)
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 40
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := postgres.New(t.Context(), pool, &postgres.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s)
	p, err := newProjection(t.Context(), s, dsn, "projection", schema+".counts")
	if err != nil {
		t.Fatal(err)
	}
	rolledBack := errors.New("rolled back")
	var stored, uncounted atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for stored.Load() < int64(events) {
				n := 1 + random.IntN(8)
				b := batch(stream(fmt.Sprint(random.IntN(streams))), evsourcing.AnyVersion, n)
				var err error
				if random.IntN(2) == 0 {
					_, err = s.Append(t.Context(), b)
				} else {
					err = s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
						if _, err := tx.Exec(ctx, "SELECT pg_current_xact_id()"); err != nil {
							return err
						}
						if _, err := store.Append(ctx, b); err != nil {
							return err
						}
						if random.IntN(4) == 0 {
							pause(ctx, time.Duration(random.IntN(3000))*time.Microsecond)
						}
						if random.IntN(5) == 0 {
							return rolledBack
						}
						return nil
					})
				}
				switch {
				case err == nil:
					stored.Add(int64(n))
				case errors.Is(err, rolledBack), errors.Is(err, evsourcing.ErrConflict):
					uncounted.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	random := rand.New(rand.NewPCG(7, 7))
	for running := true; running; {
		stop := p.start(t)
		pause(t.Context(), time.Duration(random.IntN(100))*time.Millisecond)
		stop()
		select {
		case <-finished:
			running = false
		default:
		}
	}
	p.wantExact(t, dsn)
	if n := query[int64](t, dsn, "SELECT count(*) FROM "+schema+".events"); n != stored.Load() {
		t.Errorf("%d events are stored, %d were acknowledged", n, stored.Load())
	}
	t.Logf("%d events, and %d transactions that were rolled back or conflicted", stored.Load(), uncounted.Load())
}
