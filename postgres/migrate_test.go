package postgres_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

func TestManyProcessesOpenANewStoreAtOnce(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	var wg sync.WaitGroup
	for range faulttest.Scale(2, 4, 16) {
		child := faulttest.StartChild(t, "open", func(string) {}, dsn, schema)
		wg.Go(func() {
			if err := child.Failed(); err != nil {
				t.Errorf("a process could not open the store: %v", err)
			}
		})
	}
	for range 8 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), dsn, &postgres.Options{Schema: schema})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Append(t.Context(), batch(stream("a"), evsourcing.AnyVersion, 1)); err != nil {
				t.Error(err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := query[int](t, dsn, "SELECT count(*) FROM "+schema+".migrations"); n != 2 {
		t.Errorf("%d migrations are noted", n)
	}
}

// testdata/v1.sql is a dump of a store that version 1 of the schema made.
func TestStoreOfVersionOneIsMigrated(t *testing.T) {
	c := faulttest.SharedCluster(t)
	for _, byHand := range []bool{false, true} {
		dsn := c.Database(t)
		dump, err := os.ReadFile("testdata/v1.sql")
		if err != nil {
			t.Fatal(err)
		}
		run(t, dsn, string(dump))
		_, err = postgres.Open(t.Context(), dsn, &postgres.Options{NoMigrate: true})
		if !errors.Is(err, postgres.ErrSchema) || !contains(err, `postgres.Schema("evsourcing", 1)`) {
			t.Errorf("Open without migrating returned %v", err)
		}
		if byHand {
			sql, err := postgres.Schema("", 1)
			if err != nil {
				t.Fatal(err)
			}
			run(t, dsn, sql)
		}
		s := open(t, dsn, &postgres.Options{NoMigrate: byHand})
		if got := versions(t, t.Context(), s, evsourcing.StreamID{Type: "flight", ID: "LH-1"}, evsourcing.Range{}); got != "1 2 3" {
			t.Errorf("the stream has versions %s", got)
		}
		cp, ok, err := s.Checkpoint(t.Context(), "board")
		if err != nil || !ok || cp.Position != 4 || cp.Token != 2 {
			t.Errorf("the checkpoint is %+v, %t, %v", cp, ok, err)
		}
		if p, ok, err := s.LoadSnapshot(t.Context(), evsourcing.StreamID{Type: "flight", ID: "LH-1"}); err != nil || !ok || p.Version != 2 {
			t.Errorf("the snapshot is %+v, %t, %v", p, ok, err)
		}
		head, _ := s.Head(t.Context())
		if r := put(t, s, batch(evsourcing.StreamID{Type: "flight", ID: "LH-1"}, 3, 1)); r.Position <= head.Position {
			t.Errorf("the next append got position %d, the head was %d", r.Position, head.Position)
		}
		if got := query[string](t, dsn, "SELECT payload->>'to' FROM evsourcing.events_readable WHERE position = 1"); got != "CDG" {
			t.Errorf("the view shows %q", got)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	open(t, dsn, &postgres.Options{Schema: schema})
	run(t, dsn, "INSERT INTO "+schema+".migrations (version) VALUES (99)")
	for _, noMigrate := range []bool{false, true} {
		_, err := postgres.Open(t.Context(), dsn, &postgres.Options{Schema: schema, NoMigrate: noMigrate})
		if !errors.Is(err, postgres.ErrSchema) || !contains(err, "version 99") || !contains(err, "update the program") {
			t.Errorf("Open returned %v", err)
		}
	}
	if n := query[int](t, dsn, "SELECT count(*) FROM "+schema+".migrations"); n != 3 {
		t.Errorf("there are %d migrations", n)
	}
}

func TestSchemaMadeByHand(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	_, err := postgres.Open(t.Context(), dsn, &postgres.Options{Schema: schema, NoMigrate: true})
	if !errors.Is(err, postgres.ErrSchema) || !contains(err, "version 0") {
		t.Errorf("Open of what is not there returned %v", err)
	}
	sql, err := postgres.Schema(schema, 0)
	if err != nil {
		t.Fatal(err)
	}
	run(t, dsn, sql)
	s := open(t, dsn, &postgres.Options{Schema: schema, NoMigrate: true})
	put(t, s, batch(stream("a"), 0, 1))
	for _, bad := range []struct {
		schema string
		from   int
	}{{"a b", 0}, {"", -1}, {"", 99}} {
		if _, err := postgres.Schema(bad.schema, bad.from); err == nil {
			t.Errorf("Schema(%q, %d) has no error", bad.schema, bad.from)
		}
	}
	if sql, err := postgres.Schema(schema, 2); err != nil || strings.Contains(sql, "CREATE") {
		t.Errorf("Schema from the present version returned %q, %v", sql, err)
	}
}

// A dump that is restored into another cluster has the positions, and subscriptions go
// on there.
func TestDumpAndRestoreIntoAFreshCluster(t *testing.T) {
	c := faulttest.SharedCluster(t)
	from := serverDSN(t)
	schema := newSchema(t, from)
	s := open(t, from, &postgres.Options{Schema: schema})
	p, err := newProjection(t.Context(), s, from, "projection", schema+".counts")
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		put(t, s, batch(stream("a"), i*3, 3), batch(stream("b"), evsourcing.AnyVersion, 1))
	}
	p.wantExact(t, from)
	put(t, s, batch(stream("a"), 60, 5))
	head, _ := s.Head(t.Context())

	dump := filepath.Join(t.TempDir(), "dump")
	if out, err := exec.Command(c.Program("pg_dump"), "-Fc", "-n", schema, "-f", dump, "-d", from).CombinedOutput(); err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	to := c.Database(t)
	if out, err := exec.Command(c.Program("pg_restore"), "--exit-on-error", "-d", to, dump).CombinedOutput(); err != nil {
		t.Fatalf("pg_restore: %v\n%s", err, out)
	}
	restored := open(t, to, &postgres.Options{Schema: schema})
	q, err := newProjection(t.Context(), restored, to, "projection", schema+".counts")
	if err != nil {
		t.Fatal(err)
	}
	q.wantExact(t, to)
	if r := put(t, restored, batch(stream("a"), 65, 1)); r.Position <= head.Position {
		t.Errorf("the restored store gave out position %d, the head was %d", r.Position, head.Position)
	}
	q.wantExact(t, to)
}
