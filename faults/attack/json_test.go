package attack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/sqlite"
)

// A bomb is a payload that is little to store and much to decode, or wrong.
type bomb struct {
	name, data string
	fails      bool // to decode into an event whose field is of type any
}

func bombs(size int) []bomb {
	list := func(part string) string {
		return `{"owner":[` + strings.TrimSuffix(strings.Repeat(part, size/len(part)), ",") + `]}`
	}
	return []bomb{
		{"nested arrays", `{"owner":` + strings.Repeat("[", size/2) + strings.Repeat("]", size/2) + `}`, true},
		{"nested objects", `{"owner":` + strings.Repeat(`{"a":`, size/6) + "1" + strings.Repeat("}", size/6) + `}`, true},
		{"arrays that never end", strings.Repeat("[", size), true},
		{"nested just within the limit", `{"owner":` + strings.Repeat("[", 9_990) + strings.Repeat("]", 9_990) + `}`, false},
		{"an array of empty arrays", list("[],"), false},
		{"an array of numbers", list("1,"), false},
		{"a number with many digits", `{"owner":` + strings.Repeat("9", size) + `}`, true},
		{"a number with a huge exponent", `{"owner":1e999999999}`, true},
		{"a tiny number", `{"owner":1e-999999999}`, false},
		{"a key many times", `{` + strings.Repeat(`"owner":1,`, size/10) + `"owner":2}`, false},
		{"many keys that nobody asks for", `{"owner":1` + strings.Repeat(`,"b":[]`, size/8) + `}`, false},
		{"an escaped NUL", `{"owner":"\u0000"}`, false},
		{"half a surrogate", `{"owner":"\ud800"}`, false},
		{"invalid UTF-8", "{\"owner\":\"\xff\xfe\"}", false},
		{"no JSON", "\x00\x01\xff", true},
		{"nothing", "", true},
		{"half of it", `{"owner":`, true},
	}
}

// However a payload is made, decoding it ends with an event or an error that names the
// stored one, and takes a heap that is a multiple of the payload; so do upcasters that
// decode it, and a subscription gives it up by itself and goes on.
func TestJSONBomb(t *testing.T) {
	size := faulttest.Scale(mib/16, mib/8, 4*mib)
	registry := evsourcing.NewRegistry(opened{})
	registry.Upcast("old", "opened", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
		var fields map[string]any
		err := evsourcing.JSON{}.Unmarshal(e.Data, &fields)
		return e, err
	})
	most, failed, list := 0.0, 0, bombs(size)
	for _, b := range list {
		for _, topic := range []string{"opened", "old"} {
			e := newEvent(topic, []byte(b.data))
			e.Stream, e.Version = stream("a"), 7
			var err error
			heap := heapOf(func() { _, err = registry.Decode(t.Context(), &e) })
			most = max(most, heap/(float64(len(b.data)+mib/8)/mib))
			if (err != nil) != b.fails || err != nil && (!strings.Contains(err.Error(), "version 7 of thing/a") || len(err.Error()) > 2000) {
				t.Errorf("%s, topic %s: %.300v", b.name, topic, err)
			}
			if err != nil {
				failed++
			}
		}
	}
	t.Attr("figure", fmt.Sprintf("%d payloads of up to %d KiB, each decoded and upcast: %d errors that name the event, no panic; at most %.0f times the payload in heap", len(list), size>>10, failed, most))
	if most > 100 {
		t.Errorf("decoding takes %.0f times the payload in heap", most)
	}
}

// Stored bombs: an aggregate whose stream has one is an error and no crash, a
// subscription gives up just these, and the view events_readable shows all others, and
// these as far as the database can.
func TestStoredJSONBomb(t *testing.T) {
	size := faulttest.Scale(mib/16, mib/8, 4*mib)
	list := bombs(size)
	registry := evsourcing.NewRegistry(opened{})
	each(t, func(t *testing.T, s store) {
		accounts := evsourcing.NewRepository[account]("account", s, registry, nil)
		bad := 0
		var last evsourcing.AppendResult
		for i, b := range list {
			id := evsourcing.StreamID{Type: "account", ID: fmt.Sprint(i)}
			last = put(t, s, batch(id, newEvent("opened", []byte(b.data))))
			if _, err := accounts.Load(t.Context(), id.ID); (err != nil) != b.fails {
				t.Errorf("%s: Load: %.300v", b.name, err)
			}
			if b.fails {
				bad++
			}
		}
		handled, given := 0, 0
		sub := evsourcing.NewSubscription("bombs", s, s, registry, evsourcing.HandlerFunc(func(_ context.Context, msgs []evsourcing.Message) error {
			handled += len(msgs)
			return nil
		}), &evsourcing.SubscriptionOptions{
			Logger: quiet, Retry: evsourcing.RetryPolicy{MaxAttempts: 1},
			OnFailure: func(context.Context, evsourcing.DeadLetter) error { given++; return nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- sub.Run(ctx) }()
		if err := sub.WaitFor(ctx, last.Position); err != nil {
			t.Error(err)
		}
		cancel()
		<-done
		if handled != len(list)-bad || given != bad {
			t.Errorf("a subscription handled %d and gave up %d, of %d", handled, given, len(list))
		}
		t.Attr("figure", fmt.Sprintf("%d stored payloads of up to %d KiB: a subscription handled %d and gave up %d", len(list), size>>10, handled, given))
	})
	t.Run("the view of sqlite", func(t *testing.T) {
		s := newSQLite(t)
		for _, b := range list {
			put(t, s, batch(stream("a"), newEvent("opened", []byte(b.data))))
		}
		rows := sqliteRows(t, s)
		t.Attr("figure", fmt.Sprintf("events_readable of sqlite shows %d of %d payloads", rows, len(list)))
		if rows != len(list) {
			t.Errorf("%d of %d rows are shown", rows, len(list))
		}
	})
	t.Run("the view of postgres", func(t *testing.T) {
		s, pool, schema := newPostgres(t)
		for _, b := range list {
			put(t, s, batch(stream("a"), newEvent("opened", []byte(b.data))))
		}
		var rows, shown int
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		err := pool.QueryRow(ctx, "SELECT count(*), count(payload) FROM "+schema+".events_readable").Scan(&rows, &shown)
		t.Attr("figure", fmt.Sprintf("events_readable of postgres shows %d of %d events, %d of them as jsonb", rows, len(list), shown))
		if err != nil || rows != len(list) {
			t.Errorf("%d of %d rows are shown, %v", rows, len(list), err)
		}
	})
}

func sqliteRows(t *testing.T, s *sqlite.Store) (rows int) {
	t.Helper()
	err := s.Read(t.Context(), func(c *zsqlite.Conn) error {
		return sqlitex.Execute(c, "SELECT *, length(data) FROM events_readable", &sqlitex.ExecOptions{ResultFunc: func(stmt *zsqlite.Stmt) error {
			rows++
			return nil
		}})
	})
	if err != nil {
		t.Error(err)
	}
	return rows
}

// A CloudEvents message from outside is decoded, or refused with an error, without
// taking more than a multiple of it in heap; one over 64 MiB is refused unread.
func TestCloudEventsBomb(t *testing.T) {
	size := faulttest.Scale(mib/16, mib/8, 4*mib)
	encoder := evsourcing.NewCloudEvents("/attack", evsourcing.NewRegistry(opened{}))
	head := `{"specversion":"1.0","id":"6a1b1c1e-0000-7000-8000-000000000001","source":"/a/b","type":"opened","datacontenttype":"application/json"`
	most, refused, taken := 0.0, 0, 0
	decode := func(data string) (err error) {
		heap := heapOf(func() { _, err = encoder.DecodeMessage([]byte(data)) })
		most = max(most, heap/(float64(len(data)+mib/8)/mib))
		if err != nil {
			refused++
			if len(err.Error()) > 2000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		} else {
			taken++
		}
		return err
	}
	for _, b := range bombs(size) {
		_ = decode(head + `,"data":` + b.data + `}`)
		_ = decode(head + `,"extension":` + b.data + `}`)
		_ = decode(b.data)
	}
	var attributes strings.Builder
	for i := range size / 16 {
		fmt.Fprintf(&attributes, `,"a%08x":"x"`, i)
	}
	if err := decode(head + attributes.String() + `}`); size > 2*evsourcing.MaxMetadataSize && err == nil {
		t.Error("a million attributes were taken")
	}
	if err := decode(strings.Repeat(" ", 4*evsourcing.MaxDataSize) + head + `}`); err == nil || !strings.Contains(err.Error(), "over the limit") {
		t.Errorf("a message over 64 MiB: %v", err)
	}
	t.Attr("figure", fmt.Sprintf("%d messages of up to %d KiB: %d refused, %d decoded, no panic; at most %.0f times the message in heap", refused+taken, size>>10, refused, taken, most))
	if most > 40 {
		t.Errorf("decoding takes %.0f times the message in heap", most)
	}
}

// A snapshot that is a bomb counts as none: the aggregate is replayed.
func TestSnapshotBomb(t *testing.T) {
	size := faulttest.Scale(mib/16, mib/8, 4*mib)
	list := bombs(size)
	each(t, func(t *testing.T, s store) {
		wallets := evsourcing.NewRepository[wallet]("wallet", s, evsourcing.NewRegistry(filled{}), &evsourcing.RepositoryOptions{
			Snapshots: s, SnapshotEvery: 1, Logger: quiet,
		})
		a, err := wallets.Create(t.Context(), "a", func(a *wallet) error {
			evsourcing.Record(a, evsourcing.EventOf[*wallet](filled{"somebody"}))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := wallets.Close(t.Context()); err != nil { // which takes the snapshot
			t.Fatal(err)
		}
		id := evsourcing.StreamID{Type: "wallet", ID: "a"}
		snapshot, ok, err := s.LoadSnapshot(t.Context(), id)
		if err != nil || !ok {
			t.Fatalf("there is no snapshot: %v", err)
		}
		wallets = evsourcing.NewRepository[wallet]("wallet", s, evsourcing.NewRegistry(filled{}), &evsourcing.RepositoryOptions{
			Snapshots: s, SnapshotEvery: 1000, Logger: quiet,
		})
		for _, b := range list {
			if !b.fails {
				continue // whose state is what it says
			}
			snapshot.Data = []byte(strings.Replace(b.data, `"owner"`, `"Owner"`, 1))
			if err := s.SaveSnapshot(t.Context(), snapshot); err != nil {
				t.Fatal(err)
			}
			again, err := wallets.Load(t.Context(), "a")
			if err != nil || again.Owner != a.Owner || again.Version() != 1 {
				t.Errorf("%s: %+v, %.300v", b.name, again, errors.Join(err))
			}
		}
		t.Attr("figure", "snapshots that can't be decoded: the aggregate is replayed from its events")
	})
}
