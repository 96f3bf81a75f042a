//go:build !race

package soak

import (
	"testing"
	"time"
)

// TestSoakControl leaks, and every leak has to be found. It is not built under the race
// detector, which uses more and more memory itself, so that nothing is said of growth.
func TestSoakControl(t *testing.T) {
	const tries = 3 // a short run may be too noisy
	var missed []string
	for range tries {
		l := &leak{}
		run(t, duration(t, 2*time.Second, 3*time.Second, 4*time.Minute), l)
		l.end()
		if missed = l.missed; len(missed) == 0 || t.Failed() {
			return
		}
		t.Logf("not found: %v", missed)
	}
	t.Errorf("leaks that were not found in %d runs: %v", tries, missed)
}
