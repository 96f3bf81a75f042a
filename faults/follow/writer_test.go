package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// Writers append until there are enough events, some of them in transactions that write
// elsewhere first, take their time, and may be rolled back.
type writers struct {
	store  durable.Store
	place  string
	pause  time.Duration // between the appends of a writer, on average
	hold   atomic.Bool   // whether they wait, because nobody follows
	left   atomic.Int64  // events
	rolled atomic.Int64  // transactions rolled back
}

const writerCount = 16

// errRollback takes a transaction back.
var errRollback = errors.New("rolled back")

func (w *writers) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range writerCount {
		wg.Go(func() {
			for w.left.Load() > 0 && ctx.Err() == nil {
				pause(ctx, rand.N(2*w.pause))
				if w.hold.Load() {
					continue
				}
				if n, err := w.write(ctx); err == nil { // else the server is down, or it was rolled back
					w.left.Add(int64(-n))
				}
			}
		})
	}
	wg.Wait()
}

// write makes an append, and returns how many events of it are wanted.
func (w *writers) write(ctx context.Context) (wanted int, err error) {
	b := evsourcing.Batch{Stream: evsourcing.StreamID{Type: "in", ID: fmt.Sprint(rand.N(64))}, Expected: evsourcing.AnyVersion}
	for range 1 + rand.N(2*meanBatch-1) {
		b.Events = append(b.Events, evsourcing.StoredEvent{ID: uuid.New(), Topic: "fact", ContentType: "text/plain", Data: []byte("x")})
	}
	noise := evsourcing.Batch{Stream: evsourcing.StreamID{Type: "noise", ID: "x"}, Expected: evsourcing.AnyVersion,
		Events: []evsourcing.StoredEvent{{ID: uuid.New(), Topic: "fact", ContentType: "text/plain"}}}
	if rand.N(4) > 0 {
		_, err := w.store.Append(ctx, b, noise)
		return len(b.Events), err
	}
	err = w.store.InTx(ctx, func(ctx context.Context, exec durable.Exec) error {
		if err := exec("INSERT INTO elsewhere (stream) VALUES ('" + b.Stream.ID + "')"); err != nil {
			return err
		}
		if _, err := w.store.Append(ctx, b); err != nil {
			return err
		}
		if durable.IsPostgres(w.place) { // where nobody has to wait for that
			pause(ctx, rand.N(50*time.Millisecond))
		}
		if rand.N(4) == 0 {
			w.rolled.Add(1)
			return errRollback
		}
		return nil
	})
	return len(b.Events), err
}

// meanBatch is how many events an append has on average.
const meanBatch = 10
