package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// One member of a group can't be stored, whatever the database says about it: the others are.
func TestMemberOfAGroupThatAlwaysFailsDisturbsNoOther(t *testing.T) {
	for _, code := range []string{"P0001", "23505", "40001", "40P01", "23503"} {
		t.Run(code, func(t *testing.T) {
			dsn := serverDSN(t)
			schema := newSchema(t, dsn)
			s := open(t, dsn, quiet(postgres.Options{Schema: schema, NoListen: true, Committers: 1}))
			run(t, dsn, strings.ReplaceAll(`CREATE FUNCTION {s}.bad() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN IF NEW.topic = 'bad' THEN RAISE EXCEPTION 'bad' USING ERRCODE = '`+code+`'; END IF; RETURN NEW; END $$;
				CREATE TRIGGER bad BEFORE INSERT ON {s}.events FOR EACH ROW EXECUTE FUNCTION {s}.bad()`, "{s}", schema))
			_, tx := holder(t, dsn)
			do(t, tx, fmt.Sprintf(positionLock, schema))
			var wg sync.WaitGroup
			wg.Go(func() { put(t, s, batch(stream("first"), 0, 1)) })
			eventually(t, "the first waits", func() bool { return waiters(t, dsn) >= 1 })
			var started sync.WaitGroup
			for i := range 6 {
				started.Add(1)
				wg.Go(func() {
					b := batch(stream(fmt.Sprint(i)), 0, 1)
					if i == 2 {
						b.Events[0].Topic = "bad"
					}
					started.Done()
					_, err := s.Append(t.Context(), b)
					if (err != nil) != (i == 2) || errors.Is(err, evsourcing.ErrUncertain) {
						t.Errorf("member %d: %v", i, err)
					}
				})
			}
			started.Wait()
			<-time.After(50 * time.Millisecond)
			do(t, tx, "COMMIT")
			wg.Wait()
		})
	}
}

// An owner that is paused, or cut off, while it sends its commit holds nothing that the
// next owner needs for longer than HandlerTime.
func TestOwnerThatIsPausedInTheMiddleOfItsCommitHoldsUpNoNextOwner(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	direct := open(t, dsn, quiet(postgres.Options{Schema: schema, NoListen: true}))
	proxy, through := faulttest.NewProxy(t, dsn)
	s, err := postgres.Open(t.Context(), through, quiet(postgres.Options{Schema: schema, NoListen: true, HandlerTime: 300 * time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, batch(stream("a"), 0, 2))
	msgs := messages(t, s)
	var on atomic.Bool
	stalled, resume := make(chan struct{}), make(chan struct{})
	proxy.Request = func() bool {
		if on.CompareAndSwap(true, false) {
			close(stalled)
			<-resume
		}
		return false
	}
	h := s.Handler(func(ctx context.Context, _ pgx.Tx, _ []evsourcing.Message) error {
		b := batch(stream("reaction"), evsourcing.AnyVersion, 1)
		b.Events[0].Data = []byte(strings.Repeat(" ", 1<<18) + faulttest.Marker)
		_, err := s.Append(ctx, b)
		return err
	})
	c, err := s.Claim(t.Context(), "name", "one", 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], c.Token), msgs[:1]); err != nil {
		t.Fatal(err)
	}
	on.Store(true)
	done := make(chan error, 1)
	go func() { done <- h.HandleTx(t.Context(), "name", at(msgs[0], c.Token), at(msgs[1], c.Token), msgs[1:]) }()
	<-stalled
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for {
		_, err = direct.Claim(ctx, "name", "two", time.Second)
		if !errors.Is(err, evsourcing.ErrFenced) {
			break
		}
	}
	if err != nil {
		t.Errorf("5 s after the owner was paused, with a lease of 500 ms and a HandlerTime of 300 ms, Claim returned %v", err)
	}
	close(resume)
	<-done
	ended, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	_ = s.Close(ended)
}

// What a handler's function gets from another database, or from another handler, is an
// error of the work.
func TestErrorOfAnotherStoreIsTheWorks(t *testing.T) {
	s := newStore(t)
	put(t, s, batch(stream("a"), 0, 1))
	msgs := messages(t, s)
	other := &pgconn.PgError{Severity: "ERROR", Code: "40001"}
	for _, failure := range []error{
		&evsourcing.TxError{Err: other}, fmt.Errorf("another handler: %w", &evsourcing.TxError{Err: other}), other,
		&pgconn.PgError{Severity: "FATAL", Code: "57P01"},
	} {
		h := s.Handler(func(context.Context, pgx.Tx, []evsourcing.Message) error { return failure })
		err := h.HandleTx(t.Context(), "name", evsourcing.Checkpoint{}, at(msgs[0], 0), msgs)
		if _, ok := errors.AsType[*evsourcing.TxError](err); ok || errors.As(err, new(*evsourcing.TxError)) {
			t.Errorf("HandleTx whose work returned %v returned a TxError", failure)
		}
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != other.Code && pg.Code != "57P01" || err.Error() != failure.Error() {
			t.Errorf("HandleTx whose work returned %v returned %v", failure, err)
		}
	}
	calls := 0
	h := s.Handler(func(context.Context, pgx.Tx, []evsourcing.Message) error {
		calls++
		return &evsourcing.TxError{Err: other}
	})
	sub := evsourcing.NewSubscription("name", s, s, evsourcing.NewRegistry(happened{}), h, &evsourcing.SubscriptionOptions{
		Retry:  evsourcing.RetryPolicy{MaxAttempts: 2, InitialInterval: time.Millisecond, MaxInterval: time.Millisecond},
		Logger: quiet(postgres.Options{}).Logger,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := sub.Run(ctx); err == nil {
		t.Errorf("Run tried an error of the work for good, %d times", calls)
	}
}

// Reads of checkpoints within a transaction need no second connection.
func TestCheckpointInATransactionOfAPoolOfOne(t *testing.T) {
	dsn := serverDSN(t)
	s := open(t, withParam(t, dsn, "pool_max_conns", "1"), quiet(postgres.Options{Schema: newSchema(t, dsn), NoListen: true}))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	saved := evsourcing.Checkpoint{Position: 3}
	failure := errors.New("no")
	err := s.InTx(ctx, func(ctx context.Context, _ pgx.Tx, _ evsourcing.EventStore) error {
		if err := s.SaveCheckpoint(ctx, "name", saved); err != nil {
			t.Errorf("SaveCheckpoint with a transaction's context: %v", err)
		}
		if c, ok, err := s.Checkpoint(ctx, "name"); err != nil || !ok || c != saved {
			t.Errorf("Checkpoint with a transaction's context: %+v, %t, %v", c, ok, err)
		}
		if _, err := s.Claim(ctx, "name", "one", time.Minute); !contains(err, "transaction") {
			t.Errorf("Claim with a transaction's context: %v", err)
		}
		if err := s.Forget(ctx, "name"); !contains(err, "transaction") {
			t.Errorf("Forget with a transaction's context: %v", err)
		}
		return failure
	})
	if err != failure { //nolint:errorlint // the very same
		t.Error(err)
	}
	if _, ok, err := s.Checkpoint(ctx, "name"); ok || err != nil {
		t.Errorf("the checkpoint of a transaction that was rolled back: %t, %v", ok, err)
	}
}

// A store that is closed says so.
func TestReadsAfterCloseSayThatTheStoreIsClosed(t *testing.T) {
	dsn := serverDSN(t)
	s, err := postgres.Open(t.Context(), dsn, &postgres.Options{Schema: newSchema(t, dsn)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Load(t.Context(), stream("a"), evsourcing.Range{}) {
		if !errors.Is(err, evsourcing.ErrClosed) {
			t.Errorf("Load: %v", err)
		}
	}
	if _, err := s.Head(t.Context()); !errors.Is(err, evsourcing.ErrClosed) {
		t.Errorf("Head: %v", err)
	}
}

// A schema's owner that may not make schemas opens a store in one that was made for it.
func TestOwnerOfASchemaOpensAStoreInIt(t *testing.T) {
	dsn := serverDSN(t)
	schema, none := newSchema(t, dsn), newSchema(t, dsn)
	owner := role(t, dsn, schema, func(schema, role string) (string, error) {
		return "CREATE SCHEMA " + schema + " AUTHORIZATION " + role, nil
	})
	put(t, open(t, owner, &postgres.Options{Schema: schema}), batch(stream("a"), 0, 1))
	_, err := postgres.Open(t.Context(), owner, &postgres.Options{Schema: none})
	if want := fmt.Sprintf("postgres.Schema(%q, 0)", none); !contains(err, want) {
		t.Errorf("Open in a schema that is not there returned %v, which does not name %s", err, want)
	}
}

// Connections that broke while nobody used them are not the reader's fault.
func TestReadIsDoneAgainWhenAllConnectionsBroke(t *testing.T) {
	dsn := serverDSN(t)
	proxy, through := faulttest.NewProxy(t, dsn)
	const conns = 6
	s := open(t, withParam(t, through, "pool_max_conns", strconv.Itoa(conns)), quiet(postgres.Options{Schema: newSchema(t, dsn), NoListen: true}))
	b := batch(stream("a"), 0, 3)
	put(t, s, b)
	for name, read := range map[string]func() error{
		"Load": func() error {
			for e, err := range s.Load(t.Context(), stream("a"), evsourcing.Range{}) {
				if err != nil || e.ID != b.Events[e.Version-1].ID {
					return fmt.Errorf("event %+v, %w", e, err)
				}
			}
			return nil
		},
		"Events": func() error {
			for _, err := range s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{Topics: []string{"none"}}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Head":         func() error { return second(s.Head(t.Context())) },
		"Find":         func() error { _, _, err := s.Find(t.Context(), stream("a"), b.Events[0].ID); return err },
		"LoadSnapshot": func() error { _, _, err := s.LoadSnapshot(t.Context(), stream("a")); return err },
		"Checkpoint":   func() error { _, _, err := s.Checkpoint(t.Context(), "name"); return err },
	} {
		var together, done sync.WaitGroup // all connections of the pool are in use at one time
		together.Add(conns)
		for range conns {
			done.Go(func() {
				err := s.InTx(t.Context(), func(context.Context, pgx.Tx, evsourcing.EventStore) error {
					together.Done()
					together.Wait()
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		proxy.CutAll()
		if err := read(); err != nil {
			t.Fatalf("%s after all connections were cut returned %v", name, err)
		}
	}
}
