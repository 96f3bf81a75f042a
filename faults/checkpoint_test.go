package faults

import (
	"errors"
	"fmt"
	"math"
	"time"

	"pgregory.net/rapid"

	"github.com/evsourcing/evsourcing"
)

// Time is real here, so leases are such as no test outlives.
const lease = time.Hour

func (m *machine) compareCheckpoint(t *rapid.T, s store, name string) {
	m.within(t, fmt.Sprintf("Checkpoint of %q", name), func() error {
		got, ok, err := s.Checkpoint(m.ctx, name)
		want := m.model.checkpoints[name]
		if err == nil && (ok != want.saved || ok && got != want.Checkpoint) {
			return fmt.Errorf("it is %+v, %t, want %+v, %t", got, ok, want.Checkpoint, want.saved)
		}
		return err
	})
}

// saveCheckpoints saves checkpoints of a name.
func (m *machine) saveCheckpoints(t *rapid.T) {
	name := pick(t, "name", names)
	for range upTo(t, "checkpoints", 4) {
		m.saveCheckpoint(t, m.store(t), name)
	}
}

// claims claims a name, again and again.
func (m *machine) claims(t *rapid.T) {
	name := pick(t, "name", names)
	for range upTo(t, "claims", 4) {
		m.claim(t, m.store(t), name)
	}
}

// saveCheckpoint saves a checkpoint at any position. Its token is right, or too
// low; a higher one than the owner's is only saved when nobody owns the name,
// for what a renewal returns afterwards is left to the store.
func (m *machine) saveCheckpoint(t *rapid.T, s store, name string) {
	old := m.model.checkpoints[name]
	c := evsourcing.Checkpoint{Token: old.Token, Position: pick(t, "position", []uint64{0, 1, 2, m.model.head().Position, 1 << 40, math.MaxInt64})}
	if c.Position > 0 {
		c.EventID = m.newID()
	}
	switch {
	case old.Token > 0 && chance(t, "lower token", 3):
		c.Token = rapid.Uint64Range(0, old.Token-1).Draw(t, "token")
	case old.owner == "" && chance(t, "higher token", 3):
		c.Token += uint64(upTo(t, "token", 3))
	}
	m.within(t, fmt.Sprintf("SaveCheckpoint of %q, %+v", name, c), func() error {
		err := s.SaveCheckpoint(m.ctx, name, c)
		if c.Token < old.Token {
			if !errors.Is(err, evsourcing.ErrFenced) {
				return fmt.Errorf("it returned the error %v, want ErrFenced, for token %d was given out", err, old.Token)
			}
			return nil
		}
		if err == nil {
			old.Checkpoint, old.saved = c, true
			m.model.checkpoints[name] = old
		}
		return err
	})
	m.compareCheckpoint(t, m.store(t), name)
}

// claim claims a name, renews the claim or gives it up.
func (m *machine) claim(t *rapid.T, s store, name string) {
	owner := pick(t, "owner", owners)
	old := m.model.checkpoints[name]
	if old.owner != "" && rapid.Bool().Draw(t, "by the owner") {
		owner = old.owner
	}
	ttl := pick(t, "ttl", []time.Duration{lease, 2 * lease, 0, -time.Second, math.MinInt64})
	m.within(t, fmt.Sprintf("Claim of %q by %q for %v", name, owner, ttl), func() error {
		c, err := s.Claim(m.ctx, name, owner, ttl)
		return m.settleClaim(name, owner, ttl, c, err)
	})
	m.compareCheckpoint(t, m.store(t), name)
}

// settleClaim compares the answer to a claim with what it should be.
func (m *machine) settleClaim(name, owner string, ttl time.Duration, c evsourcing.Checkpoint, err error) error {
	old := m.model.checkpoints[name]
	if old.owner != "" && old.owner != owner {
		if !errors.Is(err, evsourcing.ErrFenced) {
			return fmt.Errorf("it returned %+v and the error %v, want ErrFenced, for %q owns it", c, err, old.owner)
		}
		return nil
	}
	switch {
	case err != nil:
		return err
	case c.Position != old.Position || c.EventID != old.EventID:
		return fmt.Errorf("it returned %+v, and the checkpoint is %+v", c, old.Checkpoint)
	case old.owner != "" && c.Token != old.Token:
		return fmt.Errorf("it returned token %d to the owner, who has token %d", c.Token, old.Token)
	case old.owner == "" && ttl > 0 && c.Token <= old.Token, c.Token < old.Token, c.Token > math.MaxInt64:
		return fmt.Errorf("it returned token %d to a new owner, and token %d was given out", c.Token, old.Token)
	}
	old.Token, old.owner = c.Token, owner
	if ttl <= 0 {
		old.owner = ""
	}
	m.model.checkpoints[name] = old
	return nil
}

// claimTogether lets all owners claim a name at once.
func (m *machine) claimTogether(t *rapid.T) {
	name := pick(t, "name", names)
	var from []store
	for range owners {
		from = append(from, m.store(t))
	}
	m.within(t, fmt.Sprintf("Claim of %q by all at once", name), func() error {
		type answer struct {
			owner string
			c     evsourcing.Checkpoint
			err   error
		}
		answers := make(chan answer)
		for i, owner := range owners {
			go func() {
				c, err := from[i].Claim(m.ctx, name, owner, lease)
				answers <- answer{owner, c, err}
			}()
		}
		var lost []answer
		winners := 0
		var failed error
		for range owners {
			a := <-answers
			if a.err != nil {
				lost = append(lost, a)
				continue
			}
			winners++
			failed = errors.Join(failed, m.settleClaim(name, a.owner, lease, a.c, nil))
		}
		for _, a := range lost {
			failed = errors.Join(failed, m.settleClaim(name, a.owner, lease, a.c, a.err))
		}
		if winners != 1 {
			failed = errors.Join(failed, fmt.Errorf("%d owners got it", winners))
		}
		return failed
	})
	m.compareCheckpoint(t, m.store(t), name)
}
