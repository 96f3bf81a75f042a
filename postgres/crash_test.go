package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// startChild starts a process that does what child does.
func startChild(t *testing.T, role, dsn, schema string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EVSOURCING_TEST_CHILD="+role, "EVSOURCING_TEST_DSN="+dsn, "EVSOURCING_TEST_SCHEMA="+schema)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out, &errs
}

func TestKilledClientsLoseNothingAcknowledged(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	s := open(t, dsn, &postgres.Options{Schema: schema})
	acked := map[int]uint64{}
	for round := range faulttest.Scale(3, 10, 200) {
		cmd, out, errs := startChild(t, "append", dsn, schema)
		pause(t.Context(), time.Duration(50+rand.IntN(250))*time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if errs.Len() > 0 && !strings.Contains(errs.String(), "WARN") {
			t.Fatalf("round %d: the child failed: %s", round, errs)
		}
		acknowledged(acked, out.String())
		wantPairs(t, s, acked)
	}
	if len(acked) == 0 {
		t.Error("no append was acknowledged in any round")
	}
	p, err := newProjection(t.Context(), s, dsn, "projection", schema+".counts")
	if err != nil {
		t.Fatal(err)
	}
	p.wantExact(t, dsn)
}

// wantPairs checks that all that was acknowledged is there, and no append by half.
func wantPairs(t *testing.T, s *postgres.Store, acked map[int]uint64) {
	t.Helper()
	for w, version := range acked {
		// A child's statement may still be running when the child is dead, and reading
		// the two streams takes two moments: the left one is read last.
		right, err1 := headOf(t.Context(), s, stream(fmt.Sprintf("right-%d", w)))
		left, err2 := headOf(t.Context(), s, stream(fmt.Sprintf("left-%d", w)))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if left < version || right < version {
			t.Errorf("writer %d: version %d was acknowledged, and %d and %d are stored", w, version, left, right)
		}
		if left%2 != 0 || right%2 != 0 {
			t.Errorf("writer %d: the streams are at versions %d and %d: part of an append", w, left, right)
		}
	}
}

func TestServerCrashesLoseNothingAcknowledged(t *testing.T) {
	c := ownCluster(t)
	dsn := c.Database(t)
	s := open(t, dsn, quiet(postgres.Options{}))
	p, err := newProjection(t.Context(), s, dsn, "projection", "counts")
	if err != nil {
		t.Fatal(err)
	}
	stop := p.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var stored atomic.Int64
	const writers = 8
	var versions [writers]uint64
	for w := range writers {
		wg.Go(func() {
			id := stream(fmt.Sprint("writer-", w))
			for ctx.Err() == nil {
				b := batch(id, versions[w], 2)
				if !appendUntilStored(ctx, t, s, b) {
					return
				}
				versions[w] += 2
				stored.Add(1)
			}
		})
	}
	for range faulttest.Scale(1, 3, 50) {
		began := stored.Load()
		eventually(t, "appends after a crash", func() bool { return stored.Load() > began+100 })
		c.Stop(t, "immediate")
		c.Start(t)
	}
	began := stored.Load()
	eventually(t, "appends after the last crash", func() bool { return stored.Load() > began+100 })
	cancel()
	wg.Wait()
	stop()
	for w, version := range versions {
		id := stream(fmt.Sprint("writer-", w))
		head, err := headOf(t.Context(), s, id)
		// The last append was given up, and may or may not be there.
		if err != nil || head != version && head != version+2 {
			t.Errorf("%v: version %d was acknowledged, stored is %d, %v", id, version, head, err)
		}
	}
	p.wantExact(t, dsn)
}

// appendUntilStored repeats an append as long as it fails because of the database. A
// conflict would be a false one.
func appendUntilStored(ctx context.Context, t *testing.T, s *postgres.Store, b evsourcing.Batch) bool {
	for ctx.Err() == nil {
		_, err := s.Append(ctx, b)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, evsourcing.ErrConflict), errors.Is(err, evsourcing.ErrDuplicateEvent):
			t.Errorf("%v: %v", b.Stream, err)
			return false
		}
		pause(ctx, time.Millisecond)
	}
	return false
}

func TestAppendsFailBeforeTheirContextsWhileTheServerIsDown(t *testing.T) {
	c := ownCluster(t)
	s := open(t, c.Database(t), quiet(postgres.Options{}))
	put(t, s, batch(stream("a"), 0, 1))
	c.Stop(t, "fast")
	// This one may meet a connection that seems to be alive, and then what came of it is
	// not known as long as the server is down.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	b := batch(stream("a"), 1, 1)
	began := time.Now()
	if _, err := s.Append(short, b); err == nil {
		t.Error("Append while the server is down succeeded")
	}
	if _, err := s.Head(short); err == nil {
		t.Error("Head while the server is down succeeded")
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("calls with a context of 50 ms took %v", d)
	}
	began = time.Now()
	_, err := s.Append(t.Context(), batch(stream("b"), 0, 1))
	if err == nil || errors.Is(err, evsourcing.ErrUncertain) || errors.Is(err, evsourcing.ErrConflict) {
		t.Errorf("Append while the server is down returned %v, want an error that says that nothing was stored", err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("that took %v", d)
	}
	c.Start(t)
	if !appendUntilStored(t.Context(), t, s, b) {
		t.Error("the append could not be repeated")
	}
}
