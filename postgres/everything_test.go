package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// useEverything makes every call of an empty store, and checks what comes back.
func useEverything(t *testing.T, s *postgres.Store, dsn, schema string) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a := stream("a")
	one, many := batch(a, 0, 1), batch(a, 1, 3)
	one.Events[0].Data = []byte{0, 1, 0xff, '\\', '\''}
	many.Events[1].Tags, many.Events[1].Metadata = []string{`t"1`, "t2"}, evsourcing.Metadata{"k": `v\`}
	many.Events[2].Data = nil
	many.Events[2].Time = time.Date(1, 2, 3, 4, 5, 6, 7000, time.UTC)
	put(t, s, one)
	put(t, s, many)
	r := put(t, s, batch(a, evsourcing.AnyVersion, 2), batch(stream("b"), 0, 1))
	if fmt.Sprint(r.Versions) != "[6 1]" {
		t.Errorf("versions %v", r.Versions)
	}
	if r, err := s.Append(ctx, many); err != nil || !r.Repeated || r.Versions[0] != 4 {
		t.Errorf("a repeated append returned %+v, %v", r, err)
	}
	want := append(one.Events, many.Events...)
	n := 0
	for e, err := range s.Load(ctx, a, evsourcing.Range{Until: 4}) {
		must(err)
		w := want[n]
		n++
		if e.ID != w.ID || !bytes.Equal(e.Data, w.Data) || fmt.Sprint(e.Tags, e.Metadata) != fmt.Sprint(w.Tags, w.Metadata) ||
			!e.Time.Equal(w.Time.Truncate(time.Microsecond)) || e.Topic != w.Topic || e.ContentType != w.ContentType {
			t.Errorf("event %d came back as %+v, want %+v", n, e, w)
		}
	}
	if n != 4 {
		t.Errorf("Load yields %d events", n)
	}
	for _, test := range []struct {
		f    evsourcing.Filter
		want int
	}{
		{evsourcing.Filter{}, 5}, {evsourcing.Filter{Topics: []string{"test.happened", "x"}}, 5},
		{evsourcing.Filter{Types: []string{"test"}}, 5}, {evsourcing.Filter{Topics: []string{"none"}}, 0},
	} {
		for _, backward := range []bool{false, true} {
			n := 0
			for _, err := range s.Events(ctx, evsourcing.Range{Backward: backward, After: 1, Until: 6}, test.f) {
				must(err)
				n++
			}
			if n != test.want {
				t.Errorf("Events with %+v yields %d, want %d", test.f, n, test.want)
			}
		}
	}
	head, err := s.Head(ctx)
	must(err)
	if head.Position != r.Position {
		t.Errorf("Head is %+v, want %d", head, r.Position)
	}
	must(s.Wait(ctx, head.Position-1))
	if v, ok, err := s.Find(ctx, a, many.Events[1].ID); err != nil || !ok || v != 3 {
		t.Errorf("Find returned %d, %t, %v", v, ok, err)
	}
	must(s.SaveSnapshot(ctx, evsourcing.Snapshot{Stream: a, Version: 3, EventID: uuid.New(), Fingerprint: "f", Data: []byte{0xff, 0}, Time: time.Now()}))
	if p, ok, err := s.LoadSnapshot(ctx, a); err != nil || !ok || p.Version != 3 || !bytes.Equal(p.Data, []byte{0xff, 0}) {
		t.Errorf("LoadSnapshot returned %+v, %t, %v", p, ok, err)
	}
	c, err := s.Claim(ctx, "name", "owner", time.Minute)
	must(err)
	must(s.SaveCheckpoint(ctx, "name", evsourcing.Checkpoint{Position: 1, EventID: one.Events[0].ID, Token: c.Token}))
	must(s.InTx(ctx, func(ctx context.Context, _ pgx.Tx, store evsourcing.EventStore) error {
		_, err := store.Append(ctx, batch(a, 6, 2))
		return err
	}))
	p, err := newProjection(ctx, s, dsn, "projection", schema+".counts")
	must(err)
	p.wantExact(t, dsn)
	must(s.Replace(ctx, "name", "projection", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "ALTER TABLE "+schema+".counts RENAME TO counted")
		return err
	}))
	must(s.Forget(ctx, "name"))
	if _, ok, err := s.Checkpoint(ctx, "name"); ok || err != nil {
		t.Errorf("after Forget: %t, %v", ok, err)
	}
}
