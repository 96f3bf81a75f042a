package evsourcing

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// LoadSnapshot implements [SnapshotStore].
func (s *MemoryStore) LoadSnapshot(ctx context.Context, id StreamID) (Snapshot, bool, error) {
	if err := ctx.Err(); err != nil {
		return Snapshot{}, false, err
	}
	if err := id.Validate(); err != nil {
		return Snapshot{}, false, err
	}
	s.mu.RLock()
	snapshot, ok := s.snapshots[id]
	s.mu.RUnlock()
	snapshot.Data = bytes.Clone(snapshot.Data)
	return snapshot, ok, nil
}

// SaveSnapshot implements [SnapshotStore].
func (s *MemoryStore) SaveSnapshot(ctx context.Context, snapshot Snapshot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := snapshot.Stream.Validate(); err != nil {
		return err
	}
	snapshot.Data = bytes.Clone(snapshot.Data)
	snapshot.Time = snapshot.Time.UTC().Truncate(time.Microsecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshots[snapshot.Stream]
	if old.Fingerprint != snapshot.Fingerprint || old.Version <= snapshot.Version {
		s.snapshots[snapshot.Stream] = snapshot
	}
	return nil
}

// Checkpoint implements [CheckpointStore].
func (s *MemoryStore) Checkpoint(ctx context.Context, name string) (Checkpoint, bool, error) {
	if err := checkName(ctx, name); err != nil {
		return Checkpoint{}, false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.checkpoints[name]
	return c.Checkpoint, c.saved, nil
}

// SaveCheckpoint implements [CheckpointStore].
func (s *MemoryStore) SaveCheckpoint(ctx context.Context, name string, c Checkpoint) error {
	if err := checkName(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.checkpoints[name]
	if c.Token < old.Token {
		return fmt.Errorf("%w: checkpoint %q has token %d, not %d", ErrFenced, name, old.Token, c.Token)
	}
	old.Checkpoint, old.saved = c, true
	s.checkpoints[name] = old
	return nil
}

// Claim implements [Claimer], by the clock of this process.
func (s *MemoryStore) Claim(ctx context.Context, name, owner string, ttl time.Duration) (Checkpoint, error) {
	if err := checkName(ctx, name); err != nil {
		return Checkpoint{}, err
	}
	if err := ValidateName(owner); err != nil {
		return Checkpoint{}, fmt.Errorf("evsourcing: claim of %q: the owner %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.checkpoints[name]
	now := time.Now()
	live := now.Before(c.until)
	if live && c.owner != owner {
		return Checkpoint{}, fmt.Errorf("%w: %q belongs to %q for another %v", ErrFenced, name, c.owner, c.until.Sub(now))
	}
	if !live {
		if ttl <= 0 {
			return c.Checkpoint, nil
		}
		c.Token++
	}
	c.owner, c.until = owner, now.Add(ttl)
	s.checkpoints[name] = c
	return c.Checkpoint, nil
}

func checkName(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ValidateName(name); err != nil {
		return fmt.Errorf("evsourcing: checkpoint %q: the name %w", abbreviate(name), err)
	}
	return nil
}
