package soak

import (
	"os"
	"sync"
)

// leakBytes is how much memory is leaked at once.
const leakBytes = 1 << 20

// A leak is what goes wrong in the control. A nil one does not leak.
type leak struct {
	each   int64    // operations
	missed []string // gauges that did not show it

	mu         sync.Mutex // guards what follows
	operations int64
	block      chan struct{}
	goroutines sync.WaitGroup
	files      []*os.File
	memory     [][]byte
	err        error
}

// begin is told how many operations there will be.
func (l *leak) begin(operations float64) {
	if l != nil {
		l.each = min(1000, int64(operations/100)) // or there is too little to be found
	}
}

// operation is told of each operation of an engine.
func (l *leak) operation(e *engine) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.operations++; l.operations%l.each > 0 {
		return
	}
	if l.block == nil {
		l.block = make(chan struct{})
	}
	for range 3 { // there are many that are no leak
		l.goroutines.Go(func() { <-l.block })
	}
	memory := make([]byte, leakBytes)
	for i := range memory {
		memory[i] = 1 // so that it is resident
	}
	l.memory = append(l.memory, memory)
	f, err := os.Open(os.DevNull)
	l.note(err)
	l.files = append(l.files, f)
	l.note(e.leak())
}

func (l *leak) note(err error) {
	if err != nil && l.err == nil {
		l.err = err
	}
}

// failed returns why nothing leaked.
func (l *leak) failed() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// end gives back what was leaked.
func (l *leak) end() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.block != nil {
		close(l.block)
		l.block = nil
	}
	l.goroutines.Wait()
	for _, f := range l.files {
		_ = f.Close()
	}
	l.files, l.memory = nil, nil
}
