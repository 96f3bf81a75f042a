package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// Append implements [evsourcing.EventStore]. It waits for its turn, and until
// the events are as durable as [Options].Durability says. Within a transaction
// of [Store.Handler] or [Store.Replace], whose context ctx must be or come from,
// it returns at once, and the events are stored if and only if the transaction
// is: the result is Pending, and has no position.
func (s *Store) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.AppendResult{}, err
	}
	if err := evsourcing.Validate(batches...); err != nil {
		return evsourcing.AppendResult{}, err
	}
	a := engine.NewAppend(batches)
	t, err := s.joined(ctx)
	if err != nil {
		return evsourcing.AppendResult{}, err
	}
	if t != nil {
		return t.append(s, a)
	}
	return s.committer.Commit(ctx, a)
}

// beginGroup begins a transaction for the committer.
func (s *Store) beginGroup(idle func() bool) (bool, error) {
	if err := s.lock(context.Background()); err != nil {
		return false, err
	}
	err := s.begin(s.appends, func() error {
		if idle() {
			return errGaveUp
		}
		return nil
	})
	if err != nil {
		s.unlock()
	}
	if errors.Is(err, errGaveUp) {
		return false, nil
	}
	return err == nil, err
}

// writeGroup stores appends in the transaction that beginGroup has begun.
func (s *Store) writeGroup(group []*engine.Append) {
	defer s.unlock()
	err := s.tryGroup(group)
	primary, _ := code(err)
	alone := primary == zsqlite.ResultFull || primary == zsqlite.ResultError || primary == zsqlite.ResultTooBig
	if alone && len(group) > 1 && !errors.Is(err, evsourcing.ErrUncertain) {
		// There may be room for some, and what an index or a trigger of the
		// application's fails on may be of one.
		for i := range group {
			one := group[i : i+1]
			if err := s.begin(s.appends, func() error { return nil }); err != nil {
				fail(one, err)
				continue
			}
			fail(one, s.tryGroup(one))
		}
		return
	}
	fail(group, err)
}

// fail sets the outcome of all appends if err is not nil.
func fail(group []*engine.Append, err error) {
	if err == nil {
		return
	}
	for _, a := range group {
		a.Result, a.Err = evsourcing.AppendResult{}, err
	}
}

// tryGroup stores a group and ends the transaction, which is the append writer's.
// After an error nothing is stored, unless it is an ErrUncertain.
func (s *Store) tryGroup(group []*engine.Append) error {
	c := s.appends
	defer c.rollback()
	before, err := c.last()
	if err != nil {
		return s.explain("appending", err)
	}
	last, bytes := before, 0
	for _, a := range group {
		bytes += a.Size + pageSize
		if last, err = c.append(a, last); err != nil {
			return s.explain("appending", err)
		}
	}
	if last == before {
		return nil
	}
	if err := s.commit(c, bytes); err != nil {
		return err
	}
	s.committed(uint64(last))
	return nil
}

// last returns the last position.
func (c *conn) last() (last int64, err error) {
	_, err = c.row(lastPosition, nil, func(stmt *zsqlite.Stmt) { last = stmt.ColumnInt64(0) })
	return last, err
}

// append stores one append behind the position last, and returns the new last
// one. The append's outcome is set; an error is one after which the transaction
// can't go on.
func (c *conn) append(a *engine.Append, last int64) (int64, error) {
	position, header := last, 0
	versions := make([]uint64, len(a.Batches))
	for i := range a.Batches {
		b := &a.Batches[i]
		number, ok, err := c.streams.find(c, streamName(b.Stream))
		if err == nil && !ok {
			if b.Expected != 0 && b.Expected != evsourcing.AnyVersion {
				return c.judge(a, last, position, errors.New("there is no such stream"))
			}
			number, err = c.streams.create(c, streamName(b.Stream))
		}
		if err != nil {
			return last, err
		}
		version, guard := int64(b.Expected), int64(b.Expected)
		if b.Expected == evsourcing.AnyVersion {
			if version, err = c.version(number); err != nil {
				return last, err
			}
			guard = 0
		}
		for j := range b.Events {
			position++
			version++
			err := c.insert(&b.Events[j], &a.Headers[header], number, position, version, guard)
			if primary, _ := code(err); primary == zsqlite.ResultConstraint {
				return c.judge(a, last, position-1, err)
			}
			if err != nil {
				return last, err
			}
			guard = 0
			header++
		}
		versions[i] = uint64(version)
	}
	a.Result, a.Err = evsourcing.AppendResult{Position: uint64(position), Versions: versions}, nil // it may have been refused in a group that failed
	return position, nil
}

// judge takes out what was stored of an append behind last, up to position, and
// decides why the rest could not be.
func (c *conn) judge(a *engine.Append, last, position int64, cause error) (int64, error) {
	if position > last {
		err := c.run(deleteEvents, func(stmt *zsqlite.Stmt) { stmt.BindInt64(1, last+1) })
		if err != nil {
			return last, err
		}
	}
	result, fresh, err := engine.Judge(a.Batches, c)
	var primary zsqlite.ResultCode
	if err != nil {
		primary, _ = code(err)
	}
	switch {
	case fresh:
		// No rule of ours refuses it: a trigger or an index of somebody's does,
		// or an index is damaged.
		a.Err = fmt.Errorf("evsourcing: sqlite: append to %v: the database refuses it: %w", a.Batches[0].Stream, cause)
	case err != nil && primary != zsqlite.ResultError:
		return last, err
	default:
		a.Result, a.Err = result, err
	}
	return last, nil
}

// Find implements [engine.Lookup].
func (c *conn) Find(id uuid.UUID) (p engine.Place, ok bool, err error) {
	ok, err = c.row(findEvent, func(stmt *zsqlite.Stmt) { stmt.BindBytes(1, id[:]) }, func(stmt *zsqlite.Stmt) {
		p.Stream = evsourcing.StreamID{Type: stmt.ColumnText(0), ID: stmt.ColumnText(1)}
		p.Version, p.Position = uint64(stmt.ColumnInt64(2)), uint64(stmt.ColumnInt64(3))
	})
	return p, ok, err
}

// Version implements [engine.Lookup].
func (c *conn) Version(id evsourcing.StreamID) (uint64, error) {
	number, ok, err := c.streams.find(c, streamName(id))
	if err != nil || !ok {
		return 0, err
	}
	version, err := c.version(number)
	return uint64(version), err
}

// version returns the version of the stream with the number.
func (c *conn) version(number int64) (version int64, err error) {
	_, err = c.row(streamVersion, func(stmt *zsqlite.Stmt) { stmt.BindInt64(1, number) },
		func(stmt *zsqlite.Stmt) { version = stmt.ColumnInt64(0) })
	return version, err
}
