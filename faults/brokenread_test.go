package faults

import (
	"context"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func brokenReads() []brokenStore {
	return []brokenStore{
		{"folds the case of stream types", func(s store) store {
			return editStream(s, func(id evsourcing.StreamID) evsourcing.StreamID {
				id.Type = strings.ToLower(id.Type)
				return id
			})
		}, "Stream is|Load of|returned versions|two batches|version conflict"},

		{"joins a stream's type and ID", func(s store) store {
			return editStream(s, func(id evsourcing.StreamID) evsourcing.StreamID {
				if id.Type == "ab" && id.ID == "c" {
					return evsourcing.StreamID{Type: "a", ID: "bc"}
				}
				return id
			})
		}, "Stream is|Load of|returned versions|two batches|version conflict"},

		{"takes the event after which to read along", func(s store) store {
			return editRange(s, func(r *evsourcing.Range) {
				if r.After > 0 {
					r.After--
				}
			})
		}, "want|out of range"},

		{"reads on beyond the range", func(s store) store {
			return editRange(s, func(r *evsourcing.Range) {
				if r.Until > 0 && r.Until < 1<<62 {
					r.Until++
				}
			})
		}, "want|out of range"},

		{"counts a limit from the lower end", func(s store) store {
			return withLoad{s, func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				if r.Backward && r.Limit > 0 && r.Limit < 1<<31 {
					r.Until = min(r.Until-1, r.After+uint64(r.Limit)-1) + 1
				}
				return s.Load(ctx, id, r)
			}}
		}, "want"},

		{"overflows at large numbers", func(s store) store {
			return editRange(s, func(r *evsourcing.Range) { r.After = uint64(uint32(r.After)) })
		}, "want|out of range|before the error|at first"},

		{"loses an event between two pages", func(s store) store {
			return withLoad{s, func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					n := 0
					for e, err := range s.Load(ctx, id, r) {
						if n++; n != 65 && !yield(e, err) {
							return
						}
					}
				}
			}}
		}, "want"},

		{"yields nothing the second time", func(s store) store {
			return editOut(s, func(seq eventSeq) eventSeq {
				var once sync.Once
				return func(yield func(evsourcing.StoredEvent, error) bool) { once.Do(func() { seq(yield) }) }
			})
		}, "twice"},

		{"ends quietly when its context has ended", func(s store) store {
			return editOut(s, func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					for e, err := range seq {
						if context.Canceled == err || !yield(e, err) { //nolint:errorlint // it is broken
							return
						}
					}
				}
			})
		}, "ended without an error|the error is <nil>|want"},

		{"yields the data that it keeps", func(s store) store {
			kept := map[uuid.UUID][]byte{}
			var mu sync.Mutex
			return editOut(s, func(seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					for e, err := range seq {
						mu.Lock()
						if _, ok := kept[e.ID]; !ok {
							kept[e.ID] = e.Data
						}
						e.Data = kept[e.ID]
						mu.Unlock()
						if !yield(e, err) {
							return
						}
					}
				}
			})
		}, "Data ("},

		{"filters by the first topic only", func(s store) store {
			return withEvents{s, func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				if len(f.Topics) > 1 {
					f.Topics = f.Topics[:1]
				}
				return s.Events(ctx, r, f)
			}}
		}, "is missing"},

		{"returns a head without an event", func(s store) store {
			return withHead{s, func(ctx context.Context) (evsourcing.Mark, error) {
				mark, err := s.Head(ctx)
				mark.EventID = uuid.Nil
				return mark, err
			}}
		}, "Head: it is"},

		{"takes no notice of a context in Head", func(s store) store {
			return withHead{s, func(ctx context.Context) (evsourcing.Mark, error) { return s.Head(context.WithoutCancel(ctx)) }}
		}, "Head under a context that had ended"},

		{"waits for more than it should", func(s store) store {
			return withWait{s, func(ctx context.Context, after uint64) error { return s.Wait(ctx, after+1) }}
		}, "stuck"},

		{"wakes one of those who wait", func(s store) store {
			var mu sync.Mutex
			waiting := 0
			return withWait{s, func(ctx context.Context, after uint64) error {
				mu.Lock()
				waiting++
				first := waiting == 1
				mu.Unlock()
				defer func() {
					mu.Lock()
					waiting--
					mu.Unlock()
				}()
				err := s.Wait(ctx, after)
				if !first && err == nil {
					<-ctx.Done()
				}
				return err
			}}
		}, "stuck"},

		{"wakes too early", func(s store) store {
			return withWait{s, func(ctx context.Context, after uint64) error {
				if after > 0 {
					after--
				}
				return s.Wait(ctx, after)
			}}
		}, "it returned while|error <nil> after its context"},

		{"finds events of other streams", func(s store) store {
			return withFind{s, func(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (uint64, bool, error) {
				for e := range s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
					if e.ID == event {
						return e.Version, true, nil
					}
				}
				return s.Find(ctx, id, event)
			}}
		}, "Find of"},
	}
}
