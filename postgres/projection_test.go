package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// anything is a codec that takes every event as it is.
type anything struct{}

type happened struct{}

func (happened) Topic() string { return "test.happened" }

func (anything) Encode(context.Context, *evsourcing.StoredEvent, evsourcing.Event) error {
	return errors.ErrUnsupported
}

func (anything) Decode(context.Context, *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return happened{}, nil
}

func (anything) Names(topic string) []string { return []string{topic} }

// A projection counts the events of each stream in a table, exactly once.
type projection struct {
	store   *postgres.Store
	name    string
	table   string
	handler *postgres.Handler
	opts    evsourcing.SubscriptionOptions
}

func newProjection(ctx context.Context, s *postgres.Store, dsn, name, table string) (*projection, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (id text PRIMARY KEY, version bigint NOT NULL, events bigint NOT NULL)"); err != nil {
		return nil, err
	}
	p := &projection{store: s, name: name, table: table}
	p.opts = evsourcing.SubscriptionOptions{
		Logger: slog.New(slog.DiscardHandler),
		Retry:  evsourcing.RetryPolicy{InitialInterval: time.Millisecond, MaxInterval: 50 * time.Millisecond},
	}
	p.handler = s.Handler(p.handle)
	return p, nil
}

// handle leaves the version as it is if one comes out of turn, and counts the event.
func (p *projection) handle(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
	ids, versions := make([]string, len(msgs)), make([]int64, len(msgs))
	for i := range msgs {
		ids[i], versions[i] = msgs[i].Stream.ID, int64(msgs[i].Version)
	}
	_, err := tx.Exec(ctx, `
INSERT INTO `+p.table+` AS p SELECT id, max(version), count(*) FROM unnest($1::text[], $2::bigint[]) AS m(id, version) GROUP BY id
ON CONFLICT (id) DO UPDATE SET events = p.events + excluded.events,
	version = CASE WHEN p.version + excluded.events = excluded.version THEN excluded.version ELSE -1000000 END`, ids, versions)
	return err
}

func (p *projection) subscription() *evsourcing.Subscription {
	return evsourcing.NewSubscription(p.name, p.store, p.store, anything{}, p.handler, &p.opts)
}

// start runs the projection until the function it returns is called, or the test ends.
func (p *projection) start(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.subscription().Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the subscription %s ended: %v", p.name, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// pause waits for what only another process can say.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// eventually waits until f returns true, where another process is involved.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !f() {
		if ctx.Err() != nil {
			t.Fatalf("%s: not within 30 s", what)
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// wantExact checks that the read model has each event of the store once.
func (p *projection) wantExact(t testing.TB, dsn string) {
	t.Helper()
	head, err := p.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop := p.start(t)
	eventually(t, "catching up", func() bool {
		c, _, err := p.store.Checkpoint(t.Context(), p.name)
		return err == nil && c.Position >= head.Position
	})
	stop()
	// What a writer has given up may still arrive, after the subscription was stopped.
	reached, _, err := p.store.Checkpoint(t.Context(), p.name)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for e, err := range p.store.Events(t.Context(), evsourcing.Range{Until: reached.Position}, evsourcing.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if counts[e.Stream.ID]++; counts[e.Stream.ID] != e.Version {
			t.Errorf("version %d of %v comes in the log as number %d", e.Version, e.Stream, counts[e.Stream.ID])
		}
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), "SELECT id, version, events FROM "+p.table)
	if err != nil {
		t.Fatal(err)
	}
	var id string
	var version, events uint64
	var wrong []string
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &version, &events}, func() error {
		n++
		if events != version || counts[id] != version {
			wrong = append(wrong, fmt.Sprintf("%s: version %d of %d events, stored are %d", id, version, events, counts[id]))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n != len(counts) || len(wrong) > 0 {
		t.Errorf("the read model has %d streams, the store %d; wrong are %s", n, len(counts), strings.Join(wrong, "; "))
	}
}
