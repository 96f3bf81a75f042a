//go:build unix

package faulttest

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
	"sync/atomic"
	"syscall"
	"testing"
)

// A Cluster is a PostgreSQL server of a test's own, which it may stop and kill.
type Cluster struct {
	bin, dir  string
	port      int
	as        *syscall.Credential // PostgreSQL refuses to be root
	databases atomic.Int64
	process   *process // nil if the server was never started by Launch
}

// NewCluster makes a cluster in the directory, which exists, and starts its server.
// The settings are lines of postgresql.conf, and those that begin with -- arguments of
// initdb. Without PostgreSQL's programs it is [Missing].
func NewCluster(t testing.TB, dir string, settings ...string) *Cluster {
	t.Helper()
	c := &Cluster{bin: binaries(t), dir: dir}
	c.init(t, settings)
	c.Start(t)
	return c
}

// binaries returns the directory of PostgreSQL's programs.
func binaries(t testing.TB) string {
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
		Missing(t, "PostgreSQL's programs are not installed: initdb is neither where pg_config says, nor in the PATH")
	}
	return filepath.Dir(found[len(found)-1])
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c *Cluster) init(t testing.TB, settings []string) {
	t.Helper()
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			Missing(t, "there is no user postgres to run a server as: %v", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(c.dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	args := []string{"-D", c.Data(), "-U", "postgres", "-A", "trust", "--no-sync"}
	lines := []string{
		"listen_addresses = '127.0.0.1'", fmt.Sprint("port = ", c.port), "unix_socket_directories = ''",
		"max_prepared_transactions = 10", "max_connections = 100", "shared_buffers = 64MB", "log_min_messages = fatal",
	}
	for _, setting := range settings {
		if strings.HasPrefix(setting, "--") {
			args = append(args, setting)
		} else {
			lines = append(lines, setting)
		}
	}
	c.Run(t, "initdb", args...)
	f, err := os.OpenFile(filepath.Join(c.Data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Data returns the directory of the server's files.
func (c *Cluster) Data() string { return filepath.Join(c.dir, "data") }

// Program returns the path of one of PostgreSQL's programs.
func (c *Cluster) Program(name string) string { return filepath.Join(c.bin, name) }

// Command returns a command of PostgreSQL's.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.Program(name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	return cmd
}

// Run runs a command to its end, and returns what it printed.
func (c *Cluster) Run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := c.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

// Start starts the server.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	// The server must not inherit the pipes, which would keep Run waiting.
	c.Run(t, "pg_ctl", "-D", c.Data(), "-w", "-t", "60", "-l", filepath.Join(c.dir, "log"), "start")
}

// Stop stops the server; "immediate" is like a crash.
func (c *Cluster) Stop(t testing.TB, mode string) {
	t.Helper()
	c.Run(t, "pg_ctl", "-D", c.Data(), "-w", "-t", "60", "-m", mode, "stop")
}

// Running reports whether the server runs.
func (c *Cluster) Running() bool {
	return c.Command("pg_ctl", "-D", c.Data(), "status").Run() == nil
}

// DSN returns the connection string of a database.
func (c *Cluster) DSN(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", c.port, database)
}

// Database returns the connection string of a new database, which is dropped after the
// test.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprint("test_", c.databases.Add(1))
	c.client(t, "createdb", name)
	t.Cleanup(func() {
		if c.Running() {
			c.client(t, "dropdb", "--if-exists", "--force", name)
		}
	})
	return c.DSN(name)
}

// client runs a program that connects to the server.
func (c *Cluster) client(t testing.TB, name string, args ...string) {
	t.Helper()
	c.Run(t, name, append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(c.port), "-U", "postgres"}, args...)...)
}

// Remove stops the server as a crash does, and removes the directory.
func (c *Cluster) Remove() {
	_ = c.Command("pg_ctl", "-D", c.Data(), "-w", "-m", "immediate", "stop").Run()
	_ = os.RemoveAll(c.dir)
}
