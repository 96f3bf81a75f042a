package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/evsourcing/evsourcing"
)

// A recorder is a reporter that keeps what it is told.
type recorder struct {
	mu     sync.Mutex // guards what follows
	errors []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// allCases returns the cases of all groups by name.
func allCases(t *testing.T) map[string]testCase {
	all := map[string]testCase{}
	for _, g := range groups() {
		for _, c := range g.cases {
			if _, dup := all[c.name]; dup {
				t.Errorf("two cases are named %q", c.name)
			}
			all[c.name] = c
		}
	}
	return all
}

func TestSimpleStore(t *testing.T) {
	t.Parallel()
	simple := func(*testing.T) evsourcing.EventStore { return newSimpleStore() }
	run(t, simple, groups(), config{patience: patience, short: true})
}

// TestUnusualStores runs the suite on stores that are correct in ways of their
// own.
func TestUnusualStores(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		groups []string // those that it matters to
		adapt  func(v *variant)
	}{
		{"filters exactly", []string{"promise 5", "Log"}, func(v *variant) {
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				all := evsourcing.Range{After: r.After, Until: r.Until, Backward: r.Backward}
				return matching(v.simpleStore.Events(ctx, all, f), f, r.Limit)
			}
		}},
		{"loses the answers of impatient writers", []string{"promise 2"}, func(v *variant) {
			var calls atomic.Int64
			v.append = func(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
				if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
					return v.simpleStore.Append(ctx, batches...)
				}
				if calls.Add(1)%2 == 0 {
					_, _ = v.simpleStore.Append(context.Background(), batches...)
				}
				<-ctx.Done()
				return evsourcing.AppendResult{}, fmt.Errorf("%w: %w", evsourcing.ErrUncertain, ctx.Err())
			}
		}},
		{"returns empty slices and maps for nil", []string{"promise 5"}, func(v *variant) {
			v.editOut(editEvents(func(e *evsourcing.StoredEvent) {
				e.Data = append([]byte{}, e.Data...)
				e.Tags = append([]string{}, e.Tags...)
				if e.Metadata == nil {
					e.Metadata = evsourcing.Metadata{}
				}
			}))
		}},
		{"reads all at once and looks at the context now and then", []string{"promise 6", "promise 7"}, func(v *variant) {
			adapt := func(ctx context.Context, seq eventSeq) eventSeq {
				return func(yield func(evsourcing.StoredEvent, error) bool) {
					var list []evsourcing.StoredEvent
					for e, err := range seq {
						if err != nil {
							yield(evsourcing.StoredEvent{}, err)
							return
						}
						list = append(list, e)
					}
					for i, e := range list {
						if err := ctx.Err(); err != nil && i%500 == 0 {
							yield(evsourcing.StoredEvent{}, err)
							return
						}
						if !yield(e, nil) {
							return
						}
					}
				}
			}
			v.load = func(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) eventSeq {
				return adapt(ctx, v.simpleStore.Load(ctx, id, r))
			}
			v.events = func(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) eventSeq {
				return adapt(ctx, v.simpleStore.Events(ctx, r, f))
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			matter := slices.DeleteFunc(groups(), func(g testGroup) bool { return !slices.Contains(test.groups, g.name) })
			if len(matter) != len(test.groups) {
				t.Errorf("there are no groups %q", test.groups)
			}
			run(t, func(*testing.T) evsourcing.EventStore {
				v := &variant{simpleStore: newSimpleStore()}
				test.adapt(v)
				return v
			}, matter, config{patience: patience, short: true})
		})
	}
}

// A wrapper is a store without capabilities, unless one looks through it.
type wrapper struct{ evsourcing.EventStore }

func (w wrapper) Unwrap() evsourcing.EventStore { return w.EventStore }

func TestCapabilitiesOfWrappedStore(t *testing.T) {
	t.Parallel()
	plain := struct{ evsourcing.EventStore }{newSimpleStore()}
	for _, c := range allCases(t) {
		if name := c.missing(wrapper{newSimpleStore()}); name != "" {
			t.Errorf("%s: not found behind a wrapper: %s", c.name, name)
		}
		if name := c.missing(plain); (name != "") != (len(c.needs) > 0) {
			t.Errorf("%s: of a store without capabilities it lacks %q", c.name, name)
		}
	}
}

// TestPlainStore runs what is left for a store without capabilities.
func TestPlainStore(t *testing.T) {
	t.Parallel()
	plain := func(*testing.T) evsourcing.EventStore { return struct{ evsourcing.EventStore }{newSimpleStore()} }
	run(t, plain, groups(), config{patience: patience, short: true})
}

func TestCaseNames(t *testing.T) {
	t.Parallel()
	for name, c := range allCases(t) {
		if strings.ContainsAny(name, "/#_\"") || name == "" {
			t.Errorf("%q is no good as a name for go test -run", name)
		}
		if c.rule.source == "" || c.rule.text == "" || strings.Contains(c.rule.text, "\n") {
			t.Errorf("%s: the rule is %q", name, c.rule)
		}
	}
}

func TestHostileNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, name := range hostileNames() {
		if seen[name] {
			t.Errorf("%q occurs twice", name)
		}
		seen[name] = true
		if err := (evsourcing.StreamID{Type: name, ID: name}).Validate(); err != nil {
			t.Errorf("%q is no valid name: %v", name, err)
		}
	}
	for _, bad := range badNames() {
		if err := (evsourcing.StreamID{Type: bad.name, ID: "a"}).Validate(); err == nil {
			t.Errorf("%q, %s, is a valid name", bad.name, bad.what)
		}
	}
	if name := longName("é"); len(name) != evsourcing.MaxNameSize || !utf8.ValidString(name) {
		t.Errorf("longName returns %d bytes", len(name))
	}
}
