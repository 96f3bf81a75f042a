package follow

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// findings are what is wrong, by how often.
type findings struct {
	Gaps    int // events that were passed over
	Doubled int // events handled again that must not be
	Back    int // falls: of a token, a checkpoint, a session's beginning, what Status shows
	first   string
}

func (f *findings) find(count *int, format string, args ...any) {
	*count++
	if f.first == "" {
		f.first = fmt.Sprintf(format, args...)
	}
}

func (f *findings) sum() int { return f.Gaps + f.Doubled + f.Back }

func (f *findings) String() string {
	return fmt.Sprintf("%s gaps, %s doubled, %s back in time", humanize.Comma(int64(f.Gaps)), humanize.Comma(int64(f.Doubled)), humanize.Comma(int64(f.Back)))
}

// A check compares what subscriptions have done with the log.
type check struct {
	findings
	events  []event        // those that are wanted, in order
	indexes map[uint64]int // of them, by position
	all     int            // events of the log, wanted or not
	late    int            // sessions that began at a checkpoint which had come late
}

type event struct {
	position uint64
	stream   string
}

// A row is what the exact subscription has written about an event.
type row struct {
	position, token uint64
	owner           string
}

// readLog reads the log, which grows no more, and checks that each stream is whole.
func readLog(ctx context.Context, s durable.Store) (*check, error) {
	c := &check{indexes: map[uint64]int{}}
	versions := map[evsourcing.StreamID]uint64{}
	last := uint64(0)
	for e, err := range s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			return nil, err
		}
		versions[e.Stream]++
		if e.Version != versions[e.Stream] || e.Position <= last {
			c.find(&c.Back, "position %d of the log, after %d, has version %d of %v as number %d", e.Position, last, e.Version, e.Stream, versions[e.Stream])
		}
		last = e.Position
		c.all++
		if wanted.Match(e) {
			c.indexes[e.Position] = len(c.events)
			c.events = append(c.events, event{e.Position, e.Stream.ID})
		}
	}
	return c, nil
}

// readRows returns the rows in the order in which they were written.
func readRows(ctx context.Context, s durable.Store) (rows []row, err error) {
	err = s.Rows(ctx, "SELECT position, token, owner FROM handled ORDER BY n", func(columns []string) error {
		position, err1 := strconv.ParseUint(columns[0], 10, 64)
		token, err2 := strconv.ParseUint(columns[1], 10, 64)
		rows = append(rows, row{position, token, columns[2]})
		if err1 != nil {
			return err1
		}
		return err2
	})
	return rows, err
}

// exactly checks the rows: each is of the next event, and of an owner that was not
// overtaken.
func (c *check) exactly(rows []row, sessions []*session) {
	owners := map[uint64]string{}
	for _, s := range sessions {
		owners[s.token] = s.owner
	}
	next, token := 0, uint64(0)
	for n, r := range rows {
		if r.token < token {
			c.find(&c.Back, "%s: row %d is of token %d, after %d", exact, n, r.token, token)
		}
		token = max(token, r.token)
		if owners[r.token] != r.owner {
			c.find(&c.Back, "%s: row %d is of %s, who has no token %d", exact, n, r.owner, r.token)
		}
		i, ok := c.indexes[r.position]
		if !ok || i < next {
			c.find(&c.Doubled, "%s: row %d, by %s with token %d, is of position %d, and all before %d had one", exact, n, r.owner, r.token, r.position, c.positionOf(next))
			continue
		}
		for ; next < i; next++ {
			c.find(&c.Gaps, "%s: there is no row of position %d before that of %d", exact, c.events[next].position, r.position)
		}
		next++
	}
	for ; next < len(c.events); next++ {
		c.find(&c.Gaps, "%s: there is no row of position %d", exact, c.events[next].position)
	}
}

// positionOf returns the position of the event with the index, for a text.
func (c *check) positionOf(index int) uint64 {
	if index < len(c.events) {
		return c.events[index].position
	}
	return evsourcing.AnyVersion
}

// A coverage is what was handled of the log.
type coverage struct {
	done  []bool
	first int // that is not done
}

// upTo reports whether all events up to the position were handled.
func (c *check) upTo(v *coverage, position uint64) bool {
	for v.first < len(v.done) && v.done[v.first] {
		v.first++
	}
	return v.first == len(v.done) || c.events[v.first].position > position
}

// atLeastOnce checks the sessions of a subscription that prints, in the order of their
// tokens. A session begins at the checkpoint that was saved last, up to which all was
// handled, and handles what follows, in order: the whole log, or where there are partitions
// each stream. It may also begin at a checkpoint whose save has failed, because a
// connection was cut: the server may still get that, after the one that was saved next.
func (c *check) atLeastOnce(name string, sessions []*session) {
	sessions = slices.Clone(sessions)
	slices.SortStableFunc(sessions, func(a, b *session) int { return cmp.Compare(a.token, b.token) })
	v := &coverage{done: make([]bool, len(c.events))}
	last, late := uint64(0), map[uint64]bool{}
	for _, s := range sessions {
		if len(s.steps) == 0 {
			continue
		}
		switch {
		case s.begin < last && late[s.begin]:
			c.late++
			last = s.begin
		case s.begin < last:
			c.find(&c.Back, "%s: session %d begins at %d, and %d was saved before", name, s.token, s.begin, last)
		}
		if !c.upTo(v, s.begin) {
			c.find(&c.Gaps, "%s: session %d begins at %d, and %d was not handled", name, s.token, s.begin, c.positionOf(v.first))
		}
		c.session(name, s, v)
		for _, step := range s.steps {
			switch step.what {
			case saved:
				last = max(last, step.position)
			case unsure:
				late[step.position] = true
			}
		}
	}
	for c.upTo(v, evsourcing.AnyVersion); v.first < len(v.done); v.first++ {
		if !v.done[v.first] {
			c.find(&c.Gaps, "%s: position %d was never handled", name, c.events[v.first].position)
		}
	}
}

// session checks what one session does.
func (c *check) session(name string, s *session, v *coverage) {
	next, _ := slices.BinarySearchFunc(c.events, s.begin+1, func(e event, p uint64) int { return cmp.Compare(e.position, p) })
	last, streams := s.begin, map[string]uint64{}
	for _, step := range s.steps {
		if step.what != got {
			if step.position < last {
				c.find(&c.Back, "%s: session %d saves %d after %d", name, s.token, step.position, last)
			}
			last = step.position
			if !c.upTo(v, last) {
				c.find(&c.Gaps, "%s: session %d saves %d, and %d was not handled", name, s.token, last, c.positionOf(v.first))
			}
			continue
		}
		i, ok := c.indexes[step.position]
		if !ok {
			c.find(&c.Doubled, "%s: session %d handles %d, where there is no event for it", name, s.token, step.position)
			continue
		}
		v.done[i] = true
		if stream := c.events[i].stream; step.position <= streams[stream] || step.position <= s.begin {
			c.find(&c.Doubled, "%s: session %d, which begins at %d, handles %d of stream %s after %d", name, s.token, s.begin, step.position, stream, streams[stream])
		} else {
			streams[stream] = step.position
		}
		if name == plain && i != next {
			c.find(&c.Gaps, "%s: session %d handles %d where %d comes next", name, s.token, step.position, c.positionOf(next))
		}
		next = i + 1
	}
}
