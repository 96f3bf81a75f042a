package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progressInterval is how often the progress line changes.
const progressInterval = 100 * time.Millisecond

// A progress keeps one line of a terminal up to date. Nobody watches what is
// not a terminal, so there it writes nothing.
type progress struct {
	w     io.Writer // nil if nobody watches
	next  time.Time
	shown bool
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w}
}

// isTerminal reports whether w is a terminal, or something else that is no file
// and no pipe, such as /dev/null, where writing does no harm.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show replaces the line, unless it has just done so.
func (p *progress) show(rows, events int) {
	if p.w == nil {
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(progressInterval)
	p.shown = true
	fmt.Fprintf(p.w, "\rreplaying: %d rows, %d events", rows, events)
}

// clear removes the line, to make room for other output.
func (p *progress) clear() {
	if p.shown {
		p.shown = false
		p.next = time.Time{}
		fmt.Fprint(p.w, "\r\x1b[K") // back to the line's start, and erase to its end
	}
}
