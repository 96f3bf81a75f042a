// Package kill holds the tests that kill processes with SIGKILL in the middle of their
// work: those that use a store, and PostgreSQL's server. It has nothing to import.
//
// The promise: what a store has acknowledged is there afterwards, at the position that
// was said; of an append to several streams everything is there or nothing; each stream
// has its versions without a gap; and a read model that is made by a handler of the store
// has each event once, in order.
//
// TestKilledClients kills programs that append and run a projection: SQLite's while they
// open the file (and repair what the one before has left), move the write-ahead log, or
// are in the middle of a projection's transaction, several on one file, and at any moment.
// TestKilledServer stops PostgreSQL as a crash does, kills its first process, one of a
// connection, and it again while it recovers, under writers that go on.
//
// The checks are those of an audit, which reads the log after each cycle from where it had
// come, and everything again at the end. The controls have the same audit find lost events
// where an append is acknowledged from a queue, halves where it is made stream by
// stream, and doubled rows where a projection saves its checkpoint by itself.
//
//	go test ./kill                                      # some cycles, in seconds
//	EVSOURCING_FULL=1 go test -v -timeout 1h ./kill     # 1,000 cycles an engine
package kill
