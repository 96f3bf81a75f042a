package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
	"log/slog"
)

// asProgram makes the test binary the program itself, to be killed.
const asProgram = "FLIGHT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// durableStores returns a new store of each durable kind by its name, as -store
// takes it.
func durableStores(t *testing.T) map[string]string {
	stores := map[string]string{"sqlite": filepath.Join(t.TempDir(), "flights.db")}
	dsn := os.Getenv("EVSOURCING_POSTGRES")
	if dsn == "" {
		dsn = "postgres://postgres@127.0.0.1:5432/test"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	switch {
	case err == nil:
	case os.Getenv("EVSOURCING_REQUIRE_SERVICES") == "1":
		t.Fatalf("PostgreSQL is required: %v", err)
	default:
		t.Logf("not tested: PostgreSQL, which EVSOURCING_POSTGRES names: %v", err)
		return stores
	}
	defer conn.Close(ctx)
	name := "flight_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	_, err = conn.Exec(ctx, "CREATE DATABASE "+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, dsn)
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		assert.NoError(t, err)
	})
	config := conn.Config()
	stores["postgres"] = fmt.Sprintf("postgres://%s:%s@%s:%d/%s", config.User, config.Password, config.Host, config.Port, name)
	return stores
}

// countEvents returns how many events a store has, and fails if a stream is not
// the three events of a flight.
func countEvents(t *testing.T, name string) int {
	t.Helper()
	s, err := openStorage(t.Context(), name, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close(context.Background())) }()
	log, err := evsourcing.Require[evsourcing.Log](s.EventStore)
	require.NoError(t, err)
	n := 0
	versions := map[string]uint64{}
	for e, err := range log.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		require.NoError(t, err)
		n++
		versions[e.Stream.ID] = max(versions[e.Stream.ID], e.Version)
	}
	for id, v := range versions {
		assert.Equal(t, uint64(3), v, id)
	}
	return n
}

// Killed at any moment, again and again, a replay comes to the same end as one
// that was not.
func TestReplayIsKilled(t *testing.T) {
	for kind, store := range durableStores(t) {
		t.Run(kind, func(t *testing.T) {
			kills := 5
			if testing.Short() {
				kills = 2
			}
			var stdout, stderr bytes.Buffer
			for runs := 0; ; runs++ {
				stdout.Reset()
				stderr.Reset()
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-replay", "-store", store)
				cmd.Env = append(os.Environ(), asProgram+"=1")
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				require.NoError(t, cmd.Start())
				if runs < kills {
					defer time.AfterFunc(50*time.Millisecond+rand.N(300*time.Millisecond), func() { _ = cmd.Process.Kill() }).Stop()
				}
				err := cmd.Wait()
				if err == nil {
					break
				}
				if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != -1 {
					t.Fatalf("run %d: %v\n%s%s", runs, err, &stdout, &stderr)
				}
			}
			assert.Contains(t, stdout.String(), "ORD         116     9.7 min       30.2 %\n")
			assert.Contains(t, stdout.String(), "both boards agree with the file\n")
			assert.Empty(t, stderr.String())
			assert.Equal(t, 6000, countEvents(t, store))
			t.Log(stdout.String())

			// Once more: there is nothing left to do.
			status, again, _ := runWith(t.Context(), "-replay", "-store", store)
			assert.Equal(t, exitOK, status)
			assert.Contains(t, again, "saved 2000 rows, 0 events\nfound 6000 events of an earlier replay\nboth boards agree with the file\n")
		})
	}
}

func TestStoresThatCannotBeOpened(t *testing.T) {
	for store, want := range map[string]string{
		filepath.Join(t.TempDir(), "missing", "flights.db"): "missing",
		t.TempDir():                      "is not a regular file",
		"postgres://127.0.0.1:1/nowhere": "127.0.0.1:1",
		"mysql://127.0.0.1/flights":      "neither the name of a file nor a postgres:// URL",
	} {
		status, stdout, stderr := runWith(t.Context(), "-replay", "-store", store)
		assert.Equal(t, exitFailure, status)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "flight: opening the store: ")
		assert.Contains(t, stderr, want)
	}
}
