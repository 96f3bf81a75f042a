package faults

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing/sqlite"
)

// prepareSQLite makes sites that are files.
func prepareSQLite(*testing.T) func(context.Context) (site, error) {
	return func(context.Context) (site, error) {
		dir, err := os.MkdirTemp("", "evsourcing-model-")
		return sqliteSite{dir}, err
	}
}

// A sqliteSite is a directory with a file. Each store opens the file anew, as
// another process would.
type sqliteSite struct{ dir string }

func (s sqliteSite) open(context.Context) (store, error) {
	// Power is not lost here.
	return sqlite.Open(filepath.Join(s.dir, "events.db"), &sqlite.Options{Durability: sqlite.Normal, Readers: 2, PollInterval: 5 * time.Millisecond})
}

func (sqliteSite) close(ctx context.Context, s store) error { return s.(*sqlite.Store).Close(ctx) }
func (s sqliteSite) remove() error                          { return os.RemoveAll(s.dir) }
