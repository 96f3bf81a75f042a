package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// marked is batch with the faulttest.Marker in its payloads.
func marked(id evsourcing.StreamID, expected uint64, n int) evsourcing.Batch {
	b := batch(id, expected, n)
	for i := range b.Events {
		b.Events[i].Data = []byte(`{"text": "` + faulttest.Marker + `"}`)
	}
	return b
}

// The server has committed, and the answer is lost: Append finds out, and its caller
// sees neither an error nor a difference.
func TestAppendsWhoseRepliesAreCutSucceedOnce(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	proxy, through := faulttest.NewProxy(t, dsn)
	var replies, cuts atomic.Int64
	proxy.Cut = func() bool {
		if replies.Add(1)%2 != 0 {
			return false
		}
		cuts.Add(1)
		return true
	}
	s := open(t, through, quiet(postgres.Options{Schema: schema, NoListen: true}))
	want := int64(faulttest.Scale(30, 200, 10_000))
	const writers = 6
	var wg sync.WaitGroup
	var counts [writers]uint64
	for w := range writers {
		wg.Go(func() {
			// Some expect a version, and one event or several; others do not.
			own, n := stream(fmt.Sprint("own-", w)), uint64(1+w%2)
			for cuts.Load() < want {
				expected := counts[w]
				if w%3 == 2 {
					expected = evsourcing.AnyVersion
				}
				r, err := s.Append(t.Context(), marked(own, expected, int(n)))
				if err != nil || r.Repeated || r.Versions[0] != counts[w]+n {
					t.Errorf("Append returned %+v, %v, after %d events", r, err, counts[w])
					return
				}
				counts[w] += n
			}
		})
	}
	wg.Wait()
	total := uint64(0)
	for w, n := range counts {
		total += n
		if head, err := headOf(t.Context(), s, stream(fmt.Sprint("own-", w))); err != nil || head != n {
			t.Errorf("writer %d: %d events were acknowledged, the stream is at version %d, %v", w, n, head, err)
		}
	}
	if n := query[int64](t, dsn, "SELECT count(*) FROM "+schema+".events"); n != int64(total) {
		t.Errorf("%d events were acknowledged, %d are stored", total, n)
	}
	t.Logf("%d replies were cut", cuts.Load())
}

// The connection breaks while the server still works on the append: the store repeats
// it, and both attempts arrive.
func TestAppendThatArrivesTwiceIsStoredOnce(t *testing.T) {
	c := faulttest.SharedCluster(t)
	for _, test := range []struct {
		name     string
		expected uint64
		n        int
	}{{"one event", 0, 1}, {"several events", 0, 3}, {"any version", evsourcing.AnyVersion, 2}} {
		t.Run(test.name, func(t *testing.T) {
			dsn := c.Database(t)
			proxy, through := faulttest.NewProxy(t, dsn)
			var requests atomic.Int64
			proxy.Request = func() bool { return requests.Add(1) == 1 }
			s := open(t, through, quiet(postgres.Options{NoListen: true}))
			_, tx := holder(t, dsn)
			do(t, tx, fmt.Sprintf(positionLock, "evsourcing"))
			var wg sync.WaitGroup
			wg.Go(func() {
				r, err := s.Append(t.Context(), marked(stream("a"), test.expected, test.n))
				if err != nil || r.Repeated || r.Versions[0] != uint64(test.n) {
					t.Errorf("Append returned %+v, %v", r, err)
				}
			})
			eventually(t, "both attempts wait for the lock", func() bool { return waiters(t, dsn) == 2 })
			do(t, tx, "COMMIT")
			wg.Wait()
			eventually(t, "both attempts end", func() bool {
				return query[int](t, dsn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1163088725") == 0
			})
			if head, err := headOf(t.Context(), s, stream("a")); err != nil || head != uint64(test.n) {
				t.Errorf("the stream is at version %d, %v", head, err)
			}
			if n := query[int](t, dsn, "SELECT count(*) FROM evsourcing.events"); n != test.n {
				t.Errorf("%d events are stored", n)
			}
		})
	}
}

// The connection breaks while the server still works on the append, which expects a
// version that the stream is not at yet. It may get there before the server gets on: so
// this is no conflict, which would mean that nothing is stored.
func TestAppendThatMayYetFitIsUncertain(t *testing.T) {
	dsn := faulttest.SharedCluster(t).Database(t)
	proxy, through := faulttest.NewProxy(t, dsn)
	var requests atomic.Int64
	proxy.Request = func() bool { return requests.Add(1) == 1 }
	s := open(t, through, quiet(postgres.Options{NoListen: true}))
	_, tx := holder(t, dsn)
	do(t, tx, fmt.Sprintf(positionLock, "evsourcing"))
	b := marked(stream("a"), 1, 2)
	if _, err := s.Append(t.Context(), b); !errors.Is(err, evsourcing.ErrUncertain) || errors.Is(err, evsourcing.ErrConflict) {
		t.Errorf("Append returned %v", err)
	}
	if n := waiters(t, dsn); n != 1 {
		t.Fatalf("%d attempts wait for the lock", n)
	}
	do(t, tx, `INSERT INTO evsourcing.events (position, version, time, id, type, stream, topic, content_type, data)
		VALUES (nextval('evsourcing.positions'), 1, 0, gen_random_uuid(), 'test', 'a', 'test.happened', '', '')`)
	do(t, tx, "COMMIT")
	eventually(t, "the attempt is stored", func() bool {
		return query[int](t, dsn, "SELECT count(*) FROM evsourcing.events") == 3
	})
	if r, err := s.Append(t.Context(), b); err != nil || !r.Repeated || r.Versions[0] != 3 {
		t.Errorf("repeated, it returned %+v, %v", r, err)
	}
	// Where it can't fit any more, whatever the server still does, it is a conflict.
	requests.Store(0)
	if _, err := s.Append(t.Context(), marked(stream("a"), 2, 2)); !errors.Is(err, evsourcing.ErrConflict) {
		t.Errorf("an append to a version that has passed returned %v", err)
	}
}

// A caller that does not wait for what is found out gets ErrUncertain, and may repeat.
func TestAppendIsUncertainWhenTheDatabaseStaysAway(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	proxy, through := faulttest.NewProxy(t, dsn)
	s, err := postgres.Open(t.Context(), through, quiet(postgres.Options{Schema: schema, NoListen: true}))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, batch(stream("a"), 0, 1))
	proxy.Cut = func() bool {
		proxy.Stop()
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	b := marked(stream("a"), 1, 1)
	if _, err := s.Append(ctx, b); !errors.Is(err, evsourcing.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Append returned %v, want ErrUncertain", err)
	}
	direct := open(t, dsn, &postgres.Options{Schema: schema})
	if r, err := direct.Append(t.Context(), b); err != nil || !r.Repeated {
		t.Errorf("repeating it returned %+v, %v, want Repeated", r, err)
	}
	ended, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	if err := s.Close(ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close of a store that still tries to find out returned %v", err)
	}
}

// Of a transaction whose commit was cut, the appends tell what came of it.
func TestTransactionWhoseCommitIsCut(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	proxy, through := faulttest.NewProxy(t, dsn)
	s := open(t, through, quiet(postgres.Options{Schema: schema, NoListen: true}))
	direct := open(t, dsn, &postgres.Options{Schema: schema})
	var on atomic.Bool
	proxy.Cut = func() bool { return on.CompareAndSwap(true, false) }
	for i := range uint64(10) {
		err := s.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx, store evsourcing.EventStore) error {
			_, err := store.Append(ctx, marked(stream("a"), i, 1))
			on.Store(i > 0) // the statements are prepared then
			return err
		})
		if err != nil {
			t.Errorf("InTx whose commit was cut returned %v", err)
		}
	}
	// Without appends nobody can tell.
	err := s.InTx(t.Context(), func(_ context.Context, tx pgx.Tx, _ evsourcing.EventStore) error {
		do(t, tx, "SELECT 'nothing of note'")
		proxy.CutAll()
		return nil
	})
	if err == nil {
		t.Error("InTx whose connection was cut succeeded")
	}
	if head, _ := headOf(t.Context(), direct, stream("a")); head != 10 {
		t.Errorf("the stream is at version %d", head)
	}
}
