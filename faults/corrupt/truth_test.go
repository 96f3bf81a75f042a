package corrupt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A reader is what a store is read by. It may have Check and Append too.
type reader interface {
	Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error]
	Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error]
	Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (version uint64, ok bool, err error)
}

type checker interface {
	Check(ctx context.Context) error
}

type appender interface {
	Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error)
}

// A truth is what was stored.
type truth struct {
	events []evsourcing.StoredEvent // in the order of the log
	ends   []int                    // how many events there were after each append
}

// fill stores appends of all kinds of events, and remembers them.
func (w *truth) fill(ctx context.Context, s appender, appends int) error {
	for range appends {
		n := len(w.ends)
		b := evsourcing.Batch{Stream: evsourcing.StreamID{Type: fmt.Sprint("type-", n%3), ID: fmt.Sprint("stream-", n%7)}, Expected: evsourcing.AnyVersion}
		for i := range 1 + n%4 {
			e := evsourcing.StoredEvent{
				ID: uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n, " ", i)), Topic: fmt.Sprint("topic-", (n+i)%5), ContentType: "application/json",
				Time: time.Date(2025, 1, 2, 3, 4, n, i*1000, time.UTC), Data: fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, string(make([]byte, n%40))),
			}
			switch (n + i) % 5 {
			case 0:
				e.Tags = []string{"a tag", fmt.Sprint("another ", n)}
			case 1:
				e.Metadata = evsourcing.Metadata{"user": fmt.Sprint("somebody ", n)}
			case 2:
				e.Data, e.ContentType = make([]byte, 150*n), "application/octet-stream" // which can't be compressed
				_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(e.Data)
			}
			b.Events = append(b.Events, e)
		}
		r, err := s.Append(ctx, b)
		if err != nil {
			return err
		}
		for i := range b.Events {
			e := b.Events[i]
			left := uint64(len(b.Events) - 1 - i)
			e.Stream, e.Version, e.Position = b.Stream, r.Versions[0]-left, r.Position-left
			w.events = append(w.events, e)
		}
		w.ends = append(w.ends, len(w.events))
	}
	return nil
}

// An outcome is what came of one damage.
type outcome struct {
	reported []error
	refused  bool   // Open says that it is the log
	late     bool   // only Check or Append reported it
	wrong    string // what was read and not stored, or not read though stored
	appends  int    // how many of the appends were read, if nothing was wrong
}

func (o *outcome) report(err error) {
	if err != nil {
		o.reported = append(o.reported, err)
	}
}

func (o *outcome) differ(format string, args ...any) {
	if o.wrong == "" {
		o.wrong = fmt.Sprintf(format, args...)
	}
}

// examine reads everything in every way, and compares. What is missing at the end of
// the log is no difference if it is whole appends, but counted.
func (w *truth) examine(ctx context.Context, s reader) (o outcome) {
	got, err := collect(s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}))
	o.report(err)
	want := w.events
	if err == nil {
		o.appends = slices.Index(append([]int{0}, w.ends...), len(got))
		want = want[:min(len(want), len(got))]
		if o.appends < 0 {
			o.differ("Events yields %d events, of %d", len(got), len(w.events))
		}
	}
	for i := range got {
		if i >= len(want) || !equal(got[i], want[i]) {
			o.differ("the event that Events yields at position %d is not the one stored", got[i].Position)
			break
		}
	}
	streams := map[evsourcing.StreamID][]evsourcing.StoredEvent{}
	for _, e := range w.events { // of those that are gone too
		streams[e.Stream] = nil
	}
	for _, e := range want {
		streams[e.Stream] = append(streams[e.Stream], e)
	}
	for id, list := range streams {
		got, err := collect(s.Load(ctx, id, evsourcing.Range{}))
		o.report(err)
		if len(got) > len(list) || err == nil && len(got) < len(list) || !slices.EqualFunc(got, list[:len(got)], equal) {
			o.differ("Load of %v yields %d events, want %d", id, len(got), len(list))
		}
	}
	for _, e := range want {
		version, ok, err := s.Find(ctx, e.Stream, e.ID)
		o.report(err)
		if err == nil && (!ok || version != e.Version) {
			o.differ("Find of version %d of %v yields %d, %t", e.Version, e.Stream, version, ok)
			break
		}
	}
	reads := len(o.reported)
	if c, ok := s.(checker); ok {
		o.report(c.Check(ctx))
	}
	if a, ok := s.(appender); ok && len(o.reported) == 0 && o.wrong == "" {
		o.report(w.goOn(ctx, a, want))
	}
	o.late = reads == 0 && len(o.reported) > 0
	return o
}

// goOn repeats the last append and makes one more.
func (w *truth) goOn(ctx context.Context, s appender, list []evsourcing.StoredEvent) error {
	if len(list) == 0 {
		return nil
	}
	last := list[len(list)-1]
	again := last
	again.Position = 0
	r, err := s.Append(ctx, evsourcing.Batch{Stream: last.Stream, Expected: last.Version - 1, Events: []evsourcing.StoredEvent{again}})
	if err != nil || !r.Repeated || r.Position != last.Position {
		return fmt.Errorf("repeating the last append: %+v, %w", r, errors.Join(err))
	}
	next := last
	next.ID, next.Version, next.Position = uuid.New(), last.Version+1, 0
	_, err = s.Append(ctx, evsourcing.Batch{Stream: last.Stream, Expected: last.Version, Events: []evsourcing.StoredEvent{next}})
	return err
}

func collect(seq iter.Seq2[evsourcing.StoredEvent, error]) (list []evsourcing.StoredEvent, err error) {
	for e, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}

func equal(a, b evsourcing.StoredEvent) bool {
	return a.ID == b.ID && a.Stream == b.Stream && a.Version == b.Version && a.Position == b.Position && a.Topic == b.Topic &&
		a.ContentType == b.ContentType && bytes.Equal(a.Data, b.Data) && slices.Equal(a.Tags, b.Tags) &&
		maps.Equal(a.Metadata, b.Metadata) && a.Time.Equal(b.Time)
}
