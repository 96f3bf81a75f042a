// Package powerloss takes the power away from the engines' disks: what they have
// acknowledged is there when it is back.
//
// A [Disk] is a file system in memory, mounted by FUSE, that forgets at any moment
// whatever was not synced: data, sizes, and names. It is as cruel as POSIX allows: a
// name is lost until its directory is synced, and some of what was not synced survives,
// torn and in no order. It needs Linux, /dev/fuse, and the right to mount; elsewhere the
// tests skip, and say why, or fail with EVSOURCING_REQUIRE_SERVICES=1.
//
// In each cycle of a test, writers append to a store on a disk, and a projection follows
// them, until power is lost in the midst of a call that the disk gets. Then the engine
// starts on what is left. All that it had acknowledged has to be there, each append
// whole, the projection exactly at its checkpoint. The cycle after it goes on from there;
// every now and then one begins with an empty disk. The controls run the same with less
// durability, and have to find that events are lost.
//
//	go test ./faults/powerloss                                 # some cycles
//	EVSOURCING_FULL=1 go test -timeout 30m ./faults/powerloss  # 200 cycles an engine
//
// A seed is printed, and EVSOURCING_SEED=N repeats what it chose: what survives, but not
// what the programs were doing at that moment.
package powerloss
