package sqlite

import (
	"context"
	"errors"
	"testing"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
)

func TestInTxCommitsOrRollsBack(t *testing.T) {
	s := withTable(t, nil)
	boom := errors.New("boom")
	for i, result := range []error{nil, boom} {
		want(t, "InTx", s.InTx(t.Context(), func(ctx context.Context, tx *zsqlite.Conn) error {
			if err := note(tx, i); err != nil {
				return err
			}
			_, err := s.Append(ctx, batch("a", uint64(i), 1))
			return errors.Join(err, result)
		}), result)
	}
	if got := seen(t, s); len(got) != 1 || len(all(t, s)) != 1 {
		t.Errorf("the table has %v, the log %d events", got, len(all(t, s)))
	}
}

func TestReadCannotWrite(t *testing.T) {
	s := withTable(t, nil)
	if err := s.Read(t.Context(), func(conn *zsqlite.Conn) error { return note(conn, 1) }); err == nil {
		t.Error("Read has written")
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	s := withTable(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Read(ctx, func(conn *zsqlite.Conn) error {
		cancel()
		return sqlitex.Execute(conn, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", nil)
	})
	if err == nil {
		t.Error("it has counted for ever")
	}
	if err := s.Read(t.Context(), func(conn *zsqlite.Conn) error {
		return sqlitex.Execute(conn, "SELECT 1", nil)
	}); err != nil {
		t.Errorf("the next reader gets the interrupt: %v", err)
	}
}

func TestReadWithinATransactionSeesIt(t *testing.T) {
	s := withTable(t, nil)
	want(t, "InTx", s.InTx(t.Context(), func(ctx context.Context, tx *zsqlite.Conn) error {
		if err := note(tx, 7); err != nil {
			return err
		}
		n := 0
		err := s.Read(ctx, func(conn *zsqlite.Conn) error {
			return sqlitex.Execute(conn, "SELECT 1 FROM seen", &sqlitex.ExecOptions{
				ResultFunc: func(*zsqlite.Stmt) error { n++; return nil },
			})
		})
		if n != 1 {
			t.Errorf("it sees %d rows", n)
		}
		return err
	}), nil)
}

func TestHandlerWithoutMessagesSavesTheCheckpoint(t *testing.T) {
	s := withTable(t, nil)
	h := s.Handler(func(context.Context, *zsqlite.Conn, []evsourcing.Message) error {
		t.Error("the function was called")
		return nil
	})
	want(t, "HandleTx", h.HandleTx(t.Context(), "n", at(0, 0), at(3, 0), nil), nil)
	if got := checkpointOf(t, s, "n"); got.Position != 3 {
		t.Errorf("the checkpoint is %+v", got)
	}
	want(t, "another place", h.HandleTx(t.Context(), "n", at(1, 0), at(4, 0), nil), evsourcing.ErrFenced)
}

// Errors that will go away are told from those of the work.
func TestHandlerTellsWhoseErrorItIs(t *testing.T) {
	s := withTable(t, nil)
	isTx := func(err error) bool { return errors.As(err, new(*evsourcing.TxError)) }
	handle := func(f func(tx *zsqlite.Conn) error) error {
		return s.Handler(func(_ context.Context, tx *zsqlite.Conn, _ []evsourcing.Message) error { return f(tx) }).
			HandleTx(t.Context(), "n", at(0, 0), at(1, 0), oneMessage)
	}
	if err := handle(func(*zsqlite.Conn) error { return errors.New("boom") }); err == nil || isTx(err) {
		t.Errorf("of the work: %v", err)
	}
	if err := handle(func(tx *zsqlite.Conn) error { return sqlitex.Execute(tx, "SELECT nonsense", nil) }); err == nil || isTx(err) {
		t.Errorf("of a statement: %v", err)
	}
	if err := handle(func(tx *zsqlite.Conn) error {
		if err := sqlitex.ExecuteTransient(tx, "PRAGMA max_page_count = 1", nil); err != nil { // raised to what there is
			return err
		}
		return sqlitex.Execute(tx, "CREATE TABLE more AS SELECT zeroblob(1000000)", nil)
	}); !isTx(err) {
		t.Errorf("of a full disk: %v", err)
	}
}
