package linear

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// streams are what the clients of a history compete for.
var streams = []evsourcing.StreamID{
	{Type: "linear", ID: "a"}, {Type: "linear", ID: "b"}, {Type: "linear", ID: "c"},
}

// A client does one operation after the other, on what it believes the store to hold.
type client struct {
	number   int
	endpoint endpoint
	history  *history

	versions  map[evsourcing.StreamID]uint64
	seen      []Seen    // some events that it has read
	appended  []Request // some appends that it was told to be stored
	uncertain []Request // appends that it may repeat
}

// run does operations until ctx ends, or the history is whole.
func (c *client) run(ctx context.Context) {
	c.versions = map[evsourcing.StreamID]uint64{}
	for n := 0; ctx.Err() == nil && !c.history.whole(1.2) && n < 10*c.history.least; n++ {
		q := c.next()
		p := c.history.record(c.number, q, func() Response { return c.endpoint.do(ctx, q) })
		c.learn(q, p)
		if p.Outcome == Refused && !q.Impatient { // the store is away
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// next makes the next request.
func (c *client) next() Request {
	switch dice := rand.IntN(100); {
	case len(c.uncertain) > 0 && dice < 40:
		return c.patience(take(&c.uncertain))
	case len(c.appended) > 0 && dice < 4: // nobody should, but it is allowed
		return c.patience(take(&c.appended))
	case dice < 50:
		return c.patience(c.append())
	case dice < 70:
		return Request{Kind: Load, Stream: stream()}
	case dice < 80:
		id := stream()
		return Request{Kind: Load, Stream: id, Range: between(c.versions[id] + 2)}
	case dice < 87:
		q := Request{Kind: Find, Stream: stream(), Event: uuid.New()}
		if len(c.seen) > 0 && dice > 80 {
			e := c.seen[rand.IntN(len(c.seen))]
			q.Event = e.ID
			if dice > 81 {
				q.Stream = e.Stream
			}
		}
		return q
	case dice < 93:
		return Request{Kind: Head}
	case len(c.seen) > 0:
		return Request{Kind: Events, Range: between(c.seen[len(c.seen)-1].Position + 2)}
	}
	return Request{Kind: Events}
}

// patience decides how long the client of an append waits. It is impatient rather
// often while the history lacks ambiguous operations.
func (c *client) patience(q Request) Request {
	_, ambiguous := c.history.size()
	often := 5
	if ambiguous < 1.4*leastAmbiguous {
		often = 50
	}
	q.Impatient = rand.IntN(100) < often
	return q
}

// append makes an append to one stream or two, at the versions that the client knows,
// or at any.
func (c *client) append() Request {
	q := Request{Kind: Append}
	for _, i := range rand.Perm(len(streams))[:1+rand.IntN(5)/4] {
		b := Batch{Stream: streams[i], Expected: c.versions[streams[i]]}
		switch rand.IntN(20) {
		case 0, 1, 2, 3, 4:
			b.Expected = evsourcing.AnyVersion
		case 5:
			b.Expected++ // there can't be such a version, unless somebody else was here
		}
		for range 1 + rand.IntN(5)/3 {
			b.Events = append(b.Events, uuid.New())
		}
		q.Batches = append(q.Batches, b)
	}
	if len(c.seen) > 0 && rand.IntN(40) == 0 {
		q.Batches[0].Events[0] = c.seen[rand.IntN(len(c.seen))].ID // it is stored already
	}
	return q
}

// learn keeps what the client may use later.
func (c *client) learn(q Request, p Response) {
	switch {
	case p.Outcome == Ambiguous:
		c.uncertain = append(c.uncertain, q)
	case p.Outcome == Conflict:
		c.versions[p.Conflict.Stream] = p.Conflict.Actual
	case p.Outcome != Done:
	case q.Kind == Append:
		for i, b := range q.Batches {
			if i < len(p.Result.Versions) {
				c.versions[b.Stream] = p.Result.Versions[i]
			}
		}
		c.appended = keep(append(c.appended, q))
	default:
		for _, e := range p.Events {
			c.versions[e.Stream] = max(c.versions[e.Stream], e.Version)
		}
		c.seen = keep(append(c.seen, p.Events...))
	}
}

// keep returns the newest few.
func keep[E any](s []E) []E {
	const most = 8
	return slices.Clone(s[max(0, len(s)-most):])
}

// take removes one.
func take[E any](s *[]E) E {
	i := rand.IntN(len(*s))
	e := (*s)[i]
	*s = slices.Delete(*s, i, i+1)
	return e
}

func stream() evsourcing.StreamID { return streams[rand.IntN(len(streams))] }

// between returns a range within the numbers up to a little beyond the last one.
func between(last uint64) evsourcing.Range {
	r := evsourcing.Range{After: rand.Uint64N(last), Backward: rand.IntN(2) == 0}
	if rand.IntN(2) == 0 {
		r.Until = r.After + rand.Uint64N(10)
	}
	if rand.IntN(2) == 0 {
		r.Limit = rand.IntN(6)
	}
	return r
}
