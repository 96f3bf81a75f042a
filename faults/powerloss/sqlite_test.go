//go:build linux

package powerloss

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/sqlite"
)

func init() { children["sqlite"] = sqliteChild }

// sqliteChild works on a file.
func sqliteChild(args []string) error {
	durability, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := sqlite.Open(args[0], &sqlite.Options{Durability: sqlite.Durability(durability), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	err = s.InTx(ctx, func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(tx, "CREATE TABLE IF NOT EXISTS totals (stream TEXT PRIMARY KEY, n INTEGER, sum INTEGER)", nil)
	})
	if err != nil {
		return err
	}
	if err := s.Check(ctx); err != nil {
		return err
	}
	projected := totals{}
	err = s.Read(ctx, func(conn *zsqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT stream, n, sum FROM totals", &sqlitex.ExecOptions{ResultFunc: func(row *zsqlite.Stmt) error {
			projected[row.ColumnText(0)] = [2]uint64{uint64(row.ColumnInt64(1)), uint64(row.ColumnInt64(2))}
			return nil
		}})
	})
	if err != nil {
		return err
	}
	// The log is moved into the database when it is long, which would be seldom.
	conn, err := zsqlite.OpenConn(args[0], zsqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	go nowAndThen(500*time.Millisecond, func() error {
		return sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint(PASSIVE)", nil)
	})
	return work(ctx, s, sqliteHandler(s), projected)
}

func sqliteHandler(s *sqlite.Store) evsourcing.Handler {
	return s.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			err := sqlitex.Execute(tx, "INSERT INTO totals VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET n = n + 1, sum = sum + excluded.sum",
				&sqlitex.ExecOptions{Args: []any{m.Stream.String(), int64(m.Position)}})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// TestSQLiteLosesNothingWithoutPower is the promise of sqlite.Full: what was acknowledged
// survives the loss of power at any moment, also while the file is made or recovered. No
// append is there by half, the file passes its check, and a projection in the same file
// is exactly what the log is up to its checkpoint.
func TestSQLiteLosesNothingWithoutPower(t *testing.T) {
	a := sqliteCycles(t, plan{cycles: faulttest.Scale(5, 12, 200)}, sqlite.Full)
	if a.lost > 0 {
		t.Errorf("%d events that were acknowledged are lost", a.lost)
	}
}

// TestSQLiteLosesNothingWithoutPowerControl runs with sqlite.Normal, which syncs commits
// later. It promises that only the latest commits are lost, so all else has to be well.
func TestSQLiteLosesNothingWithoutPowerControl(t *testing.T) {
	a := sqliteCycles(t, plan{faulttest.Scale(2, 12, 50), true}, sqlite.Normal)
	if a.lost == 0 {
		t.Error("no event is lost: the test would not notice")
	}
}

// sqliteCycles runs cycles of a process that has a file.
func sqliteCycles(t *testing.T, p plan, durability sqlite.Durability) *account {
	t.Helper()
	needFUSE(t)
	return cycles(t, p, moment{100, faulttest.Scale(1000, 4000, 4000)}, NewDisk, func(t *testing.T, d *Disk, dir string, m moment, a *account) error {
		cmd := child("sqlite", filepath.Join(dir, "events.db"), strconv.Itoa(int(durability)))
		return follow(t, d, cmd, func() {}, m, a)
	})
}
