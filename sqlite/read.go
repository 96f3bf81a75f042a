package sqlite

import (
	"context"
	"iter"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// What one page has at most, and how many positions are looked at for it.
const (
	firstPage = 64 // then twice as many, and so on
	lastPage  = 1024
	pageBytes = 1 << 20
	scanSpan  = 16 << 10
)

// Load implements [evsourcing.EventStore]. A page is what was stored when it
// was read, so the iterator may yield events that were appended after it began.
// An event that is damaged ends it with an ErrCorrupt that names the event.
func (s *Store) Load(ctx context.Context, id evsourcing.StreamID, r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		if err := id.Validate(); err != nil {
			yield(evsourcing.StoredEvent{}, err)
			return
		}
		p := newPager(r)
		p.rows.stream = &id
		n := loadForward
		if r.Backward {
			n = loadBackward
		}
		engine.Pages(ctx, yield, func() (page []evsourcing.StoredEvent, last bool, err error) {
			err = s.read(ctx, "loading "+id.String(), func(c *conn) error {
				stmt, err := c.stmt(n)
				if err != nil {
					return err
				}
				stmt.BindText(loadType, id.Type)
				stmt.BindText(loadStream, id.ID)
				page, last, err = p.read(c, stmt)
				return err
			})
			return page, last, err
		})
	}
}

// Events implements [evsourcing.Log], and filters exactly. As with Load, the
// iterator may yield events that were appended after it began. A filter of more than
// 256 names does not spare reading what it leaves out.
func (s *Store) Events(ctx context.Context, r evsourcing.Range, f evsourcing.Filter) iter.Seq2[evsourcing.StoredEvent, error] {
	if engine.Long(f) {
		return engine.Sift(r, f, func(r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
			return s.Events(ctx, r, evsourcing.Filter{})
		})
	}
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		p := newPager(r)
		topics, types := possible(f.Topics), possible(f.Types)
		filtered := len(f.Topics) > 0 || len(f.Types) > 0
		n := scanForward
		if filtered {
			n = scanSomeForward
		}
		if r.Backward {
			n += scanBackward - scanForward
		}
		engine.Pages(ctx, yield, func() (page []evsourcing.StoredEvent, last bool, err error) {
			err = s.read(ctx, "reading the log", func(c *conn) error {
				stmt, err := c.stmt(n)
				if err != nil {
					return err
				}
				if !filtered {
					page, last, err = p.read(c, stmt)
					return err
				}
				bindList(stmt, scanTopics, f.Topics, topics)
				bindList(stmt, scanTypes, f.Types, types)
				page, last, err = p.readSpan(c, stmt)
				return err
			})
			return page, last, err
		})
	}
}

// possible returns those of the names that an event can have.
func possible(names []string) string {
	var list []string
	for _, name := range names {
		if evsourcing.ValidateName(name) == nil {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return "[]"
	}
	return engine.FormatTags(list)
}

// bindList binds one of a filter's lists; one that is empty lets all pass.
func bindList(stmt *zsqlite.Stmt, param int, names []string, text string) {
	if len(names) == 0 {
		stmt.BindNull(param)
	} else {
		stmt.BindText(param, text)
	}
}

// A pager reads the pages of one iteration.
type pager struct {
	walk engine.Walk
	size int
	rows rowReader
	page []evsourcing.StoredEvent
}

func newPager(r evsourcing.Range) *pager { return &pager{walk: engine.NewWalk(r), size: firstPage} }

// read reads the next page by a statement, and whether it is the last.
func (p *pager) read(c *conn, stmt *zsqlite.Stmt) (page []evsourcing.StoredEvent, last bool, err error) {
	if p.walk.Done() {
		return nil, true, nil
	}
	full, err := p.rowsWithin(c, stmt, p.walk.After, p.walk.Until)
	return p.page, !full || p.walk.Done(), err
}

// readSpan reads the next page of a filtered log. It looks at a number of
// positions only, so that it does not take long; the page may be empty.
func (p *pager) readSpan(c *conn, stmt *zsqlite.Stmt) (page []evsourcing.StoredEvent, last bool, err error) {
	if p.walk.Done() {
		return nil, true, nil
	}
	head, err := c.last()
	if err != nil {
		return nil, false, err
	}
	w := &p.walk
	w.Until = min(w.Until, max(head, w.After))
	if w.Done() {
		return nil, true, nil
	}
	after, until := w.After, w.Until
	if until-after > scanSpan {
		if w.Backward {
			after = until - scanSpan
		} else {
			until = after + scanSpan
		}
	}
	full, err := p.rowsWithin(c, stmt, after, until)
	if err != nil || full || w.Done() {
		return p.page, w.Done(), err
	}
	if w.Backward {
		w.Until = after
	} else {
		w.After = until
	}
	return p.page, w.Done(), nil
}

// rowsWithin reads a page of what is beyond after, up to until, and takes it off
// the walk. It reports whether there may be more.
func (p *pager) rowsWithin(c *conn, stmt *zsqlite.Stmt, after, until int64) (full bool, err error) {
	size := p.walk.Page(p.size)
	p.size = min(2*p.size, lastPage)
	if cap(p.page) < size {
		p.page = make([]evsourcing.StoredEvent, 0, size)
	}
	p.page = p.page[:0]
	stmt.BindInt64(scanAfter, after)
	stmt.BindInt64(scanUntil, until)
	stmt.BindInt64(scanLimit, int64(size))
	bytes := 0
	p.rows.begin()
	for len(p.page) < size && bytes < pageBytes {
		var ok bool
		if ok, err = stmt.Step(); !ok {
			break
		}
		i := len(p.page)
		p.page = p.page[:i+1]
		e := &p.page[i]
		err = p.rows.read(c, stmt, e)
		if beyond := int64(e.Position) <= after || int64(e.Position) > until; beyond && p.rows.stream == nil {
			err = nil
			p.page = p.page[:i]
			break
		}
		if err != nil {
			p.page = p.page[:i]
			break
		}
		bytes += len(e.Data)
	}
	if rerr := stmt.Reset(); err == nil {
		err = rerr
	}
	p.rows.name(p.page)
	n := len(p.page)
	full = n == size || bytes >= pageBytes
	if n > 0 {
		last := p.page[n-1].Position
		if p.rows.stream != nil {
			last = p.page[n-1].Version
		}
		p.walk.Advance(n, last)
	}
	return full, err
}

// read runs f on a connection for reading, or on that of ctx's transaction.
func (s *Store) read(ctx context.Context, doing string, f func(c *conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t, err := s.joined(ctx); t != nil || err != nil {
		if err != nil {
			return err
		}
		return t.use(s, doing, f)
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	var c *conn
	select {
	case c = <-s.readers:
	default:
		select {
		case c = <-s.readers:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		if c != nil && c.lost {
			c = nil
		}
		s.readers <- c
	}()
	if c == nil {
		var err error
		if c, err = s.connect(reading); err != nil {
			return err
		}
	}
	return s.explain(doing, f(c))
}

// Head implements [evsourcing.Log].
func (s *Store) Head(ctx context.Context) (m evsourcing.Mark, err error) {
	err = s.read(ctx, "reading the head", func(c *conn) error {
		m, err = c.mark()
		return err
	})
	return m, err
}

func (c *conn) mark() (m evsourcing.Mark, err error) {
	_, err = c.row(headEvent, nil, func(stmt *zsqlite.Stmt) {
		m.Position = uint64(stmt.ColumnInt64(0))
		stmt.ColumnBytes(1, m.EventID[:])
	})
	return m, err
}

// Find implements [evsourcing.Finder].
func (s *Store) Find(ctx context.Context, id evsourcing.StreamID, event uuid.UUID) (version uint64, ok bool, err error) {
	if err := id.Validate(); err != nil {
		return 0, false, err
	}
	var p engine.Place
	err = s.read(ctx, "looking for an event", func(c *conn) error {
		p, ok, err = c.Find(event)
		return err
	})
	if err != nil || !ok || p.Stream != id {
		return 0, false, err
	}
	return p.Version, true, nil
}
