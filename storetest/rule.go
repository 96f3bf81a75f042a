package storetest

// A rule is what a case checks. Every failure starts with it.
type rule struct {
	source string // "promise 4", or the capability whose documentation says so
	text   string
}

// String returns the rule as failures print it.
func (r rule) String() string { return r.source + " (" + r.text + ")" }

// The rules are quoted from the documentation of [evsourcing.EventStore] and
// of the capabilities, shortened to one line each.
var (
	ruleOneWinner   = rule{"promise 1", "of appends that expect the same version of one stream, exactly one wins and the others get ErrConflict"}
	ruleAllWin      = rule{"promise 1", "appends that do not expect the same version of one stream are no conflict"}
	ruleConflict    = rule{"promise 1", "an append that expects another version than the stream's gets ErrConflict"}
	ruleNothing     = rule{"promise 2", "an error other than ErrUncertain means that nothing was stored"}
	ruleAtomic      = rule{"promise 2", "an append is stored in one step, whole or not at all"}
	ruleWithdrawn   = rule{"promise 2", "a call that is cancelled while it waits is withdrawn"}
	ruleUndisturbed = rule{"promise 2", "no caller's context interrupts or rolls back what others write"}
	ruleRepeated    = rule{"promise 3", "repeating an append stores nothing and returns the positions of the original, with Repeated set"}
	ruleDuplicate   = rule{"promise 3", "event IDs that are stored already, all or some, and not as a repetition, are ErrDuplicateEvent"}
	ruleOnce        = rule{"promise 3", "an event ID stands at most once in a store"}
	ruleRising      = rule{"promise 4", "positions rise in the order of commits, and none is used twice"}
	ruleStable      = rule{"promise 4", "once position p has been seen, no new event appears at or below p"}
	ruleSameOrder   = rule{"promise 4", "the order within a stream is the same in Load and in Events"}
	ruleConsecutive = rule{"promise 4", "the positions of one append are consecutive, in the order of its batches and their events"}
	ruleBytes       = rule{"promise 5", "data comes back byte for byte"}
	ruleNames       = rule{"promise 5", "names, tags and metadata come back as they were, and similar ones are kept apart"}
	ruleTime        = rule{"promise 5", "time comes back to the microsecond, in UTC"}
	ruleNotKept     = rule{"promise 5", "what a caller passes is neither kept nor changed"}
	ruleOwn         = rule{"promise 5", "what a caller receives is its own"}
	ruleEmpty       = rule{"promise 6", "a stream never written yields nothing, and so does reading past the end"}
	ruleRange       = rule{"promise 6", "a range yields exactly what it selects, in its direction"}
	ruleAgain       = rule{"promise 6", "ranging over the same iterator again reads again"}
	ruleCancelled   = rule{"promise 6", "a cancelled context ends a call or an iteration with its error, which is the last pair"}
	ruleRelease     = rule{"promise 7", "breaking out of an iterator releases what it held"}
	ruleNoLock      = rule{"promise 7", "no iterator holds a read transaction or a lock while the loop body runs"}
	ruleInvalid     = rule{"promise 8", "bad input gets an error before anything is written"}
	ruleLimits      = rule{"promise 8", "what is within the limits is accepted"}

	ruleConcurrent = rule{"EventStore", "all methods may be called concurrently"}
	ruleFilter     = rule{"Log", "Events may yield more than the filter lets pass, never less"}
	ruleHead       = rule{"Log", "Head returns the mark of the last event, the zero Mark if there is none"}
	ruleWait       = rule{"Waiter", "Wait returns nil once Head is beyond the position, at once if it is already"}
	ruleWaitEnds   = rule{"Waiter", "Wait returns the context's error when the context ends first"}
	ruleFind       = rule{"Finder", "Find returns the version of the event in the stream, and not ok if the stream has no such event"}
	ruleSnapshot   = rule{"SnapshotStore", "a snapshot comes back as it was saved, and is the caller's own"}
	ruleNewest     = rule{"SnapshotStore", "a snapshot stays if it has the same fingerprint and a higher version than what is saved"}
	ruleCheckpoint = rule{"CheckpointStore", "a checkpoint comes back as it was last saved under the name"}
	ruleFenced     = rule{"CheckpointStore", "a token lower than the highest claimed or saved gets ErrFenced, and nothing is saved"}
	ruleOneOwner   = rule{"Claimer", "each name has one owner at a time, and the others get ErrFenced at once"}
	ruleToken      = rule{"Claimer", "the token rises whenever the name changes hands or its lease had run out, and stays when the owner renews"}
	ruleLease      = rule{"Claimer", "a lease ends after its ttl, and at once with a ttl of zero or less"}
)
