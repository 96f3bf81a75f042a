package latency

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/mixed"
	"github.com/evsourcing/evsourcing/sqlite"
)

func openSQLite(b *testing.B) engine {
	dir := b.TempDir()
	store, err := sqlite.Open(filepath.Join(dir, "latency.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	closing(b, store)
	err = store.InTx(b.Context(), func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(tx, fmt.Sprintf(mixed.CreateTable, "accounts"), nil)
	})
	if err != nil {
		b.Fatal(err)
	}
	return engine{
		store: store,
		floor: openDisk(b, dir),
		handler: store.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
			deltas, err := mixed.Deltas(msgs)
			if err != nil {
				return err
			}
			return sqlitex.Execute(tx, fmt.Sprintf(mixed.AddSQLite, "accounts"), &sqlitex.ExecOptions{Args: []any{deltas}})
		}),
	}
}

// openDisk returns what writes a page to a file in the directory and syncs it: where a
// page was before, which is the fastest that a disk can do.
func openDisk(b *testing.B, dir string) func(b *testing.B) {
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	const pages = 1024
	page := make([]byte, 4096)
	for range pages {
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
	}
	n := int64(0)
	return func(b *testing.B) {
		n++
		page[0]++
		if _, err := f.WriteAt(page, n%pages*int64(len(page))); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}
