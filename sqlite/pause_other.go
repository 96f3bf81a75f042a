//go:build !linux

package sqlite

import "time"

func pause(d time.Duration) { time.Sleep(d) }
