package storetest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
)

func brokenSnapshots() []brokenStore {
	const (
		same   = "a snapshot comes back as it was"
		names  = "snapshots of similar streams are kept apart"
		owned  = "a snapshot is neither kept nor shared"
		newest = "a snapshot gives way to a later one only"
		raced  = "of racing snapshots the newest stays"
	)
	// saves replaces what decides whether a snapshot is kept.
	saves := func(keep func(old, next evsourcing.Snapshot) bool) func(*testing.T, *variant) {
		return func(_ *testing.T, v *variant) {
			v.saveSnapshot = func(_ context.Context, s evsourcing.Snapshot) error {
				v.mu.Lock()
				defer v.mu.Unlock()
				if old, ok := v.snapshots[s.Stream]; !ok || keep(old, s) {
					s.Data, s.Time = bytes.Clone(s.Data), s.Time.UTC().Truncate(time.Microsecond)
					v.snapshots[s.Stream] = s
				}
				return nil
			}
		}
	}
	return []brokenStore{
		{"keeps snapshots as JSON", func(_ *testing.T, v *variant) {
			v.saveSnapshot = func(ctx context.Context, s evsourcing.Snapshot) error {
				s.Data = bytes.TrimSpace(s.Data)
				return v.simpleStore.SaveSnapshot(ctx, s)
			}
		}, []accusation{{"SnapshotStore", same, "the snapshot's data is"}}},

		{"forgets a column of snapshots", func(_ *testing.T, v *variant) {
			v.saveSnapshot = func(ctx context.Context, s evsourcing.Snapshot) error {
				s.Position = 0
				return v.simpleStore.SaveSnapshot(ctx, s)
			}
		}, []accusation{{"SnapshotStore", same, "the snapshot is"}}},

		{"folds the names of snapshots", func(_ *testing.T, v *variant) {
			fold := func(id evsourcing.StreamID) evsourcing.StreamID {
				return evsourcing.StreamID{Type: strings.ToLower(id.Type), ID: strings.ToLower(id.ID)}
			}
			v.saveSnapshot = func(ctx context.Context, s evsourcing.Snapshot) error {
				s.Stream = fold(s.Stream)
				return v.simpleStore.SaveSnapshot(ctx, s)
			}
			v.loadSnapshot = func(ctx context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
				s, ok, err := v.simpleStore.LoadSnapshot(ctx, fold(id))
				s.Stream = id
				return s, ok, err
			}
		}, []accusation{{"SnapshotStore", names, "the snapshot is"}}},

		{"keeps the caller's snapshot", func(_ *testing.T, v *variant) {
			v.saveSnapshot = func(_ context.Context, s evsourcing.Snapshot) error {
				v.snapshots[s.Stream] = s
				return nil
			}
		}, []accusation{{"SnapshotStore", owned, "after the saved data was changed"}}},

		{"hands out its own snapshot", func(_ *testing.T, v *variant) {
			v.loadSnapshot = func(_ context.Context, id evsourcing.StreamID) (evsourcing.Snapshot, bool, error) {
				s, ok := v.snapshots[id]
				return s, ok, nil
			}
		}, []accusation{{"SnapshotStore", owned, "after the loaded data was changed"}}},

		{"goes back to older snapshots", saves(func(evsourcing.Snapshot, evsourcing.Snapshot) bool {
			return true
		}), []accusation{
			{"SnapshotStore", newest, "after a lower version was saved"},
			{"SnapshotStore", raced, "the snapshot is"},
		}},

		{"never goes back to older snapshots", saves(func(old, next evsourcing.Snapshot) bool {
			return next.Version >= old.Version
		}), []accusation{{"SnapshotStore", newest, "after a lower version with another fingerprint was saved"}}},

		{"keeps the first of two equal snapshots", saves(func(old, next evsourcing.Snapshot) bool {
			return next.Fingerprint != old.Fingerprint || next.Version > old.Version
		}), []accusation{{"SnapshotStore", newest, "after an equal version was saved"}}},

		{"looks at the snapshot before it takes the lock", func(_ *testing.T, v *variant) {
			v.between = unevenly()
		}, []accusation{{"SnapshotStore", raced, "the snapshot is"}}},
	}
}
