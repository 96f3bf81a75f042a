// Package bench has the benchmarks of evsourcing, each with its floor: what the
// same work costs without the library, measured in the same run. Compare ratios
// and not times, because times differ between machines and from run to run:
//
//	go test -run '^$' -bench . -count 6 ./bench
//
// The floors are: for saving, encoding the payload, a UUID, the clock and an
// insertion into a map; for loading, json.Unmarshal of the payloads; for
// publishing, a hop over a buffered channel.
package bench
