// Package soak lets stores run for a long time while things go wrong, and looks whether
// they use more and more of anything. It has nothing to import.
//
//	go test ./faults/soak                                                    # some seconds
//	EVSOURCING_SOAK=3m go test -v -run 'TestSoak$' ./faults/soak             # as long as you say
//	EVSOURCING_FULL=1 go test -v -timeout 1h ./faults/soak                   # half an hour
//
// A store on SQLite and one on PostgreSQL run side by side in one process, for the whole
// time, each with the load of package mixed at a fixed rate. Both have handlers that fail
// or panic, and callers whose contexts end at any moment. Beside SQLite another process
// writes to the file and is killed again and again; PostgreSQL's connections are cut, and
// its backends terminated.
//
// The promise is that all that is used stays as it is, although the log grows:
// goroutines, file descriptors, the heap after a collection, resident memory, the
// write-ahead log of SQLite, the connections to PostgreSQL. Each is a series of samples,
// taken after a warm-up of a sixth of the time; its slope, by least squares, has to be
// below 1 % of its mean in 10 minutes, give or take twice its standard error. A shorter
// run is too noisy for that, and a series may not grow by more than a third from its
// beginning to its end. In the end the
// projections have to be what a fold of the log is, the log has to have what was
// acknowledged and nothing that was refused, and the file has to pass its check. Under
// the race detector, which uses more and more itself, only that is tested.
//
// TestSoakControl leaks on purpose, for every thousand operations (more often in short
// runs): a goroutine, a descriptor, memory, a connection; and a reader holds on to
// SQLite's write-ahead log. It passes only if each is found.
package soak
