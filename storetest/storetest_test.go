package storetest

import (
	"fmt"
	"strings"
	"sync"
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
	run(t, simple, config{patience: patience, short: true})
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
	run(t, plain, config{patience: patience, short: true})
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
