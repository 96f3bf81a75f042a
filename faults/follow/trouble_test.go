package follow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// Trouble is what happens to the subscribers and, if there is one, the server.
type trouble struct {
	record  *record
	place   string // for the subscribers
	mode    mode
	kinds   []kind             // those that occur are as frequent as here
	cluster *faulttest.Cluster // nil for SQLite
	proxy   *faulttest.Proxy

	children map[string]*faulttest.Child
	started  int

	killed, paused, overtaken, cut, crashed int
}

// A kind of trouble.
type kind string

const (
	kill  kind = "kill"  // an owner is killed
	stop  kind = "stop"  // an owner is paused for longer than its lease
	cut   kind = "cut"   // all connections are
	crash kind = "crash" // the server is stopped as by a crash
)

// start starts a subscriber.
func (x *trouble) start(t *testing.T) {
	x.started++
	owner := fmt.Sprint("s", x.started)
	x.children[owner] = faulttest.StartChild(t, "subscriber", func(line string) { x.record.line(owner, line) }, x.place, owner, string(x.mode))
}

// run makes trouble until the context ends. After each, the subscription has to make some
// progress, for which it has some seconds: on a slow machine, trouble would else be faster
// than who overcomes it.
func (x *trouble) run(ctx context.Context, t *testing.T, every time.Duration) {
	for ctx.Err() == nil {
		names := x.mode.names()
		name := names[rand.N(len(names))]
		before := x.record.progress(name)
		for n := 0; n < 300 && x.record.progress(name) < before+2; n++ {
			pause(ctx, 10*time.Millisecond)
		}
		pause(ctx, rand.N(2*every))
		if ctx.Err() == nil {
			x.once(ctx, t, name)
		}
	}
}

// once makes trouble for a subscription once.
func (x *trouble) once(ctx context.Context, t *testing.T, name string) {
	owner, token := x.record.owner(name)
	child := x.children[owner]
	if child == nil { // it was killed, and nobody has taken over yet
		for owner, child = range x.children {
			break
		}
	}
	switch x.kinds[rand.N(len(x.kinds))] {
	case kill:
		child.Kill()
		delete(x.children, owner)
		x.start(t)
		x.killed++
	case stop:
		_ = child.Signal(syscall.SIGSTOP)
		pause(ctx, lease+rand.N(lease))
		if _, now := x.record.owner(name); now != token {
			x.overtaken++
		}
		_ = child.Signal(syscall.SIGCONT)
		x.paused++
	case cut:
		x.proxy.CutAll()
		x.cut++
	case crash:
		x.cluster.Stop(t, "immediate")
		x.cluster.Restart(t)
		x.crashed++
	}
}

// end lets the subscribers end.
func (x *trouble) end(t *testing.T) {
	for owner, child := range x.children {
		if err := child.End(); err != nil {
			t.Errorf("%s: %v", owner, err)
		}
	}
}

func (x *trouble) String() string {
	parts := []string{fmt.Sprintf("%s owners killed, %s paused of whom %s were overtaken", humanize.Comma(int64(x.killed)), humanize.Comma(int64(x.paused)), humanize.Comma(int64(x.overtaken)))}
	if x.cluster != nil {
		parts = append(parts, fmt.Sprintf("%s times all connections cut, %s server crashes", humanize.Comma(int64(x.cut)), humanize.Comma(int64(x.crashed))))
	}
	return strings.Join(parts, ", ")
}
