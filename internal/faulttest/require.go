package faulttest

import (
	"os"
	"testing"
)

// Missing skips a test for want of something, or fails it where that has to be there:
// with EVSOURCING_REQUIRE_SERVICES=1.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("EVSOURCING_REQUIRE_SERVICES") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Full reports whether tests run at the length that is meant for once: with
// EVSOURCING_FULL=1.
func Full() bool { return os.Getenv("EVSOURCING_FULL") == "1" }

// Scale returns the size of a long test: with -short or under the race detector, by
// default, and for [Full].
func Scale(short, normal, full int) int {
	switch {
	case Full():
		return full
	case testing.Short() || Raced:
		return short
	}
	return normal
}
