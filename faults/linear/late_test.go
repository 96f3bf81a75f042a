package linear

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// late delivers requests at any later time.
type late struct{ wg sync.WaitGroup }

// deliver calls f within 20 ms, unless ctx ends.
func (l *late) deliver(ctx context.Context, f func()) {
	l.wg.Go(func() {
		select {
		case <-time.After(rand.N(20 * time.Millisecond)):
			f()
		case <-ctx.Done():
		}
	})
}
