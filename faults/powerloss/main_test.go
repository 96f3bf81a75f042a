//go:build linux

package powerloss

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
)

// children are what the test binary does when a test starts it as a process of its own,
// by name.
var children = map[string]func(args []string) error{}

const childEnv = "EVSOURCING_POWERLOSS_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if cluster != nil {
		cluster.Remove()
	}
	os.Exit(code)
}

// child returns a command that runs one of the children.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// work is what a process does with a store: it prints what is in it, and then goes on, and
// prints what is acknowledged, until it fails or is killed.
func work(ctx context.Context, s store, h evsourcing.Handler, projected totals) error {
	found, err := inspect(ctx, s, projected)
	if err != nil {
		return err
	}
	for w, version := range found {
		fmt.Println("found", w, version)
	}
	ended := make(chan error, 1+writers)
	var out sync.Mutex // lines come one at a time
	for w, version := range found {
		go func() {
			ended <- write(ctx, s, w, version, func(writer int, version uint64) {
				out.Lock()
				defer out.Unlock()
				fmt.Println("acknowledged", writer, version)
			})
		}()
	}
	go func() { ended <- project(ctx, s, h) }()
	return <-ended
}

// nowAndThen calls f after pauses, as long as the process lives, which f ends by an error.
func nowAndThen(longest time.Duration, f func() error) {
	for {
		<-time.After(rand.N(longest))
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
