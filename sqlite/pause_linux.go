package sqlite

import (
	"syscall"
	"time"
)

// pause sleeps for a fraction of a millisecond, which time.Sleep rounds up to a
// whole one.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil) // a signal that cuts it short is no harm
}
