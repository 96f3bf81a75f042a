// Package follow holds the test that compares what subscriptions do with a model, as etcd
// does with its watches. It has nothing to import.
//
// The promise: a subscription sees every event that its filter passes, in the order of the
// log, and none is skipped; a read model that a handler of the store writes has each event
// exactly once; and other handlers get an event again only above the checkpoint that was
// saved last. (One that could not be saved because a connection was cut may still reach the
// server, later, and counts then.) So it stays while the subscribers are killed, restarted, cut off from the
// server, or paused for longer than their lease and then let go; while the server is
// stopped as by a crash; and while many write, some of whom commit late or not at all.
//
// TestFollow runs three subscriptions in several processes, which take the names over from
// one another: exact, whose handler writes its rows in the transaction of the checkpoint,
// with the owner's fencing token; plain, whose handler prints what it gets; and lanes, which
// does so on four partitions. Afterwards a check goes through the log, the rows and the
// prints: each row and print is the next one of the log, tokens never fall, nobody begins
// below what was saved or above what was handled. Meanwhile each process watches that
// Status never falls below an event that it has shown as handled, and that WaitFor returns
// when the rows are there.
//
// The controls have the same check find gaps where an event shows late, and doubled rows
// and a fall back in time where tokens are ignored, or where rows are written outside the
// transaction.
//
//	go test ./follow                                    # some thousand events, in seconds
//	EVSOURCING_FULL=1 go test -v -timeout 1h ./follow   # 500,000 events an engine
package follow
