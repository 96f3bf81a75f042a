package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing/sqlite"
)

// A setting is a line of configuration at the head of results.
type setting struct{ key, value string }

// describeMachine says where the benchmarks run: what the report's readers need to
// judge the times. The directory is the one that databases go to.
func describeMachine(ctx context.Context, root, scratch string) ([]setting, error) {
	commit, err := output(ctx, root, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		commit = "unknown"
	} else if changes, _ := output(ctx, root, "git", "status", "--porcelain", "--", "*.go", "*go.mod"); changes != "" {
		commit += " and changes"
	}
	kernel, _ := output(ctx, root, "uname", "-sr")
	list := []setting{
		{"commit", commit},
		{"go", runtime.Version()},
		{"cores", fmt.Sprint(runtime.NumCPU())},
		{"memory", memory()},
		{"load-before", load()},
		{"kernel", cmp.Or(kernel, "unknown")},
		{"filesystem", filesystemOf(ctx, scratch)},
	}
	lite, err := describeSQLite(ctx, filepath.Join(scratch, "settings.db"))
	if err != nil {
		return nil, err
	}
	return append(append(list, lite...), describePostgres(ctx)...), nil
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// filesystemOf names the kind of the directory's file system.
func filesystemOf(ctx context.Context, dir string) string {
	kind, _ := output(ctx, dir, "stat", "-f", "-c", "%T", dir)
	return cmp.Or(kind, "unknown")
}

// memory returns what Linux says of the size of memory.
func memory() string {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	var kib int
	if _, err := fmt.Fscanf(bufio.NewReader(f), "MemTotal: %d kB", &kib); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}

// load returns the mean number of running processes of the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// describeSQLite opens a store as the benchmarks do, and asks its file.
func describeSQLite(ctx context.Context, path string) ([]setting, error) {
	s, err := sqlite.Open(path, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close(ctx)
	conn, err := zsqlite.OpenConn(path, zsqlite.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ask := func(query string) (answer string) {
		err2 := sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{
			ResultFunc: func(stmt *zsqlite.Stmt) error { answer = stmt.ColumnText(0); return nil },
		})
		if err == nil {
			err = err2
		}
		return answer
	}
	list := []setting{
		{"sqlite", ask("SELECT sqlite_version()")},
		{"sqlite-durability", "journal_mode=" + ask("PRAGMA journal_mode") + " synchronous=full, which is the default of sqlite.Options"},
	}
	return list, err
}

func describePostgres(ctx context.Context) []setting {
	conn, err := pgx.Connect(ctx, cmp.Or(os.Getenv("EVSOURCING_POSTGRES"), "postgres://postgres@127.0.0.1:5432/test"))
	if err != nil {
		return []setting{{"postgres", "not there"}}
	}
	defer conn.Close(ctx)
	ask := func(name string) (answer string) {
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&answer); err != nil {
			return "unknown"
		}
		return answer
	}
	var settings []string
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_connections"} {
		settings = append(settings, name+"="+ask(name))
	}
	version, _, _ := strings.Cut(ask("server_version"), " ")
	return []setting{{"postgres", version}, {"postgres-durability", strings.Join(settings, " ")}}
}
