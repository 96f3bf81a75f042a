package postgres

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// AppGrants returns SQL that lets a role append and read events, and keep
// checkpoints and snapshots, but not update, delete or truncate events, nor change
// the schema. A store opened by that role finds its schema made, by its owner. An
// empty schema name is the default one.
func AppGrants(schema, role string) (string, error) {
	return grants(schema, role, `GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT INSERT ON {schema}.events TO {role};
GRANT USAGE ON SEQUENCE {schema}.positions TO {role};
GRANT INSERT, UPDATE, DELETE ON {schema}.checkpoints, {schema}.snapshots TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};
`)
}

// ReadGrants returns SQL that lets a role read everything and write nothing. An
// empty schema name is the default one.
func ReadGrants(schema, role string) (string, error) {
	return grants(schema, role, `GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};
`)
}

func grants(schema, role, text string) (string, error) {
	o, err := (&Options{Schema: schema}).withDefaults()
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(inSchema(o.Schema, text), "{role}", pgx.Identifier{role}.Sanitize()), nil
}
