package sqlite

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"zombiezen.com/go/sqlite/sqlitex"
)

// oldFile is a store as version 1 of the schema made it. It was written once, by
// TestWriteOldFile, and stays.
const oldFile = "testdata/v1.sqlite"

func oldBatch(i int) evsourcing.Batch {
	b := batch([]string{"a", "b", "c"}[i%3], uint64(i/3*2), 2)
	for j := range b.Events {
		e := &b.Events[j]
		e.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte{byte(i), byte(j)})
		e.Metadata = evsourcing.Metadata{"i": string(rune('a' + i))}
		e.Tags = []string{"tag"}
	}
	return b
}

func TestWriteOldFile(t *testing.T) {
	if os.Getenv("EVSOURCING_WRITE_TESTDATA") != "1" {
		t.Skip("the file is there")
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := open(oldFile, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		mustAppend(t, s, oldBatch(i))
	}
	if err := s.SaveCheckpoint(t.Context(), "n", evsourcing.Checkpoint{Position: 24, EventID: oldBatch(11).Events[1].ID, Token: 3}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveSnapshot(t.Context(), evsourcing.Snapshot{Stream: stream("a"), Version: 4, Fingerprint: "f", Data: []byte("state")}); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

// copyOld returns the path of a copy of the old file.
func copyOld(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(oldFile)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.db")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenUpgradesAnOldFile(t *testing.T) {
	path := copyOld(t)
	if c := raw(t, path); !slices.Equal(query(t, c, "SELECT version FROM events_schema"), []string{"1"}) {
		t.Fatal("the old file is not of version 1")
	}
	_, err := Open(path, &Options{NoMigrate: true})
	wantText(t, "NoMigrate", err, "version 1", "NoMigrate", "from version 2 on")
	s := openTest(t, path, nil)
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	list := all(t, s)
	if len(list) != 24 {
		t.Fatalf("%d events, want 24", len(list))
	}
	for i, e := range list {
		if want := oldBatch(i / 2).Events[i%2]; e.ID != want.ID || e.Version != want.Version || e.Metadata["i"] != want.Metadata["i"] || string(e.Data) != string(want.Data) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	if c := checkpointOf(t, s, "n"); c.Position != 24 || c.Token != 3 {
		t.Errorf("the checkpoint is %+v", c)
	}
	if snap, ok, err := s.LoadSnapshot(t.Context(), stream("a")); !ok || err != nil || string(snap.Data) != "state" {
		t.Errorf("the snapshot is %+v, %t, %v", snap, ok, err)
	}
	if r := mustAppend(t, s, batch("a", 8, 1)); r.Position != 25 {
		t.Errorf("the next position is %d", r.Position)
	}
	if n := len(query(t, raw(t, path), "SELECT id FROM events_readable")); n != 25 {
		t.Errorf("the view has %d rows", n)
	}
	closeStore(t, s)
	openTest(t, path, &Options{NoMigrate: true})
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	path := copyOld(t)
	execute(t, raw(t, path), "INSERT INTO events_schema (version) VALUES (99)")
	_, err := Open(path, nil)
	wantText(t, "Open", err, "version 99", "up to 2", path)
}

func TestSchemaByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hand.db")
	_, err := Open(path, &Options{NoMigrate: true})
	wantText(t, "no file", err, "is not made")
	if err := sqlitex.ExecuteTransient(raw(t, path), "VACUUM", nil); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, &Options{NoMigrate: true})
	wantText(t, "an empty file", err, "version 0", "from version 1 on")
	if err := sqlitex.ExecuteScript(raw(t, path), strings.ReplaceAll(strings.ReplaceAll(Schema(), "BEGIN IMMEDIATE;", ""), "COMMIT;", ""), nil); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, path, &Options{NoMigrate: true})
	mustAppend(t, s, batch("a", 0, 1))
	if len(Migrations()) != schemaVersion {
		t.Errorf("%d migrations", len(Migrations()))
	}
	if files, _ := migrationFiles.ReadDir("migrations"); len(files) != schemaVersion {
		t.Errorf("%d files of migrations, and version %d", len(files), schemaVersion)
	}
}

func TestTablesOfTheApplicationMayBeThereFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	c := raw(t, path)
	execute(t, c, "CREATE TABLE people (name TEXT)")
	execute(t, c, "PRAGMA user_version = 12")
	s := openTest(t, path, nil)
	mustAppend(t, s, batch("a", 0, 1))
	if got := query(t, c, "PRAGMA user_version"); got[0] != "12" {
		t.Errorf("user_version is %v", got)
	}
	clash := filepath.Join(t.TempDir(), "clash.db")
	execute(t, raw(t, clash), "CREATE TABLE snapshots (name TEXT)")
	_, err := Open(clash, nil)
	wantText(t, "a table of the same name", err, "snapshots", "already exists", clash)
	if left := query(t, raw(t, clash), "SELECT name FROM sqlite_schema"); !slices.Equal(left, []string{"snapshots"}) {
		t.Errorf("a migration that failed left %v", left)
	}
}
