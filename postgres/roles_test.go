package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// role makes a role with the grants, and returns the connection string to log in as it.
func role(t *testing.T, dsn, schema string, grants func(schema, role string) (string, error)) (as string) {
	t.Helper()
	name := fmt.Sprintf("test_role_%d_%d", os.Getpid(), schemas.Add(1))
	sql, err := grants(schema, name)
	if err != nil {
		t.Fatal(err)
	}
	run(t, dsn, "CREATE ROLE "+name+" LOGIN; "+sql)
	t.Cleanup(func() { run(t, dsn, "DROP OWNED BY "+name+"; DROP ROLE "+name) })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(name)
	return u.String()
}

// wantDenied checks that the role lacks the right for a statement.
func wantDenied(t *testing.T, as, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), as)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), sql); !contains(err, "42501") {
		t.Errorf("%s: %v, want that it is denied", sql, err)
	}
}

func TestApplicationRoleAppendsAndChangesNoEvent(t *testing.T) {
	c := faulttest.SharedCluster(t)
	dsn, schema := c.Database(t), "app"
	open(t, dsn, &postgres.Options{Schema: schema})
	as := role(t, dsn, schema, postgres.AppGrants)
	s := open(t, as, &postgres.Options{Schema: schema})
	run(t, dsn, "CREATE TABLE app.counts (id text PRIMARY KEY, version bigint NOT NULL, events bigint NOT NULL); GRANT ALL ON app.counts TO PUBLIC")
	ctx := t.Context()
	put(t, s, batch(stream("a"), 0, 1))
	put(t, s, batch(stream("a"), 1, 2), batch(stream("b"), evsourcing.AnyVersion, 1))
	if _, err := s.Claim(ctx, "name", "owner", 1); err != nil {
		t.Error(err)
	}
	if err := s.SaveSnapshot(ctx, evsourcing.Snapshot{Stream: stream("a"), Version: 1}); err != nil {
		t.Error(err)
	}
	h := s.Handler(func(ctx context.Context, tx pgx.Tx, _ []evsourcing.Message) error {
		_, err := s.Append(ctx, batch(stream("c"), 0, 1))
		return err
	})
	msgs := messages(t, s)
	if err := h.HandleTx(ctx, "handler", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs[:1]); err != nil {
		t.Error(err)
	}
	if err := s.Forget(ctx, "handler"); err != nil {
		t.Error(err)
	}
	if n := query[int](t, as, "SELECT count(*) FROM app.events_readable WHERE payload IS NOT NULL"); n != 5 {
		t.Errorf("the view shows %d events", n)
	}
	for _, sql := range []string{
		"UPDATE app.events SET data = ''", "DELETE FROM app.events", "TRUNCATE app.events", "DROP TABLE app.events",
		"ALTER TABLE app.events ADD COLUMN x int", "CREATE TABLE app.x (i int)", "SELECT setval('app.positions', 1)",
		"INSERT INTO app.migrations (version) VALUES (99)",
	} {
		if strings.HasPrefix(sql, "DROP") || strings.HasPrefix(sql, "ALTER") {
			conn, err := pgx.Connect(ctx, as)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(ctx, sql); !contains(err, "must be owner") {
				t.Errorf("%s: %v", sql, err)
			}
			_ = conn.Close(ctx)
			continue
		}
		wantDenied(t, as, sql)
	}
}

func TestReadOnlyRoleReadsEverythingAndWritesNothing(t *testing.T) {
	c := faulttest.SharedCluster(t)
	dsn, schema := c.Database(t), "app"
	owner := open(t, dsn, &postgres.Options{Schema: schema})
	put(t, owner, batch(stream("a"), 0, 3))
	as := role(t, dsn, schema, postgres.ReadGrants)
	s := open(t, as, quiet(postgres.Options{Schema: schema}))
	if got := versions(t, t.Context(), s, stream("a"), evsourcing.Range{}); got != "1 2 3" {
		t.Errorf("the stream has versions %s", got)
	}
	if _, _, err := s.Checkpoint(t.Context(), "name"); err != nil {
		t.Error(err)
	}
	if n := query[int](t, as, "SELECT count(*) FROM app.events_readable WHERE payload IS NOT NULL"); n != 3 {
		t.Errorf("the view shows %d events", n)
	}
	for _, b := range []evsourcing.Batch{batch(stream("a"), 3, 1), batch(stream("a"), 3, 2), batch(stream("a"), evsourcing.AnyVersion, 1)} {
		if _, err := s.Append(t.Context(), b); !contains(err, "AppGrants") {
			t.Errorf("Append returned %v, want that the role lacks a right", err)
		}
	}
	if err := s.SaveCheckpoint(t.Context(), "name", evsourcing.Checkpoint{}); !contains(err, "42501") {
		t.Errorf("SaveCheckpoint returned %v", err)
	}
	for _, sql := range []string{"INSERT INTO app.events SELECT * FROM app.events", "DELETE FROM app.checkpoints", "SELECT nextval('app.positions')"} {
		wantDenied(t, as, sql)
	}
	if _, err := postgres.AppGrants("a b", "role"); err == nil {
		t.Error("a bad schema name was accepted")
	}
}
