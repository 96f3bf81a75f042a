package linear

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/sqlite"
)

// A sqliteSite is a file that three processes use: this one, and two that are killed
// every now and then.
type sqliteSite struct {
	dir       string
	own       *sqlite.Store
	spoiled   store
	processes [2]*process
	kills     *atomic.Int64
	failed    error // to start or kill a process
}

func prepareSQLite(kills *atomic.Int64, spoil func(store) store) func(context.Context) (site, error) {
	return func(context.Context) (_ site, err error) {
		s := &sqliteSite{kills: kills}
		if s.dir, err = os.MkdirTemp("", "evsourcing-linear-"); err != nil {
			return nil, err
		}
		path := filepath.Join(s.dir, "events.db")
		if s.own, err = sqlite.Open(path, &sqlite.Options{Logger: quiet}); err != nil {
			return nil, err
		}
		s.spoiled = spoil(s.own)
		for i := range s.processes {
			s.processes[i] = &process{path: path}
			if err := s.processes[i].start(); err != nil {
				return nil, err
			}
		}
		return s, nil
	}
}

func (s *sqliteSite) endpoints() []endpoint {
	own := local{s.spoiled}
	return []endpoint{own, s.processes[0], own, s.processes[1]}
}

// disturb kills one of the processes after every 50 to 150 operations.
func (s *sqliteSite) disturb(ctx context.Context, h *history) {
	for n := 0; s.failed == nil; {
		if n += 50 + rand.IntN(100); !h.await(ctx, n) {
			return
		}
		p := s.processes[rand.IntN(len(s.processes))]
		s.failed = errors.Join(p.kill(), p.start())
		s.kills.Add(1)
	}
}

func (s *sqliteSite) calm(context.Context) (endpoint, error) { return local{s.spoiled}, s.failed }

func (s *sqliteSite) close() error {
	var errs []error
	for _, p := range s.processes {
		errs = append(errs, p.kill())
	}
	return errors.Join(append(errs, s.own.Close(context.Background()), os.RemoveAll(s.dir))...)
}

// A store in an SQLite file is linearizable for all processes that use it, although some
// of them are killed, and contexts end during a commit.
func TestSQLite(t *testing.T) {
	var kills atomic.Int64
	prove(t, faulttest.Scale(2, 5, 1000), prepareSQLite(&kills, sound), func() string {
		return humanize.Comma(int64(int(kills.Load()))) + " processes killed"
	})
}

// The same with stores that have one bug each, in the process that is not killed.
func TestSQLiteControl(t *testing.T) {
	var kills atomic.Int64
	disprove(t, faulttest.Scale(1, 1, 5), func(spoil func(store) store) func(context.Context) (site, error) {
		return prepareSQLite(&kills, spoil)
	})
}
