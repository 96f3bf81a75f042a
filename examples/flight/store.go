package main

import "github.com/evsourcing/evsourcing"

// newStore returns the store of the program's events. This is the one place
// that knows which kind of store it is.
func newStore() evsourcing.EventStore { return evsourcing.NewMemoryStore() }
