package postgres_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A cluster is a PostgreSQL server of the tests' own, which they may stop and kill.
// One is shared by all tests of a run; each uses a database of its own.
type cluster struct {
	bin, dir string
	port     int
	as       *syscall.Credential // PostgreSQL refuses to be root
}

var (
	sharedMu sync.Mutex // held by the test that uses the cluster
	shared   *cluster
)

// ownCluster returns the cluster, running, for the test alone.
func ownCluster(t *testing.T) *cluster {
	t.Helper()
	sharedMu.Lock()
	t.Cleanup(sharedMu.Unlock)
	if shared == nil {
		c := &cluster{bin: binaries(t)}
		c.init(t)
		shared = c
	}
	if !shared.running() {
		shared.start(t)
	}
	return shared
}

// binaries returns the directory of PostgreSQL's programs.
func binaries(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); exists(filepath.Join(dir, "initdb")) {
			return dir
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		missing(t, "PostgreSQL's programs are not installed: initdb is neither where pg_config says, nor in the PATH")
	}
	return filepath.Dir(found[len(found)-1])
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c *cluster) init(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "evsourcing-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	c.dir = dir
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			missing(t, "there is no user postgres to run a server as: %v", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	c.run(t, "initdb", "-D", c.data(), "-U", "postgres", "-A", "trust", "--no-sync")
	settings := fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = ''\n"+
		"max_prepared_transactions = 10\nmax_connections = 100\nshared_buffers = 64MB\nlog_min_messages = fatal\n", c.port)
	f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(settings); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c.start(t)
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// command returns a command of PostgreSQL's.
func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	return cmd
}

func (c *cluster) run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := c.command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

func (c *cluster) start(t testing.TB) {
	t.Helper()
	// The server must not inherit the pipes, which would keep Run waiting.
	c.run(t, "pg_ctl", "-D", c.data(), "-w", "-t", "60", "-l", filepath.Join(c.dir, "log"), "start")
}

// stop stops the server; "immediate" is like a crash.
func (c *cluster) stop(t testing.TB, mode string) {
	t.Helper()
	c.run(t, "pg_ctl", "-D", c.data(), "-w", "-t", "60", "-m", mode, "stop")
}

func (c *cluster) running() bool {
	return c.command("pg_ctl", "-D", c.data(), "status").Run() == nil
}

func (c *cluster) dsn(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", c.port, database)
}

// database returns the connection string of a new database.
func (c *cluster) database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", schemas.Add(1))
	run(t, c.dsn("postgres"), "CREATE DATABASE "+name)
	t.Cleanup(func() {
		if c.running() {
			run(t, c.dsn("postgres"), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		}
	})
	return c.dsn(name)
}

// remove stops the server and removes its files.
func (c *cluster) remove() {
	_ = c.command("pg_ctl", "-D", c.data(), "-w", "-m", "immediate", "stop").Run()
	_ = os.RemoveAll(c.dir)
}
