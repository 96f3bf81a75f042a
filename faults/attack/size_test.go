package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"
	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// refused checks that a store refuses an append with an error that says why, keeps
// nothing of it, and goes on.
func refused(t *testing.T, s store, why string, batches ...evsourcing.Batch) error {
	t.Helper()
	before, err := s.Head(t.Context())
	if err != nil {
		return err
	}
	_, err = s.Append(t.Context(), batches...)
	switch {
	case err == nil:
		return errors.New("it was accepted")
	case errors.Is(err, evsourcing.ErrUncertain) || !strings.Contains(err.Error(), why) || len(err.Error()) > 1000:
		return fmt.Errorf("the error is %.300w, want one that says %q", err, why)
	}
	if after, err := s.Head(t.Context()); err != nil || after != before {
		return fmt.Errorf("the head was %v, and is %v: %w", before, after, err)
	}
	_, err = s.Append(t.Context(), batch(stream("good"), newEvent("good", nil)))
	return err
}

// An event of 64 MiB is refused before anything is done with it: the limit is
// MaxDataSize, 16 MiB.
func TestLargeEvent(t *testing.T) {
	e := newEvent("large", bytes.Repeat([]byte("x"), 64*mib))
	each(t, func(t *testing.T, s store) {
		put(t, s, batch(stream("first"), newEvent("good", nil)))
		var err error
		heap := heapOf(func() {
			err = refused(t, s, "over the limit of 16777216", batch(stream("a"), newEvent("good", nil), e))
		})
		t.Attr("figure", fmt.Sprintf("an event of 64 MiB: refused, and %.1f MiB of heap taken for it", heap))
		if err != nil {
			t.Error(err)
		}
		if heap > 4 {
			t.Errorf("%.1f MiB of heap were taken", heap)
		}
	})
}

// Without Validate, the database takes it.
func TestLargeEventControl(t *testing.T) {
	s := newSQLite(t)
	large := bytes.Repeat([]byte("x"), 64*mib)
	put(t, s, batch(stream("a"), newEvent("large", nil)))
	err := s.InTx(t.Context(), func(_ context.Context, c *zsqlite.Conn) error {
		return sqlitex.Execute(c, "UPDATE events SET data = ?", &sqlitex.ExecOptions{Args: []any{large}})
	})
	if err != nil {
		t.Errorf("the database refuses it too: %v", err)
	}
	t.Attr("figure", "without the check, an event of 64 MiB is stored in SQLite")
}

// Events that are each as large as may be are refused together, over MaxAppendSize, 64
// MiB; before the limit, an append of 640 MiB kept PostgreSQL busy for minutes, in which
// nobody else could append. What is within it is stored, by a heap that is a small
// multiple of it.
func TestLargeAppend(t *testing.T) {
	data := bytes.Repeat([]byte("x"), evsourcing.MaxDataSize-1000)
	events := func(n int) (list []evsourcing.StoredEvent) {
		for range n {
			list = append(list, newEvent("large", data))
		}
		return list
	}
	within := faulttest.Scale(1, 1, 4)
	each(t, func(t *testing.T, s store) {
		if err := refused(t, s, "over the limit of 67108864", batch(stream("a"), events(3)...), batch(stream("b"), events(2)...)); err != nil {
			t.Error(err)
		}
		heap := heapOf(func() { put(t, s, batch(stream("a"), events(within)...)) })
		t.Attr("figure", fmt.Sprintf("80 MiB in one append: refused; %d MiB: stored, with %.0f MiB of heap", 16*within, heap))
		if limit := 5*16*float64(within) + 16; heap > limit {
			t.Errorf("%.0f MiB of heap were taken, over %.0f", heap, limit)
		}
	})
}

// The appends of one transaction of PostgreSQL are sent together, and together they
// have the limit of one.
func TestLargeTransaction(t *testing.T) {
	s, _, _ := newPostgres(t)
	data := bytes.Repeat([]byte("x"), evsourcing.MaxDataSize)
	stored, enough := 0, errors.New("enough")
	err := s.InTx(t.Context(), func(ctx context.Context, _ pgx.Tx, s evsourcing.EventStore) error {
		for i := range 5 {
			_, err := s.Append(ctx, batch(stream("a"), newEvent("large", data)))
			if refused := err != nil; refused != (i >= 3) { // each has a little more than 16 MiB
				return fmt.Errorf("append %d: %w", i, errors.Join(err))
			} else if !refused {
				stored++
			}
		}
		return enough // to send them takes long
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	t.Attr("figure", fmt.Sprintf("five appends of 16 MiB in one transaction: %d accepted, the others refused", stored))
}

// Tags and metadata have 1 MiB together, MaxMetadataSize: as a single value, or as a
// million tags of a byte each. More is refused, also where it comes from a context.
func TestMetadataBomb(t *testing.T) {
	tags := make([]string, evsourcing.MaxMetadataSize)
	for i := range tags {
		tags[i] = string(rune('a' + i%26))
	}
	worst := newEvent("worst", nil)
	worst.Tags = tags[:faulttest.Scale(1<<12, 1<<15, 1<<20)]
	escaped := newEvent("escaped", nil)
	escaped.Metadata = evsourcing.Metadata{"k": strings.Repeat("\x01", evsourcing.MaxMetadataSize-1)} // six bytes each in JSON
	each(t, func(t *testing.T, s store) {
		large := newEvent("large", nil)
		large.Metadata = evsourcing.Metadata{"k": strings.Repeat("x", 16*mib)}
		many := newEvent("many", nil)
		many.Tags = append(tags[:len(tags):len(tags)], "x")
		names := newEvent("names", nil)
		names.Metadata = evsourcing.Metadata{}
		for i := range evsourcing.MaxMetadataSize / 8 {
			names.Metadata[fmt.Sprintf("key-%06d", i)] = ""
		}
		for _, e := range []evsourcing.StoredEvent{large, many, names} {
			if err := refused(t, s, "over the limit of 1048576", batch(stream("a"), e)); err != nil {
				t.Errorf("%s: %v", e.Topic, err)
			}
		}
		accounts := evsourcing.NewRepository[account]("account", s, evsourcing.NewRegistry(opened{}), nil)
		_, err := accounts.Create(evsourcing.ContextWithMetadata(t.Context(), large.Metadata), "a", open)
		if err == nil || !strings.Contains(err.Error(), "over the limit of 1048576") {
			t.Errorf("metadata of the context: %v", err)
		}
		heap := heapOf(func() { put(t, s, batch(stream("worst"), worst, escaped)) })
		got := collect(t, s.Load(t.Context(), stream("worst"), evsourcing.Range{}))
		if len(got) != 2 || !slices.Equal(got[0].Tags, worst.Tags) || got[1].Metadata["k"] != escaped.Metadata["k"] {
			t.Error("the worst that is allowed does not come back")
		}
		t.Attr("figure", fmt.Sprintf("over 1 MiB of tags or metadata: refused in 4 of 4 ways; %s tags: stored, with %.0f MiB of heap", humanize.Comma(int64(len(worst.Tags))), heap))
		if heap > 100 {
			t.Errorf("%.0f MiB of heap were taken", heap)
		}
	})
}

// An append of 100,000 batches is stored whole, and recognised when it comes again.
func TestManyBatches(t *testing.T) {
	n := faulttest.Scale(1_000, 5_000, 100_000)
	list := make([]evsourcing.Batch, n)
	for i := range list {
		list[i] = batch(stream(fmt.Sprint("s", i)), newEvent("one", []byte("{}")))
	}
	each(t, func(t *testing.T, s store) {
		began := time.Now()
		var first evsourcing.AppendResult
		heap := heapOf(func() { first = put(t, s, list...) })
		took := time.Since(began)
		again := put(t, s, list...)
		head, err := s.Head(t.Context())
		if err != nil || head.Position != first.Position || len(first.Versions) != n || !again.Repeated || again.Position != first.Position {
			t.Errorf("the head is %v, %v; again: %t", head, err, again.Repeated)
		}
		t.Attr("figure", fmt.Sprintf("%s batches in one append: stored in %v, with %.0f MiB of heap, and recognised as repeated", humanize.Comma(int64(n)), took.Round(time.Millisecond), heap))
	})
}

// A limit, an end and a start as large as can be take no more than what they yield.
func TestHugeRange(t *testing.T) {
	each(t, func(t *testing.T, s store) {
		put(t, s, batch(stream("a"), newEvent("one", nil), newEvent("two", nil)))
		heap := heapOf(func() {
			for _, r := range []evsourcing.Range{
				{Limit: math.MaxInt}, {Limit: math.MaxInt, Backward: true}, {Until: math.MaxUint64, Limit: math.MaxInt}, {Until: math.MaxUint64, Backward: true},
			} {
				if n := len(collect(t, s.Load(t.Context(), stream("a"), r))); n != 2 {
					t.Errorf("Load by %+v yields %d events", r, n)
				}
				if n := len(collect(t, s.Events(t.Context(), r, evsourcing.Filter{Topics: []string{"one", "two"}}))); n != 2 {
					t.Errorf("Events by %+v yields %d events", r, n)
				}
			}
			if n := len(collect(t, s.Events(t.Context(), evsourcing.Range{After: math.MaxUint64}, evsourcing.Filter{}))); n != 0 {
				t.Errorf("beyond all positions there are %d events", n)
			}
		})
		t.Attr("figure", fmt.Sprintf("ranges with the greatest limit and end: %.1f MiB of heap", heap))
		if heap > 8 {
			t.Errorf("%.1f MiB of heap were taken", heap)
		}
	})
}
