package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations are the texts that make version 1 of the schema, version 2 of version
// 1, and so on.
var migrations = func() (texts []string) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // it is a fixed pattern
	}
	for _, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			panic(err) // it is in the program
		}
		texts = append(texts, string(text))
	}
	return texts
}()

// ErrSchema says that the schema in the database is not what this version of the package
// needs; it was left as it is.
var ErrSchema = errors.New("evsourcing: postgres: the schema does not fit")

// Schema returns SQL that brings a store's schema from a version to the present
// one, for those who migrate by hand: version 0 is none. It is one transaction. An
// empty schema name is the default one.
func Schema(schema string, from int) (string, error) {
	o, err := (&Options{Schema: schema}).withDefaults()
	if err != nil {
		return "", err
	}
	if from < 0 || from > len(migrations) {
		return "", fmt.Errorf("%w: there is no version %d, the present one is %d", ErrSchema, from, len(migrations))
	}
	return inSchema(o.Schema, "BEGIN;\n\n"+migration(from)+"COMMIT;\n"), nil
}

// migration returns the statements from a version to the present one.
func migration(from int) string {
	var b strings.Builder
	if from == 0 {
		// Its owner need not have the right to make schemas, which IF NOT EXISTS asks for all the same.
		b.WriteString("DO $$\nBEGIN\n    IF to_regnamespace('{schema}') IS NULL THEN\n        CREATE SCHEMA {schema};\n    END IF;\nEND\n$$;\n\n" +
			"CREATE TABLE {schema}.migrations (\n    version int PRIMARY KEY,\n    applied timestamptz NOT NULL DEFAULT now()\n);\n\n")
	}
	for v := from + 1; v <= len(migrations); v++ {
		fmt.Fprintf(&b, "%s\nINSERT INTO {schema}.migrations (version) VALUES (%d);\n\n", migrations[v-1], v)
	}
	return b.String()
}

// migrate brings the schema to the present version, if it may, and checks that it
// is there.
func migrate(ctx context.Context, pool *pgxpool.Pool, schema string, allowed bool) error {
	version, err := schemaVersion(ctx, pool, schema)
	if err == nil && allowed && version < len(migrations) {
		// Another default isolation level would not see what was made while it waited.
		err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
			// Others who do the same wait here. The lock has one number, and those of
			// positions have two, so that they never meet.
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(4995435234087006549)"); err != nil {
				return err
			}
			if version, err = schemaVersion(ctx, tx, schema); err != nil || version >= len(migrations) {
				return err
			}
			_, err := tx.Conn().PgConn().Exec(ctx, inSchema(schema, migration(version))).ReadAll()
			return err
		})
		if err == nil {
			version = max(version, len(migrations))
		}
	}
	switch {
	case codeOf(err) == codeDenied:
		return fmt.Errorf("evsourcing: postgres: migrate schema %q: the role lacks a right: let a role open the store once that owns the schema, "+
			"or may create schemas in the database, or run the SQL that postgres.Schema(%q, %d) returns as such a role; "+
			"AppGrants and ReadGrants are for the others: %w", schema, schema, min(version, len(migrations)), err)
	case err != nil:
		return fmt.Errorf("evsourcing: postgres: migrate schema %q: %w", schema, remedy(err))
	case version > len(migrations):
		return fmt.Errorf("%w: %q has version %d, and this program knows versions up to %d: update the program", ErrSchema, schema, version, len(migrations))
	case version < len(migrations):
		return fmt.Errorf("%w: %q has version %d, and this program needs %d: run the SQL that postgres.Schema(%q, %d) returns, or open the store without NoMigrate",
			ErrSchema, schema, version, len(migrations), schema, version)
	}
	return nil
}

// schemaVersion returns the version of the schema, 0 if there is none.
func schemaVersion(ctx context.Context, q querier, schema string) (version int, err error) {
	var exists bool
	err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations')", schema).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	err = q.QueryRow(ctx, inSchema(schema, "SELECT coalesce(max(version), 0) FROM {schema}.migrations")).Scan(&version)
	return version, err
}
