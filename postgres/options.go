package postgres

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Options configure a [Store]. A nil *Options is the zero value.
type Options struct {
	// Schema is the database schema of the store: many stores have room in one
	// database. It consists of letters, digits and underscores, at most 50, and
	// upper case is kept. If zero, "evsourcing".
	Schema string

	// GroupEvents bounds how many events are stored in one transaction, unless one
	// append has more. If zero, 1,024.
	GroupEvents int

	// GroupBytes bounds a transaction likewise by the size of the events. If zero,
	// 8 MiB.
	GroupBytes int

	// Committers is how many groups of appends are on their way at the same time:
	// while one is committed, the next one is sent and waits for the lock on the
	// server. Each takes a connection of the pool. If zero, 2.
	Committers int

	// PollInterval is how often the store looks for other processes' events while
	// somebody waits for them. Notifications make it faster, and are not relied on.
	// If zero, 250 ms.
	PollInterval time.Duration

	// NoListen is for a database that can't be listened to, as behind a proxy. If
	// zero, the store listens until Close once somebody has waited, on one more
	// connection.
	NoListen bool

	// ListenDSN is where to listen, for a pool that goes through a proxy. If zero,
	// that is where the pool connects to.
	ListenDSN string

	// HandlerTime bounds the transaction of a [Store.Handler]: its context ends, and
	// the server ends each statement and each pause between two that takes longer. Keep
	// it below the subscription's Lease, or the next owner may wait for what the one
	// before has locked. If zero, 5 s.
	HandlerTime time.Duration

	// Logger gets what callers do not see: broken connections that were mended, and
	// failures to listen. If zero, slog.Default().
	Logger *slog.Logger

	// NoMigrate leaves the schema as it is: one that is too old is an error, which
	// says what to do. If zero, opening the store makes or migrates the schema, for
	// which the role needs the right to.
	NoMigrate bool
}

var schemaPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,49}$`)

const defaultSchema = "evsourcing"

// withDefaults returns a copy with all fields set, or what is wrong with o.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.Schema = cmp.Or(c.Schema, defaultSchema)
	c.GroupEvents = cmp.Or(c.GroupEvents, 1024)
	c.GroupBytes = cmp.Or(c.GroupBytes, 8<<20)
	c.Committers = cmp.Or(c.Committers, 2)
	c.PollInterval = cmp.Or(c.PollInterval, 250*time.Millisecond)
	c.HandlerTime = cmp.Or(c.HandlerTime, 5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.GroupEvents < 0 || c.GroupBytes < 0 || c.Committers < 0 || c.PollInterval < 0 || c.HandlerTime < time.Millisecond {
		return c, fmt.Errorf("evsourcing: postgres: a number in the options is negative, or HandlerTime is below a millisecond: %+v", c)
	}
	return c, checkSchema(c.Schema)
}

func checkSchema(schema string) error {
	if !schemaPattern.MatchString(schema) {
		return fmt.Errorf("evsourcing: postgres: the schema name %.64q is not of letters, digits and underscores, at most 50", schema)
	}
	return nil
}
