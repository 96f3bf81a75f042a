// Package faults holds the tests that put the stores of this repository under
// stress. It has nothing to import. Its directories have a suite each: kill, powerloss,
// corrupt, linear, follow, soak, attack; the program in cmd/reliability runs them all,
// with their controls, and makes docs/reliability.md.
//
// TestModel drives every store through random calls, beside a model that is
// plain enough to be right, and compares what the two say. TestBrokenStores
// proves that it finds bugs, on stores that have one each.
//
// By default TestModel makes 2,000 steps on each store, with -short or under the
// race detector 400, and with EVSOURCING_FULL=1 100,000. A failure prints the
// calls that lead to it, as few as it can, and the flag that repeats it.
package faults
