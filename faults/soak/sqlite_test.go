package soak

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/internal/mixed"
	"github.com/evsourcing/evsourcing/sqlite"
)

var sqliteOptions = &sqlite.Options{Logger: slog.New(slog.DiscardHandler)}

func openSQLite(t *testing.T, d time.Duration) *engine {
	path := filepath.Join(t.TempDir(), "soak.db")
	store, err := sqlite.Open(path, sqliteOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	err = store.InTx(t.Context(), func(_ context.Context, tx *zsqlite.Conn) error {
		return sqlitex.ExecuteTransient(tx, fmt.Sprintf(mixed.CreateTable, "accounts"), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	var f flaky
	e := &engine{name: "sqlite", store: store, rate: rate(400), check: store.Check}
	if e.payload = 100; !faulttest.Raced {
		e.payload = max(e.payload, int(walBytes/(e.rate*d.Seconds())))
	}
	e.handler = store.Handler(func(_ context.Context, tx *zsqlite.Conn, msgs []evsourcing.Message) error {
		deltas, err := mixed.Deltas(msgs)
		if err != nil {
			return err
		}
		err = sqlitex.Execute(tx, fmt.Sprintf(mixed.AddSQLite, "accounts"), &sqlitex.ExecOptions{Args: []any{deltas}})
		if err != nil {
			return err
		}
		return f.fail()
	})
	e.gauges = []*series{{name: "wal bytes", gauge: func() (float64, error) {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			return 0, err
		}
		return float64(info.Size()), nil
	}}}
	e.disturb = func(ctx context.Context, pause time.Duration) (string, error) {
		kills, err := killWriters(ctx, path, pause)
		return fmt.Sprintf("%s kills of another writer and %s failures of the handler", humanize.Comma(kills), humanize.Comma(f.n.Load())), err
	}
	e.rows = func(ctx context.Context) (map[string]mixed.Row, error) {
		rows := map[string]mixed.Row{}
		return rows, store.Read(ctx, func(conn *zsqlite.Conn) error {
			return sqlitex.Execute(conn, fmt.Sprintf(mixed.ReadTable, "accounts"), &sqlitex.ExecOptions{ResultFunc: func(row *zsqlite.Stmt) error {
				rows[row.ColumnText(0)] = mixed.Row{Events: row.ColumnInt64(1), Total: row.ColumnInt64(2)}
				return nil
			}})
		})
	}
	e.leak = leakReader(t, path)
	stretch(t, store)
	return e
}

// walBytes is what is written at least, so that the write-ahead log comes round a few
// times in a short run too.
const walBytes = 40 << 20

// stretch makes the write-ahead log as long as it ever gets, which takes a while
// otherwise, with 32 MiB of the load's own events.
func stretch(t *testing.T, store *sqlite.Store) {
	ctx := t.Context()
	e := evsourcing.StoredEvent{Time: time.Now()}
	note := strings.Repeat("x", 3000)
	if err := mixed.NewRegistry().Encode(ctx, &e, mixed.Posted{Note: note}); err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		b := evsourcing.Batch{Stream: evsourcing.StreamID{Type: mixed.AccountType, ID: fmt.Sprint("stretch-", i)}}
		for range 2 << 20 / len(note) {
			e.ID, e.Version = uuid.New(), e.Version+1
			b.Events = append(b.Events, e)
		}
		e.Version = 0
		if _, err := store.Append(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
}

// leakReader returns what begins to read the file, once, and never ends.
func leakReader(t *testing.T, path string) func() error {
	var conn *zsqlite.Conn
	t.Cleanup(func() {
		if conn != nil {
			_ = conn.Close()
		}
	})
	return func() (err error) {
		if conn != nil {
			return nil
		}
		if conn, err = zsqlite.OpenConn(path, zsqlite.OpenReadWrite); err != nil {
			return err
		}
		if err := sqlitex.ExecuteTransient(conn, "BEGIN", nil); err != nil {
			return err
		}
		return sqlitex.ExecuteTransient(conn, "SELECT 1 FROM events LIMIT 1", nil) // from here on it reads
	}
}

// writerEnv names the file to the process that writes to it and is killed.
const writerEnv = "EVSOURCING_SOAK_WRITER"

// killWriters lets one process after the other write to the file, and kills it.
func killWriters(ctx context.Context, path string, pause time.Duration) (kills int64, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe() // which ends the other one if this one dies
		if err != nil {
			return kills, err
		}
		if err := cmd.Start(); err != nil {
			return kills, err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		if err := cmd.Process.Kill(); err != nil {
			return kills, fmt.Errorf("the other writer has ended by itself: %w", err)
		}
		_ = cmd.Wait() // says that it was killed
		_ = stdin.Close()
		kills++
	}
	return kills, nil
}

// write is what the other process does.
func write(path string) error {
	store, err := sqlite.Open(path, sqliteOptions)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	service, err := mixed.Start(ctx, store, &mixed.Options{Name: uuid.NewString(), Streams: streams, Clients: 4, Seed: rand.Uint64()})
	if err != nil {
		return err
	}
	service.Open(ctx, rate(50), time.Hour)
	return ctx.Err()
}

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		if err := write(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
