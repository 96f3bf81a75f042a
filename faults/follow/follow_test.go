package follow

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/faults/internal/durable"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// TestFollow: whatever happens to the subscribers and the server, subscriptions are
// complete, in order, never back in time, and exact in a read model of the store.
func TestFollow(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			events := faulttest.Scale(1_000, 2_000, 500_000)
			length := time.Duration(faulttest.Scale(1, 2, 300)) * time.Second
			kinds := []kind{kill, kill, kill, stop, stop, stop, stop, stop}
			if engine == "postgres" {
				kinds = append(kinds, cut, cut, cut, crash)
			}
			f := newFollowing(t, clusterFor(t, engine), whole, kinds...)
			c := f.run(t, events, length)
			if c.sum() > 0 {
				t.Errorf("%v; first: %s", &c.findings, c.first)
			}
			if len(c.events) < events*9/10 || f.trouble.killed+f.trouble.paused == 0 {
				t.Errorf("only %d events and %v", len(c.events), f.trouble)
			}
			sessions := 0
			for _, name := range whole.names() {
				sessions += len(f.record.sessions[name])
			}
			t.Attr("figure", fmt.Sprintf("%s events of %s to 3 subscriptions in 3 processes, %s sessions, %v, %s late commits refused, %s sessions begun at a checkpoint that came late, %s writers' transactions rolled back: %v",
				humanize.Comma(int64(len(c.events))), humanize.Comma(int64(c.all)), humanize.Comma(int64(sessions)), f.trouble, humanize.Comma(int64(f.record.refused)), humanize.Comma(int64(c.late)), humanize.Comma(f.writers.rolled.Load()), &c.findings))
		})
	}
}

// TestFollowControl: with a protection taken away, the check finds what comes of that.
func TestFollowControl(t *testing.T) {
	controls := []struct {
		mode  mode
		kind  kind // of trouble under which it shows
		what  string
		found func(c *check) bool
	}{
		{late, kill, "events that show late", func(c *check) bool { return c.Gaps > 0 }},
		{unfenced, stop, "tokens ignored", func(c *check) bool { return c.Doubled > 0 && c.Back > 0 }},
		{outside, kill, "rows outside the transaction", func(c *check) bool { return c.Doubled > 0 }},
	}
	engines := []string{"sqlite", "postgres"}
	if testing.Short() {
		engines = engines[:1] // the check is the same
	}
	for _, engine := range engines {
		for _, control := range controls {
			t.Run(fmt.Sprint(engine, "/", control.mode), func(t *testing.T) {
				t.Parallel()
				cluster := clusterFor(t, engine)
				for attempt := 1; ; attempt++ {
					f := newFollowing(t, cluster, control.mode, control.kind)
					c := f.run(t, 1_000, time.Second)
					if control.found(c) {
						t.Attr("figure", fmt.Sprintf("control, %s: %s among %s events, %v: %v", engine, control.what, humanize.Comma(int64(len(c.events))), f.trouble, &c.findings))
						return
					}
					t.Logf("attempt %d: %v; %v", attempt, f.trouble, &c.findings)
					if attempt == 10 {
						t.Fatalf("the damage was not found: %v", &c.findings)
					}
				}
			})
		}
	}
}

// A following is writers and subscribers, and the trouble that they are in.
type following struct {
	place   string // for the writers, and for the checks
	store   durable.Store
	writers *writers
	trouble *trouble
	record  *record
}

// clusterFor returns the server that an engine needs, or nil.
func clusterFor(t *testing.T, engine string) *faulttest.Cluster {
	if engine != "postgres" {
		return nil
	}
	return faulttest.SharedCluster(t)
}

func newFollowing(t *testing.T, cluster *faulttest.Cluster, m mode, kinds ...kind) *following {
	f := &following{record: newRecord()}
	f.trouble = &trouble{record: f.record, mode: m, kinds: kinds, cluster: cluster, children: map[string]*faulttest.Child{}}
	if cluster != nil {
		f.place = cluster.Database(t)
		f.trouble.proxy, f.trouble.place = faulttest.NewProxy(t, f.place)
	} else {
		f.place = filepath.Join(t.TempDir(), "events.db")
		f.trouble.place = f.place
	}
	var err error
	if f.store, err = durable.Open(t.Context(), f.place); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	err = f.store.InTx(t.Context(), func(_ context.Context, exec durable.Exec) error {
		if err := exec("CREATE TABLE elsewhere (n " + durable.Numbered(f.place) + ", stream text)"); err != nil {
			return err
		}
		return exec("CREATE TABLE handled (n " + durable.Numbered(f.place) + ", position bigint NOT NULL, token bigint NOT NULL, owner text NOT NULL)")
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// run lets the writers write so many events within about the time, while the subscribers
// follow and are troubled; then lets these catch up, and checks what they have done.
func (f *following) run(t *testing.T, events int, length time.Duration) *check {
	t.Helper()
	f.writers = &writers{store: f.store, place: f.place, pause: length * writerCount * meanBatch / time.Duration(events)}
	f.writers.left.Store(int64(events))
	for range 3 {
		f.trouble.start(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { f.trouble.run(ctx, t, min(length/20, 500*time.Millisecond)) })
	running.Go(func() { f.pace(ctx, t, uint64(events/10)) })
	f.writers.run(ctx)
	cancel()
	running.Wait()
	if f.trouble.cluster != nil && !f.trouble.cluster.Running() {
		f.trouble.cluster.Restart(t)
	}

	c, err := readLog(t.Context(), f.store)
	if err != nil {
		t.Fatal(err)
	}
	f.await(t, c.events[len(c.events)-1].position)
	f.trouble.end(t)
	rows, err := readRows(t.Context(), f.store)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range f.trouble.mode.names() {
		if name == exact {
			c.exactly(rows, f.record.sessions[name])
		} else {
			c.atLeastOnce(name, f.record.sessions[name])
		}
	}
	for _, text := range f.record.bad {
		c.find(&c.Back, "%s", text)
	}
	if f.record.err != nil {
		t.Error(f.record.err)
	}
	return c
}

// behind returns the lowest checkpoint.
func (f *following) behind(ctx context.Context) (lowest uint64, err error) {
	for i, name := range f.trouble.mode.names() {
		c, _, err := f.store.Checkpoint(ctx, name)
		if err != nil {
			return 0, err
		}
		if i == 0 || c.Position < lowest {
			lowest = c.Position
		}
	}
	return lowest, nil
}

// pace has the writers wait when a subscription is so far behind, so that all is done in
// the midst of trouble. When there is no progress for a minute, there are no more events.
func (f *following) pace(ctx context.Context, t *testing.T, most uint64) {
	began, moved, last := time.Now(), time.Now(), uint64(0)
	logged := began
	for ; ctx.Err() == nil; pause(ctx, 20*time.Millisecond) {
		head, err1 := f.store.Head(ctx)
		lowest, err2 := f.behind(ctx)
		if err1 != nil || err2 != nil {
			continue
		}
		f.writers.hold.Store(head.Position > lowest+most)
		if lowest > last {
			last, moved = lowest, time.Now()
		}
		if time.Since(moved) > time.Minute {
			t.Errorf("no progress for a minute: a subscription is at position %d, and the log at %d", lowest, head.Position)
			f.writers.left.Store(0)
			return
		}
		if time.Since(logged) > 20*time.Second {
			logged = time.Now()
			t.Logf("%v: the log is at position %d, and all subscriptions at %d", time.Since(began).Round(time.Second), head.Position, lowest)
		}
	}
}

// await waits until all subscriptions have come to the position.
func (f *following) await(t *testing.T, position uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; pause(t.Context(), 20*time.Millisecond) {
		lowest, err := f.behind(t.Context())
		if err == nil && lowest >= position {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a subscription is still at position %d, and the log at %d; %v", lowest, position, err)
		}
	}
}
