package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
	"github.com/evsourcing/evsourcing/sqlite"
)

// A projection writes the position of each event of type "in" into a table, and
// appends an event of type "out" for each, in one transaction.
type projection struct {
	create  string // the table
	handler func(s store, insert work) evsourcing.Handler
	list    func(ctx context.Context, s store) ([]uint64, error) // the positions, in the order of insertion
}

// work handles messages in a transaction, and inserts by insert.
type work func(ctx context.Context, msgs []evsourcing.Message, insert func(position uint64) error) error

// projections returns the projections by kind of store.
func projections(table string) map[string]projection {
	list := "SELECT position FROM " + table + " ORDER BY n"
	return map[string]projection{
		"sqlite": {
			create: "CREATE TABLE " + table + " (n INTEGER PRIMARY KEY, position INTEGER NOT NULL)",
			handler: func(s store, w work) evsourcing.Handler {
				return s.(*sqlite.Store).Handler(func(ctx context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
					return w(ctx, msgs, func(position uint64) error {
						return sqlitex.Execute(tx, "INSERT INTO "+table+" (position) VALUES (?)", &sqlitex.ExecOptions{Args: []any{int64(position)}})
					})
				})
			},
			list: func(ctx context.Context, s store) (positions []uint64, err error) {
				err = s.(*sqlite.Store).Read(ctx, func(conn *zsqlite.Conn) error {
					return sqlitex.Execute(conn, list, &sqlitex.ExecOptions{ResultFunc: func(row *zsqlite.Stmt) error {
						positions = append(positions, uint64(row.ColumnInt64(0)))
						return nil
					}})
				})
				return positions, err
			},
		},
		"postgres": {
			create: "CREATE TABLE " + table + " (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, position bigint NOT NULL)",
			handler: func(s store, w work) evsourcing.Handler {
				return s.(*postgres.Store).Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
					return w(ctx, msgs, func(position uint64) error {
						_, err := tx.Exec(ctx, "INSERT INTO "+table+" (position) VALUES ($1)", int64(position))
						return err
					})
				})
			},
			list: func(ctx context.Context, s store) (positions []uint64, err error) {
				err = s.(*postgres.Store).InTx(ctx, func(ctx context.Context, tx pgx.Tx, _ evsourcing.EventStore) error {
					rows, err := tx.Query(ctx, list)
					if err != nil {
						return err
					}
					var p int64
					_, err = pgx.ForEachRow(rows, []any{&p}, func() error {
						positions = append(positions, uint64(p))
						return nil
					})
					return err
				})
				return positions, err
			},
		},
	}
}

// createTable makes the table of a projection.
func createTable(ctx context.Context, s store, sql string) error {
	switch s := s.(type) {
	case *sqlite.Store:
		return s.InTx(ctx, func(_ context.Context, tx *zsqlite.Conn) error { return sqlitex.ExecuteTransient(tx, sql, nil) })
	case *postgres.Store:
		return s.InTx(ctx, func(ctx context.Context, tx pgx.Tx, _ evsourcing.EventStore) error {
			_, err := tx.Exec(ctx, sql)
			return err
		})
	}
	return errors.ErrUnsupported
}

// signal is every event here.
type signal struct{}

func (signal) Topic() string { return "signal" }

// projectionEvents is how many events each run is about.
func projectionEvents() int { return faulttest.Scale(1_000, 4_000, 200_000) }

// TestProjectionsAreExact runs two subscriptions of one name on two stores with the
// same data, as two processes would, again and again, while writers race. Runs end
// at any moment; handlers fail, panic, call Goexit and are cut short. In the end the
// table has each event once, in order, and each has one event that answers it.
func TestProjectionsAreExact(t *testing.T) {
	for _, k := range kinds() {
		if k.name == "memory" {
			continue // it has no transactions
		}
		for _, lease := range []time.Duration{0, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/lease=%v", k.name, lease), func(t *testing.T) {
				projectExactly(t, k, lease)
			})
		}
	}
}

func projectExactly(t *testing.T, k kind, lease time.Duration) {
	ctx := t.Context()
	place, err := k.prepare(t)(ctx)
	fatal(t, err)
	table := "seen"
	if s, ok := place.(*postgresSite); ok {
		table = s.schema + ".seen"
	}
	p := projections(table)[k.name]
	defer func() {
		if err := place.remove(); err != nil {
			t.Error(err)
		}
	}()
	var stores [2]store
	for i := range stores {
		stores[i], err = place.open(ctx)
		fatal(t, err)
		defer func() {
			if err := place.close(context.Background(), stores[i]); err != nil {
				t.Error(err)
			}
		}()
	}
	fatal(t, createTable(ctx, stores[0], p.create))

	var running sync.WaitGroup
	written := make(chan struct{})
	var writers sync.WaitGroup
	const writerCount = 8
	for w := range writerCount {
		writers.Go(func() { writeSignals(t, stores[w%2], projectionEvents()/writerCount) })
	}
	go func() {
		writers.Wait()
		close(written)
	}()
	runs := make([]int, 2)
	for i, s := range stores {
		running.Go(func() {
			for done := false; !done; runs[i]++ {
				select {
				case <-written:
					done = true
				default:
				}
				rctx, cancel := context.WithTimeout(ctx, rand.N(200*time.Millisecond))
				if err := p.subscribe(s, lease, true).Run(rctx); err != nil && (lease > 0 || !errors.Is(err, evsourcing.ErrFenced)) {
					t.Errorf("run %d: %v", runs[i], err)
				}
				cancel()
			}
		})
	}
	running.Wait()

	// Nothing fails any more.
	last := p.subscribe(stores[0], lease, false)
	head, err := stores[0].Head(ctx)
	fatal(t, err)
	rctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- last.Run(rctx) }()
	waiting, stopWaiting := context.WithTimeout(ctx, 2*time.Minute)
	defer stopWaiting()
	fatal(t, last.WaitFor(waiting, head.Position))
	cancel()
	fatal(t, <-ended)

	var in []uint64
	answers := map[string]int{}
	for e, err := range stores[1].Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
		fatal(t, err)
		if e.Stream.Type == "in" {
			in = append(in, e.Position)
		} else {
			answers[string(e.Data)]++
		}
	}
	got, err := p.list(ctx, stores[1])
	fatal(t, err)
	if !slices.Equal(got, in) {
		t.Errorf("the table has %d rows, and there are %d events; they are the same in the same order: false", len(got), len(in))
	}
	for _, position := range in {
		if n := answers[fmt.Sprint(position)]; n != 1 {
			t.Errorf("the event at position %d has %d answers", position, n)
		}
	}
	if len(answers) != len(in) {
		t.Errorf("%d events are answered, and there are %d", len(answers), len(in))
	}
	t.Attr("figure", fmt.Sprintf("%s events in %d runs that were cut short, each once and in order", humanize.Comma(int64(len(in))), runs[0]+runs[1]))
}

// subscribe returns a subscription, whose handler behaves unless it may fail.
func (p projection) subscribe(s store, lease time.Duration, mayFail bool) *evsourcing.Subscription {
	h := p.handler(s, func(ctx context.Context, msgs []evsourcing.Message, insert func(uint64) error) error {
		if mayFail {
			if err := fate(ctx); err != nil {
				return err
			}
		}
		for _, m := range msgs {
			if err := insert(m.Position); err != nil {
				return err
			}
			_, err := s.Append(ctx, evsourcing.Batch{
				Stream: evsourcing.StreamID{Type: "out", ID: m.Stream.ID}, Expected: evsourcing.AnyVersion,
				Events: []evsourcing.StoredEvent{{ID: uuid.New(), Topic: "signal", ContentType: "text/plain", Data: fmt.Append(nil, m.Position)}},
			})
			if err != nil {
				return err
			}
		}
		if mayFail {
			return fate(ctx)
		}
		return nil
	})
	return evsourcing.NewSubscription("seen", s, s, anySignal{}, h, &evsourcing.SubscriptionOptions{
		Filter:    evsourcing.Filter{Types: []string{"in"}},
		BatchSize: 1 + rand.N(50),
		Lease:     lease,
		Retry:     evsourcing.RetryPolicy{MaxAttempts: 1000, InitialInterval: time.Millisecond, MaxInterval: 5 * time.Millisecond},
		Logger:    slog.New(slog.DiscardHandler),
	})
}

// fate fails now and then, in one way or another.
func fate(ctx context.Context) error {
	switch rand.N(60) {
	case 0:
		return errors.New("fate")
	case 1:
		panic("fate")
	case 2:
		<-ctx.Done() // it is slow, until its run ends or its time
		return ctx.Err()
	}
	return nil
}

// anySignal is a codec for events with any data.
type anySignal struct{}

func (anySignal) Encode(context.Context, *evsourcing.StoredEvent, evsourcing.Event) error { return nil }
func (anySignal) Decode(context.Context, *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return signal{}, nil
}
func (anySignal) Names(topic string) []string { return []string{topic} }

// writeSignals appends n events to a few streams.
func writeSignals(t *testing.T, s store, n int) {
	for range n {
		_, err := s.Append(context.Background(), evsourcing.Batch{
			Stream: evsourcing.StreamID{Type: "in", ID: fmt.Sprint(rand.N(20))}, Expected: evsourcing.AnyVersion,
			Events: []evsourcing.StoredEvent{{ID: uuid.New(), Topic: "signal", ContentType: "text/plain", Data: []byte("x")}},
		})
		if err != nil {
			t.Error(err)
			return
		}
	}
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
