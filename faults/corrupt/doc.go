// Package corrupt holds the tests that damage stored files: a bit is flipped, or a
// file is cut off, and then everything is read that was stored. It has nothing to
// import.
//
// Each damage has to be harmless, repaired by the engine (what is read is what was
// stored, byte for byte), or reported by an error of Open, Events, Load, Find, Check
// or Append. Damage that is none of these is silent, and none may be.
//
// A few seconds of it run by default, fewer with -short, and 10,000 cases a file with
//
//	EVSOURCING_FULL=1 go test -v -timeout 30m ./faults/corrupt
//
// Each test has a control beside it, whose reader trusts what it reads: there the same
// check has to find silent damage.
package corrupt
