package storetest_test

import (
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/storetest"
)

// A driver's test. Open makes an empty store for each case, and leaves the
// cleaning up to t.
func ExampleRun() {
	var t *testing.T // the parameter of TestStore, say

	storetest.Run(t, func(t *testing.T) evsourcing.EventStore {
		store := evsourcing.NewMemoryStore() // or mystore.Open(t.TempDir())
		t.Cleanup(func() { /* store.Close() */ })
		return store
	})
}
