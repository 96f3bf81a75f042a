//go:build race

package sqlite

// raceEnabled says whether the race detector is on, which makes SQLite, which is
// Go here, ten times slower.
const raceEnabled = true
