//go:build unix

package faulttest

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	sharedMu sync.Mutex // held by the test that uses the cluster
	shared   *Cluster
)

// SharedCluster returns a running server for the test alone, until it ends. It is one for
// all tests of a run, and [Main] removes it. A test should make a database of its own in
// it.
func SharedCluster(t testing.TB) *Cluster {
	t.Helper()
	sharedMu.Lock()
	t.Cleanup(sharedMu.Unlock)
	if shared == nil {
		dir, err := os.MkdirTemp("", "evsourcing-postgres-")
		if err != nil {
			t.Fatal(err)
		}
		var settings []string
		if !Full() {
			// What a killed process has written is in the system's cache, synced or not, and
			// a server that syncs takes a second longer to recover.
			settings = append(settings, "fsync = off")
		}
		shared = &Cluster{bin: binaries(t), dir: dir}
		shared.init(t, settings)
	}
	if !shared.Running() {
		shared.Start(t)
	}
	return shared
}

func removeShared() {
	if shared != nil {
		shared.Remove()
	}
}

// Kill kills the server's first process with SIGKILL. The others notice that and end.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	if c.process == nil {
		kill(t, c.pidFile()[0])
		return
	}
	_ = c.process.cmd.Process.Kill()
	<-c.process.ended
}

// KillBackend kills the process of one of the connections to the server, if there is one,
// with SIGKILL. The server then ends all others, and recovers by itself.
func (c *Cluster) KillBackend(t testing.TB) {
	t.Helper()
	out := c.Run(t, "psql", "-d", c.DSN("postgres"), "-Atc",
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	if pids := strings.Fields(string(out)); len(pids) > 0 {
		kill(t, pids[rand.IntN(len(pids))])
	}
}

func kill(t testing.TB, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
}

// A process is a server that is a child of this process, so that nobody else is needed to
// take note of its end.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
}

// Restart starts the server after [Cluster.Kill] or [Cluster.Stop], and waits until it has
// recovered.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	for {
		c.Launch(t)
		if c.await(t, "ready") {
			return
		}
	}
}

// Launch is Restart, but returns when the server is about to recover.
func (c *Cluster) Launch(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(10 * time.Millisecond) {
		cmd := c.Command("postgres", "-D", c.Data())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p := &process{cmd, make(chan struct{})}
		go func() {
			defer close(p.ended)
			_ = cmd.Wait()
		}()
		c.process = p
		if c.await(t, "") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not start again within 30 s")
		}
		// Processes of the one before have not ended yet.
	}
}

// await waits until the server says that its state is so, or in any state; or returns false
// when it has ended instead.
func (c *Cluster) await(t testing.TB, state string) bool {
	t.Helper()
	pid := strconv.Itoa(c.process.cmd.Process.Pid)
	timeout := time.After(time.Minute)
	for {
		const ofPID, ofState = 0, 7 // lines
		if lines := c.pidFile(); len(lines) > ofState && lines[ofPID] == pid && strings.HasPrefix(lines[ofState], state) {
			return true
		}
		select {
		case <-c.process.ended:
			return false
		case <-timeout:
			t.Fatalf("the server is not %s within a minute", state)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// pidFile returns the lines in which the server says what it is.
func (c *Cluster) pidFile() []string {
	data, _ := os.ReadFile(filepath.Join(c.Data(), "postmaster.pid"))
	return strings.Split(string(data), "\n")
}
