//go:build !race

package sqlite

// raceEnabled says whether the race detector is on.
const raceEnabled = false
