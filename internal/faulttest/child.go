//go:build unix

package faulttest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// Roles are what a test binary does as a process that one of its tests has started, by
// name. The context ends when the parent wants the process to end, or has died; whoever
// does not heed that is ended after half a minute.
type Roles map[string]func(ctx context.Context, args []string) error

const roleEnv = "EVSOURCING_TEST_ROLE"

// Main is the TestMain of a package whose tests call [StartChild] or [SharedCluster]. It
// does not return.
func Main(m *testing.M, roles Roles) {
	role := os.Getenv(roleEnv)
	if role == "" {
		code := m.Run()
		removeShared()
		os.Exit(code)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
		cancel()
		<-time.After(30 * time.Second)
		os.Exit(3)
	}()
	if err := roles[role](ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A Child is a process that a test has started.
type Child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	errs  bytes.Buffer
	read  chan struct{} // closed when all that it printed was read
	wait  func() error
}

// StartChild starts the test binary in one of the roles that it gave to [Main]. Each line
// that the process prints is passed to line, one after the other; a last one that was cut
// short is not. When the test ends, the process is killed.
func StartChild(t testing.TB, role string, line func(text string), args ...string) *Child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &Child{cmd: exec.Command(exe, args...), read: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), roleEnv+"="+role)
	c.cmd.Stderr = &c.errs
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.read)
		for r := bufio.NewReaderSize(out, 1<<16); ; {
			text, err := r.ReadString('\n')
			if err != nil {
				return
			}
			line(text[:len(text)-1])
		}
	}()
	c.wait = sync.OnceValue(func() error {
		<-c.read
		return c.cmd.Wait()
	})
	t.Cleanup(c.Kill)
	return c
}

// Signal sends a signal to the process.
func (c *Child) Signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

// Kill kills the process, and returns when it is gone and all that it printed was read.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill()
	_ = c.wait()
}

// End lets the process end, waits for it as [Child.Kill] does, and returns why it has
// failed.
func (c *Child) End() error {
	_ = c.stdin.Close()
	return c.Failed()
}

// Failed returns why the process has failed, with what it said, or nil if a signal has
// ended it. It waits until the process has ended.
func (c *Child) Failed() error {
	if err := c.wait(); err != nil && c.cmd.ProcessState.Exited() {
		return fmt.Errorf("%w: %s", err, c.errs.Bytes())
	}
	return nil
}
