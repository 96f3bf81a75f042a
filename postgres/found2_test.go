package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/postgres"
)

// What a transaction will append is loaded as if it were stored.
func TestLoadInATransactionIsLikeOneAfterIt(t *testing.T) {
	s := newStore(t)
	for stored := range uint64(4) {
		for own := range 4 {
			if stored == 0 && own == 0 {
				continue
			}
			id, all := stream(fmt.Sprint("tx", stored, own)), stream(fmt.Sprint("all", stored, own))
			put(t, s, batch(all, 0, int(stored)+own))
			if stored > 0 {
				put(t, s, batch(id, 0, int(stored)))
			}
			err := s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
				if own > 0 {
					put(t, txContext{s, ctx}, batch(id, stored, own))
				}
				for after := range uint64(7) {
					for until := range uint64(7) {
						for limit := range 7 {
							for _, backward := range []bool{false, true} {
								r := evsourcing.Range{After: after, Until: until, Limit: limit, Backward: backward}
								if got, want := versions(t, ctx, s, id, r), versions(t, t.Context(), s, all, r); got != want {
									t.Errorf("%d stored, %d own, %+v: %q, want %q", stored, own, r, got, want)
								}
							}
						}
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Servers and roles may print bytea in the old format.
func TestDataInTheOldOutputFormatIsRightOrAnError(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			dsn := withParam(t, withParam(t, serverDSN(t), "default_query_exec_mode", mode), "bytea_output", "escape")
			s := open(t, dsn, &postgres.Options{Schema: newSchema(t, serverDSN(t))})
			for i, data := range [][]byte{[]byte("12abcd"), {}, []byte(`{"a":1}`), {0, 1, 255}} {
				b := batch(stream(fmt.Sprint(i)), 0, 1)
				b.Events[0].Data = data
				put(t, s, b)
				for e, err := range s.Load(t.Context(), stream(fmt.Sprint(i)), evsourcing.Range{}) {
					if err == nil && !bytes.Equal(e.Data, data) || err != nil && !strings.Contains(err.Error(), "bytea_output") {
						t.Errorf("%q came back as %q, %v", data, e.Data, err)
					}
				}
			}
		})
	}
}

// Close while others begin to wait, and transactions end.
func TestCloseRacesWithWaitersAndTransactions(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	first := open(t, dsn, quiet(postgres.Options{Schema: schema}))
	put(t, first, batch(stream("a"), 0, 1))
	pool := newPool(t, dsn)
	for i := range faulttest.Scale(10, 60, 1000) {
		s, err := postgres.New(t.Context(), pool, quiet(postgres.Options{Schema: schema, PollInterval: time.Millisecond}))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(w+1)*time.Millisecond)
					err := s.Wait(ctx, 1<<40)
					cancel()
					if errors.Is(err, evsourcing.ErrClosed) {
						return
					}
				}
			})
		}
		for w := range 2 {
			wg.Go(func() {
				for n := 0; ; n++ {
					err := s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
						_, err := store.Append(ctx, batch(stream(fmt.Sprint(i, w, n)), 0, 1))
						return err
					})
					if errors.Is(err, evsourcing.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		<-time.After(time.Duration(i%7) * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		cancel()
		wg.Wait()
	}
}
