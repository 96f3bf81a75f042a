// Package linear tests that a store is linearizable: whatever happens around it,
// each call takes effect at once, as a whole, at a moment between its beginning and
// its end. So all who use a store can be sure of the same single order of events.
// The package has nothing to import.
//
// 16 clients append to a few contended streams and read them and the log, while
// processes are killed, connections cut, and calls given up. What every client did
// and was told is a history. Porcupine looks for an order of all its operations that
// respects which of them followed on which, and in which a plain model of a store
// gives the same answers. If there is none, the history is illegal.
//
// An append without an answer stays ambiguous: it may have been stored, may be stored
// at any later time, or never. (To the checker it is a call that never returns.) An
// append that was refused, with any error but ErrUncertain, has to have stored
// nothing. Repeating an append is an operation of its own: it has to tell truly
// whether the events were stored before.
//
// A history has at least 300 operations, of which at least 5 % are ambiguous. Its last
// operation reads the whole log.
//
//	go test -short ./linear   # 2 to 10 histories of each store
//	go test ./linear          # 5 to 40
//	EVSOURCING_FULL=1 go test -v -timeout 2h ./linear   # 1,000
//
// The controls put a bug into the same stores, and pass only if histories become
// illegal. TestGuide holds the checker itself to account: it is porcupine with advice,
// and has to judge as it does without.
package linear
