package postgres_test

import (
	"os"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

var (
	sharedMu sync.Mutex // held by the test that uses the cluster
	shared   *faulttest.Cluster
)

// ownCluster returns a server of the tests' own, running, for the test alone. It is
// one for all tests of a run, each with a database of its own.
func ownCluster(t *testing.T) *faulttest.Cluster {
	t.Helper()
	sharedMu.Lock()
	t.Cleanup(sharedMu.Unlock)
	if shared == nil {
		dir, err := os.MkdirTemp("", "evsourcing-postgres-")
		if err != nil {
			t.Fatal(err)
		}
		shared = faulttest.NewCluster(t, dir)
	}
	if !shared.Running() {
		shared.Start(t)
	}
	return shared
}
