package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// listeners returns how many sessions listen to a schema's store.
func listeners(t *testing.T, dsn, schema string) int {
	t.Helper()
	return query[int](t, dsn, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'||$1||'%'", schema)
}

// waitFor measures how long a waiter takes to see an append of another process.
func waitFor(t *testing.T, writer, waiter *postgres.Store) time.Duration {
	t.Helper()
	head, err := writer.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- waiter.Wait(ctx, head.Position) }()
	pause(ctx, 20*time.Millisecond) // as a rule it waits by now
	began := time.Now()
	put(t, writer, batch(stream("a"), evsourcing.AnyVersion, 1))
	if err := <-done; err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return time.Since(began)
}

func TestWaitIsWokenByOtherProcesses(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	writer := open(t, dsn, &postgres.Options{Schema: schema})
	const never = time.Hour
	waiter := open(t, dsn, &postgres.Options{Schema: schema, PollInterval: never})
	go func() { _ = waiter.Wait(t.Context(), 1<<40) }()
	eventually(t, "the store listens", func() bool { return listeners(t, dsn, schema) == 1 })
	for range 3 {
		if d := waitFor(t, writer, waiter); d > 5*time.Second {
			t.Errorf("a notification took %v", d)
		}
	}
}

func TestDeadListenerIsReplacedAndPollingGoesOnMeanwhile(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	proxy, through := faulttest.NewProxy(t, dsn)
	writer := open(t, dsn, &postgres.Options{Schema: schema})
	waiter := open(t, dsn, quiet(postgres.Options{Schema: schema, PollInterval: 20 * time.Millisecond, ListenDSN: through}))
	seen := follow(t, waiter, "follower")
	eventually(t, "the store listens", func() bool { return listeners(t, dsn, schema) == 1 })
	for range 3 {
		proxy.CutAll()
		put(t, writer, batch(stream("a"), evsourcing.AnyVersion, 1))
		wantLog(t, waiter, seen)
		eventually(t, "the store listens again", func() bool { return listeners(t, dsn, schema) == 1 })
	}
	proxy.Stop() // for good
	for range 3 {
		put(t, writer, batch(stream("a"), evsourcing.AnyVersion, 1))
		wantLog(t, waiter, seen)
	}
}

func TestStoreThatDoesNotListenPolls(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	writer := open(t, dsn, &postgres.Options{Schema: schema})
	waiter := open(t, dsn, &postgres.Options{Schema: schema, NoListen: true, PollInterval: 20 * time.Millisecond})
	for range 3 {
		if d := waitFor(t, writer, waiter); d > 5*time.Second {
			t.Errorf("polling took %v", d)
		}
	}
	if n := listeners(t, dsn, schema); n != 0 {
		t.Errorf("%d sessions listen", n)
	}
}

// When everybody waits at once there is one poller, and it stops when nobody waits.
func TestWaitersShareOnePoller(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 50)
	for range cap(done) {
		go func() { done <- s.Wait(ctx, 1<<40) }()
	}
	put(t, s, batch(stream("a"), 0, 1))
	cancel()
	for range cap(done) {
		if err := <-done; err == nil {
			t.Error("Wait returned before its position")
		}
	}
	if err := s.Wait(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
