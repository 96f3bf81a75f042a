package linear

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/dustin/go-humanize"
)

const (
	clients       = 16
	historyTime   = 60 * time.Second // for a history, far beyond what it takes
	checkPatience = 60 * time.Second // for porcupine, likewise
)

// A site is a store without events, with what breaks around it.
type site interface {
	// endpoints returns the ways to the store; the clients are spread over them.
	endpoints() []endpoint
	// disturb breaks things until ctx ends.
	disturb(ctx context.Context, h *history)
	// calm repairs what is broken, and returns a way to the store that holds.
	calm(ctx context.Context) (endpoint, error)
	// close removes the store.
	close() error
}

// run has clients use the store of a site, and returns their history of so many
// operations at least. The last one reads all events, when everybody else has ended.
func run(ctx context.Context, s site, clients, least int) (*history, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTime)
	defer cancel()
	h := &history{least: least}
	peace, ended := context.WithCancel(ctx)
	var wg sync.WaitGroup
	ends := s.endpoints()
	for i := range clients {
		c := client{number: i, endpoint: ends[i%len(ends)], history: h}
		wg.Go(func() { c.run(ctx) })
	}
	go func() {
		wg.Wait()
		ended()
	}()
	s.disturb(peace, h)
	<-peace.Done()
	wg.Wait()
	if err := ctx.Err(); err != nil {
		n, ambiguous := h.size()
		return nil, fmt.Errorf("the history has come to %d operations, of which %.1f %% are ambiguous: %w", n, 100*ambiguous, err)
	}
	end, err := s.calm(ctx)
	if err != nil {
		return nil, err
	}
	last := Request{Kind: Events, Last: true}
	for { // a connection may still be broken
		p := h.record(clients, last, func() Response { return end.do(ctx, last) })
		if p.Outcome == Done {
			return h, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the last reading: %s", p.Err)
		}
	}
}

// A tally counts what came of histories.
type tally struct {
	histories                     int
	extended, repeated            int // for want of ambiguous operations: went on beyond their size, or do not count
	operations, ambiguous         int
	conflicts, repetitions        int
	illegal, undecided            int
	smallest, leastAmbiguousShare float64
	failed                        *history // an illegal or undecided one
	stuck                         string   // where
}

// judge runs a history on a site that prepare makes, has it checked, and counts it. One
// that is too small does not count, and is repeated.
func (n *tally) judge(ctx context.Context, prepare func(context.Context) (site, error)) error {
	for range 10 {
		s, err := prepare(ctx)
		if err != nil {
			return err
		}
		h, err := run(ctx, s, clients, leastOperations)
		if err = errors.Join(err, s.close()); err != nil {
			return err
		}
		if h.whole(1) {
			g := newGuide(h.operations)
			if n.add(h, g.check(checkPatience)); n.failed == h {
				n.stuck = g.stuck()
			}
			return nil
		}
		n.repeated++
	}
	return errors.New("ten histories in a row were too small")
}

func (n *tally) add(h *history, result porcupine.CheckResult) {
	operations, share := h.size()
	if n.histories == 0 {
		n.smallest, n.leastAmbiguousShare = float64(operations), share
	}
	n.smallest, n.leastAmbiguousShare = min(n.smallest, float64(operations)), min(n.leastAmbiguousShare, share)
	n.histories++
	n.operations += operations
	if operations > leastOperations+2*clients {
		n.extended++
	}
	n.ambiguous += h.ambiguous
	n.conflicts += h.conflicts
	n.repetitions += h.repetitions
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Illegal:
		n.illegal++
	default:
		n.undecided++
	}
	n.failed = h
}

// String is the figure.
func (n tally) String() string {
	return fmt.Sprintf("%s histories of %s operations, at least %.0f each; %.1f %% ambiguous, at least %.1f %% in each (for that, %s were extended, %s repeated); "+
		"%s conflicts, %s recognised retries; %s illegal, %s undecided",
		humanize.Comma(int64(n.histories)), humanize.Comma(int64(n.operations)), n.smallest,
		100*float64(n.ambiguous)/float64(max(1, n.operations)), 100*n.leastAmbiguousShare, humanize.Comma(int64(n.extended)), humanize.Comma(int64(n.repeated)),
		humanize.Comma(int64(n.conflicts)), humanize.Comma(int64(n.repetitions)), humanize.Comma(int64(n.illegal)), humanize.Comma(int64(n.undecided)))
}
