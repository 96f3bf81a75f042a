// Package latency measures how long callers of a busy service wait: the load of package
// mixed, on each store, by 64 clients. It has nothing to import.
//
//	go test -run '^$' -bench Mixed ./bench/latency           # half a minute a store
//	go test -run '^$' -bench Mixed -short ./bench/latency    # two seconds a store; -benchtime 1x is the same
//	EVSOURCING_FULL=1 go test -run '^$' -bench Mixed ./bench/latency
//
// First a closed loop finds out what the store can take (saturation). Then operations
// arrive at 60 % of that, whether the ones before are done or not, and latency counts
// from when each was due. The floor is measured before, between and after: what the
// disk takes to write and sync 4 KiB, for SQLite, and for PostgreSQL what a bare
// prepared insertion of one row takes on an idle server. Lines of the output are
//
//	floor        the floor itself
//	saturation   the closed loop: operations a second, and what it made the projection lag
//	update       transactions that load an aggregate and save an event durably: x-floor is
//	             their p99 by the p50 of the floor
//	append       the store's part of them
//	load         loads of an aggregate
//	react        until the reactor on the bus is done
//	project      until the projection shows what is in the log
//	late         how late the load itself was, which counts in update and load
package latency
