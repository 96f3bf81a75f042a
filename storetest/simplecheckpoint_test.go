package storetest

import (
	"bytes"
	"context"
	"time"

	"github.com/evsourcing/evsourcing"
)

func (s *simpleStore) LoadSnapshot(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Snapshot{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot, ok := s.snapshots[id]
	snapshot.Data = bytes.Clone(snapshot.Data)
	return snapshot, ok, nil
}

func (s *simpleStore) SaveSnapshot(ctx context.Context, snapshot evsourcing.Snapshot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.snapshots[snapshot.Stream]
	s.pause()
	if ok && old.Fingerprint == snapshot.Fingerprint && old.Version > snapshot.Version {
		return nil
	}
	snapshot.Data = bytes.Clone(snapshot.Data)
	snapshot.Time = s.round(snapshot.Time)
	s.snapshots[snapshot.Stream] = snapshot
	return nil
}

func (s *simpleStore) Checkpoint(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Checkpoint{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease(name)
	return l.Checkpoint, l.saved, nil
}

// lease returns what is known under the name.
func (s *simpleStore) lease(name string) *lease {
	l := s.checkpoints[name]
	if l == nil {
		l = &lease{}
		s.checkpoints[name] = l
	}
	return l
}

func (s *simpleStore) SaveCheckpoint(ctx context.Context, name string, c evsourcing.Checkpoint) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease(name)
	if c.Token < l.Token {
		return evsourcing.ErrFenced
	}
	s.pause()
	l.Checkpoint, l.saved = c, true
	return nil
}

func (s *simpleStore) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.Checkpoint{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease(name)
	now := time.Now()
	live := l.until.After(now)
	if live && l.owner != owner {
		return evsourcing.Checkpoint{}, evsourcing.ErrFenced
	}
	s.pause()
	if !live && ttl > 0 {
		l.Token++
	}
	l.owner, l.until = owner, now.Add(ttl)
	return l.Checkpoint, nil
}
