package evtest_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// recorder is a testing.TB that keeps what a test says, and fails nothing.
type recorder struct {
	testing.TB // for what it does not do itself, among that the private method
	messages   []string
	logs       []string
	cleanups   []func()
	failed     bool
}

func (r *recorder) Helper()          {}
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Fail()            { r.failed = true }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}
func (r *recorder) Log(args ...any)   { r.logs = append(r.logs, fmt.Sprint(args...)) }
func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.FailNow()
}

func (r *recorder) FailNow() {
	r.failed = true
	runtime.Goexit()
}

// record runs a test to its end, cleanups included, and returns what it said.
func record(t *testing.T, test func(t testing.TB)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(r.cleanups) {
				f()
			}
		}()
		test(r)
	}()
	<-done
	return r
}

// says fails unless the test said exactly this; an empty text means that it
// passed.
func says(t *testing.T, want string, test func(t testing.TB)) {
	t.Helper()
	r := record(t, test)
	want = strings.TrimPrefix(want, "\n")
	if have := strings.Join(r.messages, "\n"); have != want {
		t.Errorf("the test says\n%s\nwant\n%s", have, want)
	}
	if r.failed != (want != "") {
		t.Errorf("failed: %v", r.failed)
	}
}

// passes fails unless the test passed.
func passes(t *testing.T, test func(t testing.TB)) {
	t.Helper()
	says(t, "", test)
}

// fails fails unless the test failed with one message that has all the parts.
func fails(t *testing.T, test func(t testing.TB), parts ...string) {
	t.Helper()
	r := record(t, test)
	if len(r.messages) != 1 {
		t.Errorf("the test says %d things, want 1:\n%s", len(r.messages), strings.Join(r.messages, "\n"))
	}
	for _, part := range parts {
		if !strings.Contains(strings.Join(r.messages, "\n"), part) {
			t.Errorf("the test does not say\n%s\nbut\n%s", part, strings.Join(r.messages, "\n"))
		}
	}
}

// stream returns the stream of an account.
func stream(id string) evsourcing.StreamID { return evsourcing.StreamID{Type: "account", ID: id} }
