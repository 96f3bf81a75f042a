package kill

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// An audit compares what is stored with what was acknowledged, and the read model with
// what is stored. It goes on from where it had come, so that it takes no longer when more
// is stored.
type audit struct {
	mu    sync.Mutex // guards acks
	acks  []ack      // that were not looked for yet
	acked []ack      // all others, for who reads the log

	position uint64                         // of the last event read
	versions map[evsourcing.StreamID]uint64 // of the last events
	open     part                           // the last event, if its append is not complete
	appends  map[string]uint64              // last positions of the appends that are there
	row      string                         // number of the last row read
	unrowed  []uint64                       // positions of events whose rows were not read yet

	events, rows int
	findings
}

// A part is an event of an append.
type part struct {
	id         string
	part, size int
}

// findings are what is wrong, by how often.
type findings struct {
	Lost     int // appends acknowledged, and not there, or not where it was said
	Half     int // appends that are there in part, or not together
	Repeated int // appends that are there twice
	Torn     int // events whose version does not follow that of the one before
	Doubled  int // rows of events that had a row, or come too late
	Missing  int // rows that are missing
	first    string
}

func newAudit() *audit {
	return &audit{versions: map[evsourcing.StreamID]uint64{}, appends: map[string]uint64{}, row: "0"}
}

// acknowledged notes an append that has to be there from now on.
func (a *audit) acknowledged(k ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acks = append(a.acks, k)
}

func (f *findings) find(count *int, format string, args ...any) {
	*count++
	if f.first == "" {
		f.first = fmt.Sprintf(format, args...)
	}
}

// sum returns how many things are wrong.
func (f *findings) sum() int {
	return f.Lost + f.Half + f.Repeated + f.Torn + f.Doubled + f.Missing
}

func (f *findings) String() string {
	n := func(i int) string { return humanize.Comma(int64(i)) }
	return fmt.Sprintf("%s appends lost, %s halves, %s stored twice, %s versions out of turn, %s rows doubled, %s missing",
		n(f.Lost), n(f.Half), n(f.Repeated), n(f.Torn), n(f.Doubled), n(f.Missing))
}

// readLog reads what the log has now, and looks for what was acknowledged before. After an
// error it may be called again.
func (a *audit) readLog(ctx context.Context, s durable.Store) error {
	a.mu.Lock()
	acks := a.acks // there may be more soon
	a.mu.Unlock()
	for e, err := range s.Events(ctx, evsourcing.Range{After: a.position}, evsourcing.Filter{}) {
		if err != nil {
			return err
		}
		if err := a.readEvent(e); err != nil {
			return err
		}
	}
	if a.open.id != "" {
		a.find(&a.Half, "of append %s only %d parts of %d are there, at the end of the log", a.open.id, a.open.part, a.open.size)
	}
	for _, k := range acks {
		if p := a.appends[k.id]; p == 0 || k.position != 0 && p != k.position {
			a.find(&a.Lost, "append %s was acknowledged at position %d, and is at %d", k.id, k.position, p)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acks = a.acks[len(acks):]
	a.acked = append(a.acked, acks...)
	return nil
}

// readEvent reads the next event of the log.
func (a *audit) readEvent(e evsourcing.StoredEvent) error {
	var p part
	if _, err := fmt.Sscanf(string(e.Data), "%s %d %d", &p.id, &p.part, &p.size); err != nil {
		return fmt.Errorf("the event at position %d: %w", e.Position, err)
	}
	follows := p.id == a.open.id && p.part == a.open.part+1 && e.Position == a.position+1
	if a.open.id != "" && !follows {
		a.find(&a.Half, "of append %s only %d parts of %d are there, up to position %d", a.open.id, a.open.part, a.open.size, a.position)
	}
	if p.part != 1 && !follows {
		a.find(&a.Half, "part %d of append %s stands alone at position %d", p.part, p.id, e.Position)
	}
	a.open = p
	if p.part == p.size {
		if a.appends[p.id] != 0 {
			a.find(&a.Repeated, "append %s is at position %d and at %d", p.id, a.appends[p.id], e.Position)
		}
		a.appends[p.id] = e.Position
		a.open = part{}
	}
	if a.versions[e.Stream]++; a.versions[e.Stream] != e.Version {
		a.find(&a.Torn, "version %d of %v comes as number %d", e.Version, e.Stream, a.versions[e.Stream])
		a.versions[e.Stream] = e.Version
	}
	a.unrowed = append(a.unrowed, e.Position)
	a.position = e.Position
	a.events++
	return nil
}

// readRows compares the rows that have come since it was called with the events that
// readLog has read since, which the projection has seen.
func (a *audit) readRows(ctx context.Context, s durable.Store) error {
	query := fmt.Sprintf("SELECT n, position FROM rows_seen WHERE n > %s AND position <= %d ORDER BY n", a.row, a.position)
	err := s.Rows(ctx, query, func(columns []string) error {
		position, err := strconv.ParseUint(columns[1], 10, 64)
		if err != nil {
			return err
		}
		a.row = columns[0]
		a.rows++
		for len(a.unrowed) > 0 && a.unrowed[0] < position {
			a.skip()
		}
		if len(a.unrowed) == 0 || a.unrowed[0] != position {
			a.find(&a.Doubled, "the row %s is of position %d, which had one, or comes too late", a.row, position)
			return nil
		}
		a.unrowed = a.unrowed[1:]
		return nil
	})
	for err == nil && len(a.unrowed) > 0 {
		a.skip()
	}
	return err
}

func (a *audit) skip() {
	a.find(&a.Missing, "the event at position %d has no row", a.unrowed[0])
	a.unrowed = a.unrowed[1:]
}

// look audits what is new. It has caughtUp wait until the projection has come to a position.
func (a *audit) look(ctx context.Context, s durable.Store, caughtUp func(position uint64) error) error {
	if err := a.readLog(ctx, s); err != nil {
		return err
	}
	if err := caughtUp(a.position); err != nil {
		return err
	}
	return a.readRows(ctx, s)
}

// again audits everything anew: what was there once must still be.
func (a *audit) again(ctx context.Context, s durable.Store, caughtUp func(position uint64) error) (*audit, error) {
	all := newAudit()
	all.acks = append(a.acked, a.acks...)
	return all, all.look(ctx, s, caughtUp)
}
