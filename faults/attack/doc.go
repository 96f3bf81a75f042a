// Package attack holds the tests that ask for too much: events that are too large,
// names that are SQL, a million topics, JSON that explodes, handlers that never return.
// Each is refused by an error that says so, or bounded by what docs/limits.md names. It
// has nothing to import.
//
// It takes a few seconds by default, less with -short, and runs at full size with
//
//	EVSOURCING_FULL=1 go test -v -timeout 30m ./faults/attack
//
// A test on memory measures the heap while the attack runs. Controls take a limit away,
// or measure what has none.
package attack
