package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

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
	c := faulttest.SharedCluster(t)
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
