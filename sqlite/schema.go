package sqlite

import (
	"embed"
	"fmt"
	"strings"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaVersion is the newest version of the schema, the one that this package
// works with.
const schemaVersion = 2

// Migrations returns the SQL of each version of the schema, from version 1 on.
// [Open] applies what is missing, unless [Options].NoMigrate says that this is
// done by hand: then apply each in a transaction of its own. The table
// events_schema says what a file has.
func Migrations() []string {
	list := make([]string, schemaVersion)
	for i := range list {
		text, err := migrationFiles.ReadFile(fmt.Sprintf("migrations/%d.sql", i+1))
		if err != nil {
			panic(err) // it is part of the program
		}
		list[i] = string(text)
	}
	return list
}

// Schema returns the SQL that makes a new file what [Open] makes it, as a script
// for the sqlite3 command.
func Schema() string {
	var b strings.Builder
	b.WriteString("PRAGMA journal_mode = wal;\n")
	for _, m := range Migrations() {
		b.WriteString("\nBEGIN IMMEDIATE;\n" + m + "COMMIT;\n")
	}
	return b.String()
}

// migrate brings the schema up to date, up to the version given. Of several
// processes that do so at once, one works and the others wait.
func (s *Store) migrate(c *conn, version int) error {
	have, err := s.schemaOf(c)
	if err != nil || have == version {
		return err
	}
	if s.opts.NoMigrate {
		return fmt.Errorf("evsourcing: sqlite: %s has version %d of the schema, and version %d is needed: open it without NoMigrate, or apply the SQL of sqlite.Migrations from version %d on",
			s.path, have, version, have+1)
	}
	if err := s.begin(c, s.openPatience()); err != nil {
		return err
	}
	defer c.rollback()
	if have, err = s.schemaOf(c); err != nil { // another process may have been faster
		return err
	}
	for i := have; i < version; i++ {
		if err := sqlitex.ExecuteScript(c.Conn, Migrations()[i], nil); err != nil {
			return s.explain(fmt.Sprintf("making version %d of the schema", i+1), err)
		}
	}
	return s.commit(c, 0)
}

// schemaOf returns the version of the schema, 0 if there is none.
func (s *Store) schemaOf(c *conn) (version int, err error) {
	err = sqlitex.ExecuteTransient(c.Conn, `SELECT count(*) FROM sqlite_schema WHERE name = 'events_schema'`, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *zsqlite.Stmt) error { version = stmt.ColumnInt(0); return nil },
	})
	if err == nil && version > 0 {
		err = sqlitex.ExecuteTransient(c.Conn, `SELECT coalesce(max(version), 0) FROM events_schema`, &sqlitex.ExecOptions{
			ResultFunc: func(stmt *zsqlite.Stmt) error { version = stmt.ColumnInt(0); return nil },
		})
	}
	if err != nil {
		return 0, s.explain("reading the schema", err)
	}
	if version > schemaVersion {
		return 0, fmt.Errorf("evsourcing: sqlite: %s has version %d of the schema, and this program knows versions up to %d: use a newer version of the library",
			s.path, version, schemaVersion)
	}
	return version, nil
}
