package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// The tests run in bubbles of testing/synctest: time passes when everybody
// waits, and a goroutine that is left over fails the test.

type noted struct {
	Text string `json:"text"`
}

func (noted) Topic() string { return "noted" }

// open opens a spool that the test closes.
func open(t *testing.T, dir string) *Spool {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

// newBus returns a bus over the transport.
func newBus(transport evsourcing.Transport) *evsourcing.EventBus {
	return evsourcing.NewEventBus(&evsourcing.EventBusOptions{
		Transport: transport, Codec: evsourcing.NewRegistry(noted{}), Logger: slog.New(slog.DiscardHandler),
		Retry: evsourcing.RetryPolicy{MaxAttempts: 20}, Buffer: 8,
	})
}

// messages returns messages of versions from first to last of a stream.
func messages(t *testing.T, id string, first, last int) (msgs []evsourcing.Message) {
	t.Helper()
	for version := first; version <= last; version++ {
		m := evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
			ID:     uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, id, version)),
			Stream: evsourcing.StreamID{Type: "account", ID: id}, Version: uint64(version),
		}}
		require.NoError(t, evsourcing.NewRegistry(noted{}).Encode(t.Context(), &m.StoredEvent, noted{id}))
		msgs = append(msgs, m)
	}
	return msgs
}

// seen is a reactor that keeps the versions it has handled of each stream.
type seen struct {
	mu       sync.Mutex
	versions map[string][]uint64
	before   func(ctx context.Context, m evsourcing.Message) error // may be nil
}

func (s *seen) React(ctx context.Context, m evsourcing.Message) error {
	if s.before != nil {
		if err := s.before(ctx, m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.versions = map[string][]uint64{}
	}
	s.versions[m.Stream.ID] = append(s.versions[m.Stream.ID], m.Version)
	return nil
}

func upTo(n uint64) (list []uint64) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

// Two buses share a subscription, and each has one of its own. Reactors fail now
// and then. Every subscription handles each message once, those of a stream in
// order.
func TestBusOverSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams, events = 6, 12
		spool := open(t, t.TempDir())
		var failures sync.Map
		failOnce := func(_ context.Context, m evsourcing.Message) error {
			if _, failed := failures.LoadOrStore(m.ID, true); !failed && m.Version%3 == 0 {
				return errors.New("not today")
			}
			return nil
		}
		shared := &seen{before: failOnce}
		own := []*seen{{}, {}}
		var buses []*evsourcing.EventBus
		for i := range own {
			bus := newBus(spool)
			require.NoError(t, bus.Subscribe("shared", shared, "noted"))
			require.NoError(t, bus.Subscribe(fmt.Sprint("own ", i), own[i], "noted"))
			require.NoError(t, bus.Listen())
			buses = append(buses, bus)
		}
		var publishing sync.WaitGroup
		for s := range streams {
			msgs := messages(t, fmt.Sprint(s), 1, events)
			publishing.Go(func() {
				for _, m := range msgs {
					assert.NoError(t, buses[s%2].Publish(t.Context(), m))
				}
			})
		}
		publishing.Wait()
		<-time.After(time.Hour)
		for _, s := range append(own, shared) {
			for i := range streams {
				assert.Equal(t, upTo(events), s.versions[fmt.Sprint(i)])
			}
		}
		for _, bus := range buses {
			require.NoError(t, bus.Close(t.Context()))
		}
		left, err := filepath.Glob(filepath.Join(spool.dir, "*", "*.json"))
		require.NoError(t, err)
		assert.Empty(t, left, "all is settled")
	})
}

// What is sent while nobody receives waits, through a restart too. What a bus had
// not finished when it was closed goes to the next one.
func TestMessagesOutliveTheirProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		spool := open(t, dir)
		stuck := &seen{before: func(ctx context.Context, m evsourcing.Message) error {
			if m.Version == 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		first := newBus(spool)
		require.NoError(t, first.Subscribe("office", stuck, "noted"))
		require.NoError(t, first.Listen())
		require.NoError(t, first.Publish(t.Context(), messages(t, "a", 1, 4)...))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorAs(t, first.Close(ctx), new(*evsourcing.UndeliveredError))
		synctest.Wait()
		assert.Equal(t, upTo(1), stuck.versions["a"])

		sender := newBus(spool)
		require.NoError(t, sender.Listen())
		require.NoError(t, sender.Publish(t.Context(), messages(t, "a", 3, 6)...), "two of them again")
		require.NoError(t, sender.Close(t.Context()))
		require.NoError(t, spool.Close(t.Context()))

		again := open(t, dir)
		office := &seen{}
		second := newBus(again)
		require.NoError(t, second.Subscribe("office", office, "noted"))
		require.NoError(t, second.Listen())
		require.NoError(t, second.Publish(t.Context(), messages(t, "a", 5, 7)...), "two of them again")
		synctest.Wait()
		require.NoError(t, second.Close(t.Context()))
		assert.Equal(t, []uint64{2, 3, 4, 5, 6, 7}, office.versions["a"])
	})
}

func join(t *testing.T, s *Spool, name string, inFlight int, topics ...string) evsourcing.Receiver {
	t.Helper()
	r, err := s.Join(t.Context(), evsourcing.Group{Name: name, Topics: topics, InFlight: inFlight, AckWait: time.Minute})
	require.NoError(t, err)
	return r
}

// send sends envelopes given as their IDs, which start with their keys, one
// letter long.
func send(t *testing.T, s *Spool, topic string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, s.Send(t.Context(), evsourcing.Envelope{ID: id, Key: id[:1], Topic: topic, Header: evsourcing.Metadata{"k": id}, Data: []byte{0, 255}}))
	}
}

// next returns the next delivery, which must be of the ID.
func next(t *testing.T, r evsourcing.Receiver, id string) evsourcing.Delivery {
	t.Helper()
	d, err := r.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, evsourcing.Envelope{ID: id, Key: id[:1], Topic: "t", Header: evsourcing.Metadata{"k": id}, Data: []byte{0, 255}}, *d.Envelope())
	return d
}

// nothing checks that nothing comes within the time.
func nothing(t *testing.T, r evsourcing.Receiver, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	_, err := r.Receive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// The rules of the contract one by one.
func TestContract(t *testing.T) {
	for rule, test := range map[string]func(t *testing.T, s *Spool){
		"a group gets its topics, from its first Join on, each ID once": func(t *testing.T, s *Spool) {
			send(t, s, "t", "a1")
			r := join(t, s, "../*", 9, "t")
			send(t, s, "t", "a2", "a2")
			send(t, s, "other", "a3")
			require.NoError(t, next(t, r, "a2").Ack(t.Context()))
			send(t, s, "t", "a2", "a4")
			next(t, r, "a4")
			nothing(t, r, time.Second)
		},
		"a key is at one receiver at a time": func(t *testing.T, s *Spool) {
			one, two := join(t, s, "group", 9, "t"), join(t, s, "group", 9, "t")
			send(t, s, "t", "a1", "a2", "a3", "b1")
			a1, a2 := next(t, one, "a1"), next(t, one, "a2")
			next(t, two, "b1")
			require.NoError(t, a1.Ack(t.Context()))
			nothing(t, two, time.Second)
			require.NoError(t, a2.Ack(t.Context()))
			next(t, two, "a3")
		},
		"InFlight bounds what is unsettled": func(t *testing.T, s *Spool) {
			r := join(t, s, "group", 2, "t")
			send(t, s, "t", "a1", "b1", "c1")
			a1 := next(t, r, "a1")
			next(t, r, "b1")
			nothing(t, r, time.Second)
			require.NoError(t, a1.Ack(t.Context()))
			next(t, r, "c1")
		},
		"Nack delivers again, in its time, and before later ones of the key": func(t *testing.T, s *Spool) {
			r := join(t, s, "group", 1, "t")
			send(t, s, "t", "a1", "a2", "b1")
			start := time.Now()
			require.NoError(t, next(t, r, "a1").Nack(t.Context(), time.Second))
			require.NoError(t, next(t, r, "b1").Ack(t.Context()))
			d := next(t, r, "a1")
			assert.Equal(t, 2, d.Attempt())
			assert.Equal(t, time.Second, time.Since(start))
			require.NoError(t, d.Ack(t.Context()))
			next(t, r, "a2")
		},
		"AckWait ends, unless it is extended": func(t *testing.T, s *Spool) {
			r := join(t, s, "group", 9, "t")
			send(t, s, "t", "a1")
			d := next(t, r, "a1")
			nothing(t, r, 40*time.Second)
			require.NoError(t, d.Extend(t.Context()))
			nothing(t, r, 59*time.Second)
			again := next(t, r, "a1")
			assert.Equal(t, 2, again.Attempt())
			require.NoError(t, d.Ack(t.Context()), "too late")
			require.NoError(t, again.Nack(t.Context(), 0))
			require.NoError(t, next(t, r, "a1").Ack(t.Context()))
			nothing(t, r, time.Hour)
		},
		"what a receiver has not settled goes to others": func(t *testing.T, s *Spool) {
			one, two := join(t, s, "group", 9, "t"), join(t, s, "group", 9, "t")
			send(t, s, "t", "a1")
			next(t, one, "a1")
			start := time.Now()
			require.NoError(t, one.Close(t.Context()))
			next(t, two, "a1")
			assert.Equal(t, start, time.Now(), "at once")
			_, err := one.Receive(t.Context())
			require.ErrorIs(t, err, errClosed)
		},
		"Close ends everything but the files": func(t *testing.T, s *Spool) {
			r := join(t, s, "../*", 9, "t")
			send(t, s, "t", "a1", "a2")
			d := next(t, r, "a1")
			next(t, r, "a2")
			waiting := make(chan error, 1)
			go func() { _, err := r.Receive(context.Background()); waiting <- err }()
			synctest.Wait()
			require.NoError(t, s.Close(t.Context()))
			require.ErrorIs(t, <-waiting, errClosed)
			require.ErrorIs(t, s.Send(t.Context()), errClosed)
			_, err := s.Join(t.Context(), evsourcing.Group{Name: "group"})
			require.ErrorIs(t, err, errClosed)
			require.NoError(t, d.Ack(t.Context()))

			again := open(t, s.dir)
			send(t, again, "t", "a3", "a1") // nobody has joined yet
			r = join(t, again, "../*", 9, "t")
			for _, id := range []string{"a1", "a2", "a3"} {
				require.NoError(t, next(t, r, id).Ack(t.Context()))
			}
			nothing(t, r, time.Hour)
		},
		"contexts end calls": func(t *testing.T, s *Spool) {
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.Send(ended), context.Canceled)
			_, err := s.Join(ended, evsourcing.Group{})
			require.ErrorIs(t, err, context.Canceled)
			_, err = join(t, s, "group", 1, "t").Receive(ended)
			require.ErrorIs(t, err, context.Canceled)
		},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, open(t, t.TempDir())) })
		})
	}
}

// The IDs of settled envelopes are known as long as the documentation says.
func TestMemory(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	r := join(t, s, "group", 1, "t")
	ids := []string{}
	for i := range memory {
		ids = append(ids, fmt.Sprint("a", i))
	}
	g := s.groups["group"]
	for _, id := range ids {
		file := filepath.Join(g.dir, id)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		m := &message{Envelope: evsourcing.Envelope{ID: id}, file: file}
		g.add(m)
		require.NoError(t, g.remove(m))
	}
	send(t, s, "t", ids[0], "a new one")
	require.NoError(t, next(t, r, "a new one").Ack(t.Context()))
	send(t, s, "t", ids[1], ids[0])
	next(t, r, ids[0])
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{"00000000000000000001.json": "{", "x.json": "{}", "topics": "{}"} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "group"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "group", name), []byte(data), 0o600))
		_, err := Open(dir)
		require.Error(t, err)
	}
}
