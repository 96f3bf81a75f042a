//go:build linux

package powerloss

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
)

// A cycle works on the disk, which is mounted at the directory, until power is lost.
type cycle func(t *testing.T, d *Disk, dir string, m moment, a *account) error

// A moment is after how many calls that change something power is lost: since the engine
// has been started, or if that is 0, since it works.
type moment struct{ start, work int }

// most are the latest moments of cycles.
func (most moment) draw(random *rand.Rand, start bool) moment {
	if start {
		return moment{start: 1 + random.IntN(1+random.IntN(most.start))}
	}
	return moment{work: 1 + random.IntN(most.work)}
}

// lifetime is how many cycles a disk has: with 18, power is lost on every other fresh disk
// while the engine starts.
const lifetime = 18

// A plan says how many cycles there are. A control goes on, for ten times as long at most,
// until something is lost.
type plan struct {
	cycles  int
	control bool
}

func (p plan) enough(a *account) bool {
	return a.cycles >= p.cycles && (!p.control || a.lost > 0 || a.cycles >= 10*p.cycles)
}

// cycles runs cycles, each on what the one before has left, or on a fresh disk.
func cycles(t *testing.T, p plan, most moment, fresh func(seed uint64) *Disk, run cycle) *account {
	t.Helper()
	random, a, dir := seeds(t), &account{}, newDir(t)
	var disk *Disk
	once := func(m moment) {
		fatal(t, disk.Mount(dir))
		err := run(t, disk, dir, m, a)
		unmount(t, disk)
		if err != nil {
			t.Fatalf("cycle %d: %v", a.cycles, err)
		}
		disk = disk.After(random.Uint64())
	}
	for began := time.Now(); !p.enough(a); {
		if a.cycles%lifetime == 0 {
			disk, a.acked = fresh(random.Uint64()), versions{}
		}
		once(most.draw(random, a.cycles%4 == 2))
		if a.cycles++; a.cycles%lifetime == 0 || a.cycles >= p.cycles {
			once(moment{work: 1}) // for what is left after the last
		}
		if time.Since(began) > 10*time.Second {
			began = time.Now()
			t.Log(a.figure())
		}
	}
	t.Attr("figure", a.figure())
	return a
}

// follow runs a process that works on a store until power is lost, and then kills it and
// ends what else there is at the same moment. It settles what the process has found with
// what had been acknowledged before.
func follow(t *testing.T, d *Disk, cmd *exec.Cmd, end func(), m moment, a *account) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := cmd.StdoutPipe()
	fatal(t, err)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if m.start > 0 {
		d.LoseAfter(m.start)
	}
	fatal(t, cmd.Start())
	var killing sync.WaitGroup
	killing.Go(func() {
		select {
		case <-d.Dark():
		case <-ctx.Done():
		}
		end()
		_ = cmd.Process.Kill()
	})
	var found versions
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var what string
		var writer int
		var version uint64
		if _, err := fmt.Sscan(lines.Text(), &what, &writer, &version); err != nil {
			break // cut short
		}
		if what == "acknowledged" {
			a.acknowledge(writer, version)
			continue
		}
		found[writer] = version
		if n++; n == writers {
			a.settle(found)
			if m.start == 0 {
				d.LoseAfter(m.work)
			}
		}
	}
	dark := d.isDark() // its output has ended
	cancel()
	killing.Wait()
	err = cmd.Wait()
	if !dark {
		return errors.Join(errors.New("the process ended, or hung, while there was power"), err, errors.New(errs.String()))
	}
	if n < writers {
		a.starts++
	}
	return nil
}

// An account is what came of all cycles of a test.
type account struct {
	cycles, acknowledged, lost int
	starts                     int      // cycles in which power was lost before the engine had started, and what it had was read
	losses                     int      // cycles that have lost something
	acked                      versions // what has to be there
}

// settle compares what was acknowledged with what is found.
func (a *account) settle(found versions) {
	lost := 0
	for w := range writers {
		if found[w] < a.acked[w] {
			lost += 2 * int(a.acked[w]-found[w])
		}
	}
	a.acked = found
	if a.lost += lost; lost > 0 {
		a.losses++
	}
}

// acknowledge notes that a writer's append was acknowledged.
func (a *account) acknowledge(writer int, version uint64) {
	a.acked[writer] = max(a.acked[writer], version)
	a.acknowledged += 4
}

// figure is the line for the report.
func (a *account) figure() string {
	comma := func(n int) string { return humanize.Comma(int64(n)) }
	return fmt.Sprintf("%s losses of power, %s of them while the engine started; %s events acknowledged, %s lost (in %s cycles), 0 appends by half, projection exact each time",
		comma(a.cycles), comma(a.starts), comma(a.acknowledged), comma(a.lost), comma(a.losses))
}

// seeds returns a seed for the test, which is printed.
func seeds(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("EVSOURCING_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		fatal(t, err)
		seed = n
	}
	t.Logf("EVSOURCING_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 2))
}
