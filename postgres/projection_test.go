package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// A projection counts the events of each stream in a table, exactly once. It stands in
// for a subscription with a handler of the store's.
type projection struct {
	store   *postgres.Store
	name    string
	table   string
	batch   int
	handler *postgres.Handler
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
	p := &projection{store: s, name: name, table: table, batch: 100}
	p.handler = s.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		b := &pgx.Batch{}
		for i := range msgs {
			// A version out of turn violates the condition, and is not counted.
			b.Queue("INSERT INTO "+table+" AS p VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE"+
				" SET version = excluded.version, events = p.events + 1 WHERE p.version = excluded.version - 1", msgs[i].Stream.ID, int64(msgs[i].Version))
		}
		return tx.SendBatch(ctx, b).Close()
	})
	return p, nil
}

// step handles what there is, and returns how far it has come.
func (p *projection) step(ctx context.Context, token uint64) (uint64, error) {
	at, _, err := p.store.Checkpoint(ctx, p.name)
	if err != nil {
		return 0, err
	}
	at.Token = max(at.Token, token)
	var msgs []evsourcing.Message
	handle := func() error {
		if len(msgs) == 0 {
			return nil
		}
		last := msgs[len(msgs)-1]
		to := evsourcing.Checkpoint{Position: last.Position, EventID: last.ID, Token: at.Token}
		err := p.handler.HandleTx(ctx, p.name, at, to, msgs)
		at, msgs = to, nil
		return err
	}
	for e, err := range p.store.Events(ctx, evsourcing.Range{After: at.Position}, evsourcing.Filter{}) {
		if err != nil {
			return 0, err
		}
		if msgs = append(msgs, evsourcing.Message{StoredEvent: e}); len(msgs) == p.batch {
			if err := handle(); err != nil {
				return 0, err
			}
		}
	}
	return at.Position, handle()
}

// follow runs until ctx ends. Failures of the database are tried again.
func (p *projection) follow(ctx context.Context) {
	for ctx.Err() == nil {
		at, err := p.step(ctx, 0)
		if err == nil {
			err = p.store.Wait(ctx, at)
		}
		if err != nil {
			pause(ctx, 5*time.Millisecond)
		}
	}
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
	if _, err := p.step(t.Context(), 0); err != nil {
		t.Fatalf("catching up: %v", err)
	}
	counts := map[string]uint64{}
	for e, err := range p.store.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
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

// isBroken reports whether an error is one of a database that was cut off, as opposed
// to one that a caller must not see.
func isBroken(err error) bool {
	return err != nil && !errors.Is(err, evsourcing.ErrConflict) && !errors.Is(err, evsourcing.ErrDuplicateEvent)
}
