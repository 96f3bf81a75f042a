//go:build linux

package powerloss

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// TestPostgresLosesNothingWithoutPower is the promise of a server that has fsync,
// full_page_writes and synchronous_commit on, as they are by default: what was
// acknowledged survives the loss of the server's power at any moment, also while it
// recovers, checkpoints, or the schema is made. No append is there by half, and a
// projection in the same database is exactly what the log is up to its checkpoint.
//
// PostgreSQL counts on a file system that keeps the name of a file that was synced, as
// ext4, XFS and Btrfs do; POSIX alone does not promise it.
func TestPostgresLosesNothingWithoutPower(t *testing.T) {
	a := postgresCycles(t, plan{cycles: faulttest.Scale(2, 4, 200)})
	if a.lost > 0 {
		t.Errorf("%d events that were acknowledged are lost", a.lost)
	}
}

// TestPostgresLosesNothingWithoutPowerControl turns synchronous_commit off, by which only
// the latest commits may be lost, so all else has to be well.
func TestPostgresLosesNothingWithoutPowerControl(t *testing.T) {
	a := postgresCycles(t, plan{faulttest.Scale(1, 4, 50), true}, "-c", "synchronous_commit=off", "-c", "wal_writer_delay=10s")
	if a.lost == 0 {
		t.Error("no event is lost: the test would not notice")
	}
}

// cluster is where the disks of servers are copied from, made by the first test.
var cluster *faulttest.Cluster

func newCluster(t *testing.T) *faulttest.Cluster {
	t.Helper()
	if cluster == nil {
		dir, err := os.MkdirTemp("", "evsourcing-powerloss-cluster-")
		fatal(t, err)
		cluster = faulttest.NewCluster(t, dir)
		cluster.Stop(t, "fast")
		// Segments of the log are small, so that they are recycled often.
		cluster.Run(t, "pg_resetwal", "--wal-segsize=1", "-D", cluster.Data())
	}
	return cluster
}

// syncMethods are the ways of the server to sync its log.
var syncMethods = []string{"fdatasync", "open_datasync", "fsync", "open_sync"}

// postgresCycles runs cycles of a server with the arguments.
func postgresCycles(t *testing.T, p plan, args ...string) *account {
	t.Helper()
	needFUSE(t)
	c := newCluster(t)
	args = append(args, "-c", "min_wal_size=2MB", "-c", "max_wal_size=4MB")
	fresh := func(seed uint64) *Disk {
		d := NewDisk(seed)
		// A checkpoint syncs the files of new tables, and not the directory they are in.
		d.Journaled = true
		fatal(t, d.Copy(c.Data()))
		return d
	}
	return cycles(t, p, moment{2000, 1500}, fresh, func(t *testing.T, d *Disk, dir string, m moment, a *account) error {
		s := startServer(t, c, dir, append(args, "-c", "wal_sync_method="+syncMethods[a.cycles%len(syncMethods)]))
		err := follow(t, d, child("postgres", c.DSN("postgres")), s.kill, m, a)
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, &s.errs)
		}
		return err
	})
}

// A server is one that this process has started from a disk.
type server struct {
	cmd  *exec.Cmd
	errs bytes.Buffer
}

func startServer(t *testing.T, c *faulttest.Cluster, dir string, args []string) *server {
	t.Helper()
	s := &server{cmd: c.Command("postgres", append([]string{"-D", dir}, args...)...)}
	s.cmd.Stderr = &s.errs
	fatal(t, s.cmd.Start())
	return s
}

// kill ends the server and the processes it has, all at once.
func (s *server) kill() {
	pid := s.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // so that it starts no more
	list, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range list {
		b, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(b), ") ") // behind the name: the state, the parent
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
}

func init() { children["postgres"] = postgresChild }

// postgresChild waits for a server, and works on its database.
func postgresChild(args []string) error {
	ctx := context.Background()
	pool, err := connect(ctx, args[0])
	if err != nil {
		return err
	}
	s, err := postgres.New(ctx, pool, &postgres.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS totals (stream text PRIMARY KEY, n bigint, sum bigint)"); err != nil {
		return err
	}
	projected, err := postgresTotals(ctx, pool)
	if err != nil {
		return err
	}
	go nowAndThen(300*time.Millisecond, func() error {
		_, err := pool.Exec(ctx, "CHECKPOINT")
		return err
	})
	return work(ctx, s, postgresHandler(s), projected)
}

// connect waits until a server is ready.
func connect(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for err = pool.Ping(ctx); err != nil; err = pool.Ping(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			pool.Close()
			return nil, err
		}
	}
	return pool, nil
}

func postgresTotals(ctx context.Context, pool *pgxpool.Pool) (totals, error) {
	list := totals{}
	rows, err := pool.Query(ctx, "SELECT stream, n, sum FROM totals")
	if err != nil {
		return nil, err
	}
	var stream string
	var n, sum int64
	_, err = pgx.ForEachRow(rows, []any{&stream, &n, &sum}, func() error {
		list[stream] = [2]uint64{uint64(n), uint64(sum)}
		return nil
	})
	return list, err
}

func postgresHandler(s *postgres.Store) evsourcing.Handler {
	return s.Handler(func(ctx context.Context, tx pgx.Tx, msgs []evsourcing.Message) error {
		var b pgx.Batch
		for _, m := range msgs {
			b.Queue("INSERT INTO totals VALUES ($1, 1, $2) ON CONFLICT (stream) DO UPDATE SET n = totals.n + 1, sum = totals.sum + excluded.sum",
				m.Stream.String(), int64(m.Position))
		}
		return tx.SendBatch(ctx, &b).Close()
	})
}
