package attack

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/sqlite"
)

// message returns a message about a version of a stream.
func message(topic, id string, version int) evsourcing.Message {
	e := newEvent(topic, nil)
	e.Stream, e.Version = stream(id), uint64(version)
	return evsourcing.Message{StoredEvent: e}
}

// publishUntilFull publishes until the bus refuses or makes the publisher wait, and
// returns how many messages it took.
func publishUntilFull(ctx context.Context, bus *evsourcing.EventBus, topic string, most int) (n int, err error) {
	for n < most {
		wait, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		err := bus.Publish(wait, message(topic, "a", n+1))
		cancel()
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// A reactor that never returns, and ignores its context: what waits for it is at most
// Buffer messages, then publishers wait until their contexts end, or in a reactor at
// most MaxPending and ErrBusFull. Other subscriptions go on, and Close returns when its
// context ends, with the count of what is undelivered.
func TestStuckReactor(t *testing.T) {
	const buffer, pending = 100, 300
	release := make(chan struct{})
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Buffer: buffer, MaxPending: pending, Logger: quiet})
	stuck := evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { <-release; return nil })
	var others atomic.Int64
	fromReactor := make(chan error, 1)
	for _, err := range []error{
		bus.Subscribe("stuck", stuck, "stuck"),
		bus.Subscribe("others", evsourcing.ReactorFunc(func(context.Context, evsourcing.Message) error { others.Add(1); return nil }), "others"),
		bus.Subscribe("publisher", evsourcing.ReactorFunc(func(ctx context.Context, _ evsourcing.Message) error {
			for i := 0; ; i++ {
				if err := bus.Publish(ctx, message("stuck", "b", i+1)); err != nil {
					fromReactor <- err
					return nil
				}
			}
		}), "publish"),
		bus.Listen(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	n, err := publishUntilFull(t.Context(), bus, "stuck", 10*buffer)
	if n != buffer || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d messages were taken, and then %v", n, err)
	}
	if err := bus.Publish(t.Context(), message("publish", "c", 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-fromReactor; !errors.Is(err, evsourcing.ErrBusFull) || bus.Pending() > pending+1 {
		t.Errorf("a reactor got %v, with %d messages pending", err, bus.Pending())
	}
	for i := range 1000 {
		if err := bus.Publish(t.Context(), message("others", fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = bus.Close(ctx)
	took := time.Since(began)
	var u *evsourcing.UndeliveredError
	if !errors.As(err, &u) || u.Count != pending || took > 5*time.Second || others.Load() != 1000 {
		t.Errorf("Close returned %v after %v; of 1,000 other messages %d were handled", err, took, others.Load())
	}
	t.Attr("figure", fmt.Sprintf("a reactor that never returns: %d messages wait (Buffer), %d from reactors (MaxPending), 1,000 others handled, Close within 200 ms returned after %d ms", buffer, pending, took.Milliseconds()))
	close(release)
}

// A subscription's handler that never returns: other subscriptions go on; WaitFor
// returns when its context ends; memory is bounded by the batch. Run returns when the
// handler does, and not before: nothing can end a handler that ignores its context.
func TestStuckHandler(t *testing.T) {
	each(t, func(t *testing.T, s store) {
		release, entered := make(chan struct{}), make(chan struct{}, 100)
		registry := evsourcing.NewRegistry(opened{})
		run := func(ctx context.Context, name string, h evsourcing.HandlerFunc) (*evsourcing.Subscription, chan error) {
			sub := evsourcing.NewSubscription(name, s, s, registry, h, &evsourcing.SubscriptionOptions{Logger: quiet, BatchSize: 10, PollInterval: 10 * time.Millisecond})
			done := make(chan error, 1)
			go func() { done <- sub.Run(ctx) }()
			return sub, done
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		put(t, s, batch(stream("a"), newEvent("opened", []byte("{}"))))
		stuck, stuckDone := run(ctx, "stuck", func(context.Context, []evsourcing.Message) error {
			entered <- struct{}{}
			<-release
			return nil
		})
		<-entered
		var handled atomic.Int64
		other, otherDone := run(ctx, "other", func(_ context.Context, msgs []evsourcing.Message) error {
			handled.Add(int64(len(msgs)))
			return nil
		})
		n := faulttest.Scale(1_000, 2_000, 100_000)
		var last evsourcing.AppendResult
		heap := held(func() {
			data := make([]byte, 1000)
			copy(data, `{"owner":"`)
			for i := 10; i < 998; i++ {
				data[i] = 'x'
			}
			copy(data[998:], `"}`)
			for i := 0; i < n; i += 1000 {
				var list []evsourcing.StoredEvent
				for range 1000 {
					list = append(list, newEvent("opened", data))
				}
				last = put(t, s, batch(stream("b"), list...))
			}
			if err := other.WaitFor(ctx, last.Position); err != nil {
				t.Error(err)
			}
		})
		short, end := context.WithTimeout(ctx, 50*time.Millisecond)
		defer end()
		if err := stuck.WaitFor(short, last.Position); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitFor: %v", err)
		}
		cancel()
		<-otherDone
		select {
		case err := <-stuckDone:
			t.Errorf("Run returned %v before its handler", err)
		default:
		}
		close(release)
		<-stuckDone
		t.Attr("figure", fmt.Sprintf("a handler that never returns: another subscription handled %s events meanwhile; %.1f MiB of heap held", humanize.Comma(int64(int(handled.Load()))), heap))
		if _, memory := s.(*evsourcing.MemoryStore); !memory && heap > 16 || handled.Load() < int64(n) {
			t.Errorf("%d events were handled, and %.1f MiB of heap are held", handled.Load(), heap)
		}
	})
}

// The function of a transaction of SQLite that never returns has the file's only write
// lock: appends of others fail with ErrBusy after twice HandlerTime, and nothing of
// them is stored. Readers go on.
func TestStuckTransaction(t *testing.T) {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "events.db"), &sqlite.Options{Logger: quiet, HandlerTime: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, batch(stream("a"), newEvent("one", nil)))
	release, entered, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.InTx(context.Background(), func(context.Context, *zsqlite.Conn) error { close(entered); <-release; return nil })
	}()
	<-entered
	began := time.Now()
	_, err = s.Append(t.Context(), batch(stream("a"), newEvent("two", nil)))
	took := time.Since(began)
	if !errors.Is(err, sqlite.ErrBusy) || took > 10*time.Second {
		t.Errorf("Append: %v after %v", err, took)
	}
	if n := len(collect(t, s.Load(t.Context(), stream("a"), evsourcing.Range{}))); n != 1 {
		t.Errorf("%d events are read", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	close(release)
	err = <-done
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	t.Attr("figure", fmt.Sprintf("a transaction that never returns, of HandlerTime 100 ms: others got ErrBusy after %d ms and stored nothing, readers went on; it was told %.60q", took.Milliseconds(), fmt.Sprint(err)))
}

// Iterators that somebody holds open and does not go on with: writers go on, the
// write-ahead log does not grow, other readers find connections, and Close returns.
func TestSlowIterators(t *testing.T) {
	iterators := faulttest.Scale(30, 50, 2_000)
	each(t, func(t *testing.T, s store) {
		var list []evsourcing.StoredEvent
		for range 300 { // more than a page
			list = append(list, newEvent("one", make([]byte, 100)))
		}
		put(t, s, batch(stream("a"), list...))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range iterators {
			for _, seq := range []iter.Seq2[evsourcing.StoredEvent, error]{
				s.Load(ctx, stream("a"), evsourcing.Range{}), s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{Topics: []string{"one"}}),
			} {
				next, stop := iter.Pull2(seq)
				defer stop()
				if _, err, ok := next(); err != nil || !ok {
					t.Fatal(err)
				}
			}
		}
		large := make([]byte, mib)
		appends := faulttest.Scale(5, 10, 300)
		for range appends {
			put(t, s, batch(stream("b"), newEvent("large", large)))
		}
		wal := int64(0)
		if s, ok := s.(*sqlite.Store); ok {
			wal = walSize(t, s)
		}
		if n := len(collect(t, s.Load(t.Context(), stream("a"), evsourcing.Range{}))); n != 300 {
			t.Errorf("%d events are read", n)
		}
		if c, ok := s.(interface{ Close(context.Context) error }); ok {
			within, end := context.WithTimeout(t.Context(), 20*time.Second)
			defer end()
			if err := c.Close(within); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		t.Attr("figure", fmt.Sprintf("%s open iterators: %d MiB appended meanwhile, others read, and Close returned (the write-ahead log of sqlite, else 0: %d MiB)", humanize.Comma(int64(2*iterators)), appends, wal/mib))
		if wal > 40*mib {
			t.Errorf("the write-ahead log has %d MiB", wal/mib)
		}
	})
}

func walSize(t *testing.T, s *sqlite.Store) int64 {
	t.Helper()
	info, err := os.Stat(path(t, s) + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
