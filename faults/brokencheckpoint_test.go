package faults

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/evsourcing/evsourcing"
)

func brokenCheckpoints() []brokenStore {
	return []brokenStore{
		{"keeps the first snapshot of a stream", func(s store) store {
			return withSaveSnapshot{s, func(ctx context.Context, snapshot evsourcing.Snapshot) error {
				if old, ok, err := s.LoadSnapshot(ctx, snapshot.Stream); err == nil && ok && old.Version > snapshot.Version {
					return nil // whatever its fingerprint
				}
				return s.SaveSnapshot(ctx, snapshot)
			}}
		}, "LoadSnapshot of"},

		{"keeps the last snapshot of a stream", func(s store) store {
			return withSaveSnapshot{s, func(ctx context.Context, snapshot evsourcing.Snapshot) error {
				if old, ok, err := s.LoadSnapshot(ctx, snapshot.Stream); err == nil && ok && old.Version > snapshot.Version {
					old.Fingerprint, old.Version = "to be replaced", 0
					_ = s.SaveSnapshot(ctx, old)
				}
				return s.SaveSnapshot(ctx, snapshot)
			}}
		}, "LoadSnapshot of"},

		{"returns the snapshot that it keeps", func(s store) store {
			kept := map[evsourcing.StreamID][]byte{}
			var mu sync.Mutex
			saves := withSaveSnapshot{s, func(ctx context.Context, snapshot evsourcing.Snapshot) error {
				mu.Lock()
				delete(kept, snapshot.Stream)
				mu.Unlock()
				return s.SaveSnapshot(ctx, snapshot)
			}}
			return withLoadSnapshot{saves, func(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
				snapshot, ok, err := s.LoadSnapshot(ctx, id)
				mu.Lock()
				defer mu.Unlock()
				if data, found := kept[id]; found {
					snapshot.Data = data
				} else if ok {
					kept[id] = snapshot.Data
				}
				return snapshot, ok, err
			}}
		}, "Data is"},

		{"never goes back to a lower position", func(s store) store {
			return withSaveCheckpoint{s, func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				if old, ok, err := s.Checkpoint(ctx, name); err == nil && ok && c.Position < old.Position && c.Token == old.Token {
					return nil
				}
				return s.SaveCheckpoint(ctx, name, c)
			}}
		}, "Checkpoint of"},

		{"says nothing of a lower token", func(s store) store {
			return withSaveCheckpoint{s, func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				if err := s.SaveCheckpoint(ctx, name, c); !errors.Is(err, evsourcing.ErrFenced) {
					return err
				}
				return nil
			}}
		}, "want ErrFenced"},

		{"saves a lower token", func(s store) store {
			return withSaveCheckpoint{s, func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				err := s.SaveCheckpoint(ctx, name, c)
				if errors.Is(err, evsourcing.ErrFenced) {
					old, _, _ := s.Checkpoint(ctx, name)
					c.Token = old.Token
					_ = s.SaveCheckpoint(ctx, name, c)
				}
				return err
			}}
		}, "Checkpoint of"},

		{"takes a claim for a checkpoint", func(s store) store {
			return withCheckpoint{s, func(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
				c, ok, err := s.Checkpoint(ctx, name)
				return c, ok || c.Token > 0, err
			}}
		}, "Checkpoint of"},

		{"lets others end a lease", func(s store) store {
			return withClaim{s, func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				c, err := s.Claim(ctx, name, owner, ttl)
				if errors.Is(err, evsourcing.ErrFenced) && ttl <= 0 {
					c, _, err = s.Checkpoint(ctx, name)
				}
				return c, err
			}}
		}, "want ErrFenced"},

		{"raises the token when a lease is renewed", func(s store) store {
			return withClaim{s, func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				if _, err := s.Claim(ctx, name, owner, 0); err != nil {
					return evsourcing.Checkpoint{}, err
				}
				return s.Claim(ctx, name, owner, ttl)
			}}
		}, "returned token"},

		{"never ends a lease", func(s store) store {
			return withClaim{s, func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				return s.Claim(ctx, name, owner, max(ttl, lease))
			}}
		}, "fenced by another owner|returned token"},

		{"gives a name to all who claim it at once", func(s store) store {
			return withClaim{s, func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				c, err := s.Claim(ctx, name, owner, ttl)
				if errors.Is(err, evsourcing.ErrFenced) {
					c, _, err = s.Checkpoint(ctx, name)
				}
				return c, err
			}}
		}, "want ErrFenced|returned token|owners got it|Checkpoint of"},

		{"loses leases when it is closed", func(s store) store {
			w := &lossy{store: s, owners: map[string]string{}}
			return w
		}, "want ErrFenced|returned token"},
	}
}

// lossy stores end all leases when they are closed.
type lossy struct {
	store
	mu     sync.Mutex // guards owners
	owners map[string]string
}

func (s *lossy) Claim(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	c, err := s.store.Claim(ctx, name, owner, ttl)
	if err == nil {
		s.mu.Lock()
		s.owners[name] = owner
		s.mu.Unlock()
	}
	return c, err
}

func (s *lossy) reopened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, owner := range s.owners {
		_, _ = s.store.Claim(context.Background(), name, owner, 0)
	}
}
