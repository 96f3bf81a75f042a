package sqlite

import (
	"log/slog"
	"runtime"
	"time"
)

// Options are the options of [Open].
type Options struct {
	// Durability says what an acknowledged append survives. If zero, it is
	// Full.
	Durability Durability

	// GroupEvents is how many events, at most, of waiting appends go into one
	// transaction, unless a single append has more. If zero, it is 4096.
	GroupEvents int

	// GroupBytes bounds the size of one transaction likewise. If zero, it is
	// 8 MiB.
	GroupBytes int

	// Readers is how many connections read at the same time. A reader has one
	// only while it reads a page, so a few serve many. If zero, it is the
	// number of CPUs, and at least 4.
	Readers int

	// BusyTimeout is how long a write waits while another process writes to the
	// file, before it fails with an error that says so and has stored nothing.
	// If zero, a write waits as long as its context lasts. Open waits for half
	// a minute then.
	BusyTimeout time.Duration

	// HandlerTime bounds the transaction of a handler: see [Store.Handler]. If
	// zero, it is 5 seconds.
	HandlerTime time.Duration

	// PollInterval is how often Wait looks for what other processes have
	// written. If zero, it is 100 ms.
	PollInterval time.Duration

	// Logger gets warnings, and the progress of long operations. If nil, it is
	// slog.Default().
	Logger *slog.Logger

	// NoMigrate makes Open refuse a file whose schema is missing or old, rather
	// than bring it up to date: see [Migrations]. If false, Open migrates.
	NoMigrate bool
}

// A Durability is what an acknowledged write survives.
type Durability int

const (
	// Full syncs every commit to the disk. What was acknowledged survives the
	// death of the process, a crash of the system, and the loss of power, as far
	// as the disk keeps what it says it has.
	Full Durability = iota

	// Normal syncs only when the write-ahead log is moved into the database,
	// about every 16 MiB. A crash of the system or the loss of power takes away
	// the commits since then, the latest ones, although they were acknowledged:
	// thousands of events may be missing. Checkpoints and read models in the
	// same file go back with them; those elsewhere are ahead of the log then,
	// which subscriptions report as ErrDiverged. The file is never damaged, and
	// the death of the process alone, also by SIGKILL, loses nothing.
	Normal
)

// withDefaults returns a copy of o, which may be nil, without zero fields.
func (o *Options) withDefaults() Options {
	var r Options
	if o != nil {
		r = *o
	}
	if r.GroupEvents <= 0 {
		r.GroupEvents = 4096
	}
	if r.GroupBytes <= 0 {
		r.GroupBytes = 8 << 20
	}
	if r.Readers <= 0 {
		r.Readers = max(4, runtime.NumCPU())
	}
	if r.HandlerTime <= 0 {
		r.HandlerTime = 5 * time.Second
	}
	if r.PollInterval <= 0 {
		r.PollInterval = 100 * time.Millisecond
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	return r
}
