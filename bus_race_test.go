//go:build race

package evsourcing_test

// raceEnabled says whether the race detector is on, which makes everything
// slower by far.
const raceEnabled = true
