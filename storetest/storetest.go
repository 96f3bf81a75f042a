// Package storetest tests whether an event store keeps the promises of
// [evsourcing.EventStore]. A storage driver runs it in one line:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) evsourcing.EventStore {
//			s, err := mystore.Open(t.Context(), t.TempDir())
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { s.Close() })
//			return s
//		})
//	}
//
// [Run] finds out what else the store can do, by [evsourcing.Capability], and
// tests that too: [evsourcing.Log], [evsourcing.Waiter], [evsourcing.Finder],
// [evsourcing.SnapshotStore], [evsourcing.CheckpointStore] and
// [evsourcing.Claimer]. Cases that need a capability the store has not are
// skipped, and say so.
//
// Each failure starts with the rule that was broken, such as "promise 4 (once
// position p has been seen, no new event appears at or below p)". The cases are
// subtests named after the promises, so that one promise or one case can be
// selected:
//
//	go test -run 'TestStore/promise_4'
//	go test -run 'TestStore/promise_1/one_of_many_racers_wins_each_round'
//
// The suite is best run under the race detector too: that is how it finds a
// store that shares memory among goroutines. In all it makes about 15,000
// appends of 150,000 events to a hundred stores, and as many reads; with -short
// half as many appends and a fifth of the events.
//
// What the suite can't see from outside is whether acknowledged events survive
// a crash: promise 2 is tested as far as a running store shows it.
package storetest

import (
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
)

// patience is how long a call may take before it counts as stuck. It is far
// beyond what a busy machine needs.
const patience = 30 * time.Second

// A testCase is one thing to find out about a store.
type testCase struct {
	name  string // a sentence
	rule  rule
	needs []capability
	check func(s *suite)
}

// A testGroup is the cases of one promise, or of one capability.
type testGroup struct {
	name  string
	cases []testCase
}

func groups() []testGroup {
	return []testGroup{
		{"promise 1", append(appendCases(), raceCases()...)},
		{"promise 2", append(atomicCases(), cancelCases()...)},
		{"promise 3", append(retryCases(), duplicateCases()...)},
		{"promise 4", append(orderCases(), followCases()...)},
		{"promise 5", append(append(fidelityCases(), nameCases()...), aliasCases()...)},
		{"promise 6", append(append(readCases(), rangeCases()...), contextCases()...)},
		{"promise 7", releaseCases()},
		{"promise 8", append(invalidCases(), limitCases()...)},
		{"concurrency", concurrentCases()},
		{"Log", logCases()},
		{"Waiter", waiterCases()},
		{"Finder", finderCases()},
		{"SnapshotStore", snapshotCases()},
		{"CheckpointStore", checkpointCases()},
		{"Claimer", claimCases()},
	}
}

// A capability is something that not every store can do.
type capability struct {
	name string
	of   func(evsourcing.EventStore) bool
}

func can[T any](s evsourcing.EventStore) bool {
	_, ok := evsourcing.Capability[T](s)
	return ok
}

var (
	hasLog         = capability{"Log", can[evsourcing.Log]}
	hasWaiter      = capability{"Waiter", can[evsourcing.Waiter]}
	hasFinder      = capability{"Finder", can[evsourcing.Finder]}
	hasSnapshots   = capability{"SnapshotStore", can[evsourcing.SnapshotStore]}
	hasCheckpoints = capability{"CheckpointStore", can[evsourcing.CheckpointStore]}
	hasClaimer     = capability{"Claimer", can[evsourcing.Claimer]}
)

// missing returns the name of a capability that the case needs and the store
// does not have, or "".
func (c testCase) missing(s evsourcing.EventStore) string {
	for _, need := range c.needs {
		if !need.of(s) {
			return need.name
		}
	}
	return ""
}

// Run tests the stores that open returns, as subtests of t. Each call of open
// must return a store without events that no other call has returned; open
// releases it by t.Cleanup, and fails the test by t.Fatal if it can't make one.
//
// Run does not run cases in parallel. A case that finds a call of the store
// stuck for 30 seconds fails, and leaves that call behind.
func Run(t *testing.T, open func(t *testing.T) evsourcing.EventStore) {
	t.Helper()
	run(t, open, groups(), config{patience: patience, short: testing.Short()})
}

func run(t *testing.T, open func(t *testing.T) evsourcing.EventStore, groups []testGroup, cfg config) {
	t.Helper()
	t.Run("capabilities", func(t *testing.T) {
		store := open(t)
		for _, c := range []capability{hasLog, hasWaiter, hasFinder, hasSnapshots, hasCheckpoints, hasClaimer} {
			if c.of(store) {
				t.Logf("%-15s found, and tested", c.name)
			} else {
				t.Logf("%-15s absent, its cases are skipped", c.name)
			}
		}
	})
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					store := open(t)
					if name := c.missing(store); name != "" {
						t.Skipf("the store is no evsourcing.%s", name)
					}
					c.run(t, store, cfg)
				})
			}
		})
	}
}
