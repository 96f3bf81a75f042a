package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// The server keeps the plan of a statement that is said often. One that was made when
// the store was empty must do when it is full, until statistics are gathered.
func TestPlansMadeForAnEmptyStoreDoForAFullOne(t *testing.T) {
	c := faulttest.SharedCluster(t)
	for _, analyzed := range []bool{false, true} {
		dsn := c.Database(t)
		s, err := postgres.Open(t.Context(), dsn+"?pool_max_conns=2", &postgres.Options{NoListen: true, Committers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if analyzed {
			run(t, dsn, "VACUUM evsourcing.events")
			run(t, dsn, "ANALYZE evsourcing.events")
		}
		run(t, dsn, "ALTER TABLE evsourcing.events SET (autovacuum_enabled = off)")
		call := callEverything
		if analyzed {
			call = appendGroups
		}
		for i := range 10 {
			call(t, s, i)
		}
		const events = 30_000
		for i := range 10 {
			put(t, s, batch(stream(fmt.Sprint("full-", i)), 0, events/10))
		}
		for i := range 10 {
			call(t, s, 100+i)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n int64
		eventually(t, "the server's statistics", func() bool {
			n = query[int64](t, dsn, "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'events'")
			return query[int64](t, dsn, "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'events'") > events
		})
		if n > events/2 {
			t.Errorf("analyzed %t: %d rows were read by scans of the whole table", analyzed, n)
		}
	}
}

func callEverything(t *testing.T, s *postgres.Store, i int) {
	t.Helper()
	ctx := t.Context()
	id := stream(fmt.Sprint("call-", i))
	one := batch(id, 0, 1)
	put(t, s, one)
	put(t, s, batch(id, 1, 2))
	put(t, s, batch(id, evsourcing.AnyVersion, 1))
	put(t, s, one) // repeated
	err := s.InTx(ctx, func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		_, err := store.Append(ctx, batch(id, 4, 1))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	head, err := s.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Find(ctx, id, uuid.New()); err != nil {
		t.Fatal(err)
	}
	after := max(head.Position, 10) - 10
	for _, backward := range []bool{false, true} {
		for _, f := range []evsourcing.Filter{{}, {Topics: []string{"none"}}, {Types: []string{"test"}}} {
			for _, err := range s.Events(ctx, evsourcing.Range{After: after, Backward: backward}, f) {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		versions(t, ctx, s, id, evsourcing.Range{Backward: backward, Limit: 3})
	}
	wait, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_ = s.Wait(wait, head.Position)
}

func appendGroups(t *testing.T, s *postgres.Store, i int) {
	t.Helper()
	id := stream(fmt.Sprint("call-", i))
	put(t, s, batch(id, 0, 2))
	put(t, s, batch(id, evsourcing.AnyVersion, 1))
}
