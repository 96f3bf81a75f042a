package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
)

func brokenCheckpoints() []brokenStore {
	const (
		same   = "a checkpoint comes back as it was"
		names  = "checkpoints of similar names are kept apart"
		fenced = "a lower token is fenced off"
		raced  = "of racing tokens the highest stays"

		returned = "a claim returns the checkpoint"
		oneOwner = "a name has one owner at a time"
		claimed  = "a name is claimed by one of many racers"
		turns    = "owners who take turns never overlap"
		tokens   = "the token rises with each new owner"
		oldOwner = "the old owner is fenced off"
		ends     = "a lease ends after its time"
		similar  = "claims of similar names are kept apart"
	)
	// claims replaces what the store does before a claim.
	claims := func(f func(l *lease, owner string, ttl time.Duration)) func(*testing.T, *variant) {
		return func(_ *testing.T, v *variant) {
			v.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				v.mu.Lock()
				f(v.lease(name), owner, ttl)
				v.mu.Unlock()
				return v.simpleStore.Claim(ctx, name, owner, ttl)
			}
		}
	}
	return []brokenStore{
		{"never rewinds a checkpoint", func(_ *testing.T, v *variant) {
			v.saveCheckpoint = func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				if old, ok, _ := v.simpleStore.Checkpoint(ctx, name); ok && old.Position > c.Position {
					return nil
				}
				return v.simpleStore.SaveCheckpoint(ctx, name, c)
			}
		}, []accusation{{"CheckpointStore", same, "after it was saved"}}},

		{"forgets the event of a checkpoint", func(_ *testing.T, v *variant) {
			v.saveCheckpoint = func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				return v.simpleStore.SaveCheckpoint(ctx, name, evsourcing.Checkpoint{Position: c.Position, Token: c.Token})
			}
		}, []accusation{{"CheckpointStore", same, "after it was saved"}}},

		{"returns a checkpoint where there is none", func(_ *testing.T, v *variant) {
			v.checkpoint = func(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
				c, _, err := v.simpleStore.Checkpoint(ctx, name)
				return c, true, err
			}
		}, []accusation{
			{"CheckpointStore", same, "which was never saved"},
			{"CheckpointStore", returned, "though none was saved"},
		}},

		{"folds the names of checkpoints", func(_ *testing.T, v *variant) {
			v.saveCheckpoint = func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				c.Token = 0
				return v.simpleStore.SaveCheckpoint(ctx, strings.ToLower(name), c)
			}
			v.checkpoint = func(ctx context.Context, name string) (evsourcing.Checkpoint, bool, error) {
				return v.simpleStore.Checkpoint(ctx, strings.ToLower(name))
			}
			v.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				return v.simpleStore.Claim(ctx, strings.ToLower(name), owner, ttl)
			}
		}, []accusation{
			{"CheckpointStore", names, "among many names"},
			{"Claimer", similar, "fenced by another owner"},
		}},

		{"does not look at tokens", func(_ *testing.T, v *variant) {
			v.saveCheckpoint = func(_ context.Context, name string, c evsourcing.Checkpoint) error {
				v.mu.Lock()
				defer v.mu.Unlock()
				l := v.lease(name)
				l.Checkpoint, l.saved = c, true
				return nil
			}
		}, []accusation{
			{"CheckpointStore", fenced, "with token 4 returned <nil>, want ErrFenced"},
			{"CheckpointStore", raced, "returned {Position"},
			{"CheckpointStore", oldOwner, "returned <nil>, want ErrFenced"},
		}},

		{"saves what it fences off", func(_ *testing.T, v *variant) {
			v.saveCheckpoint = func(ctx context.Context, name string, c evsourcing.Checkpoint) error {
				err := v.simpleStore.SaveCheckpoint(ctx, name, c)
				v.mu.Lock()
				defer v.mu.Unlock()
				l := v.lease(name)
				l.Position, l.EventID, l.saved = c.Position, c.EventID, true
				return err
			}
		}, []accusation{
			{"CheckpointStore", fenced, "after a lower token was refused"},
			{"CheckpointStore", oldOwner, "after the old owner was refused"},
		}},

		{"looks at the token before it takes the lock", func(_ *testing.T, v *variant) {
			v.between = unevenly()
		}, []accusation{
			{"CheckpointStore", raced, "returned {Position"},
			{"Claimer", claimed, "racing owners claimed the name, want 1"},
			{"Claimer", turns, "owners at once"},
		}},

		{"fences with saved tokens only", func(_ *testing.T, v *variant) {
			saved := map[string]uint64{}
			v.saveCheckpoint = func(_ context.Context, name string, c evsourcing.Checkpoint) error {
				v.mu.Lock()
				defer v.mu.Unlock()
				if c.Token < saved[name] {
					return evsourcing.ErrFenced
				}
				saved[name] = c.Token
				l := v.lease(name)
				c.Token = max(c.Token, l.Token)
				l.Checkpoint, l.saved = c, true
				return nil
			}
		}, []accusation{
			{"CheckpointStore", oldOwner, "after another owner claimed the name: SaveCheckpoint with token 1 returned <nil>"},
		}},

		{"returns nothing but the token from a claim", func(_ *testing.T, v *variant) {
			v.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				c, err := v.simpleStore.Claim(ctx, name, owner, ttl)
				return evsourcing.Checkpoint{Token: c.Token}, err
			}
		}, []accusation{
			{"CheckpointStore", returned, "Claim by the owner returned"},
		}},

		{"gives a name to whoever asks", claims(func(l *lease, owner string, _ time.Duration) {
			if l.owner != owner {
				l.until = time.Time{}
			}
		}), []accusation{
			{"Claimer", oneOwner, "want ErrFenced"},
			{"Claimer", claimed, "racing owners claimed the name, want 1"},
			{"Claimer", similar, "want ErrFenced"},
		}},

		{"lets anyone end a lease", claims(func(l *lease, owner string, ttl time.Duration) {
			if ttl <= 0 {
				l.owner = owner
			}
		}), []accusation{
			{"Claimer", oneOwner, "want ErrFenced"},
		}},

		{"compares owners without case", claims(func(l *lease, owner string, _ time.Duration) {
			if strings.EqualFold(l.owner, owner) {
				l.owner = owner
			}
		}), []accusation{
			{"Claimer", oneOwner, "for ONE, while another's lease lasts"},
		}},

		{"draws a new token for a renewal", claims(func(l *lease, owner string, _ time.Duration) {
			if l.owner == owner {
				l.Token++
			}
		}), []accusation{
			{"Claimer", tokens, "renewing the lease changed the token"},
		}},

		{"keeps the token when the name changes hands", func(_ *testing.T, v *variant) {
			v.claim = func(_ context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				v.mu.Lock()
				defer v.mu.Unlock()
				l, now := v.lease(name), time.Now()
				if l.until.After(now) && l.owner != owner {
					return evsourcing.Checkpoint{}, evsourcing.ErrFenced
				}
				l.Token = max(l.Token, 1)
				l.owner, l.until = owner, now.Add(ttl)
				return l.Checkpoint, nil
			}
		}, []accusation{
			{"Claimer", tokens, "the second owner got token"},
			{"Claimer", turns, "was given out"},
			{"Claimer", ends, "the owner after a lease had run out got token"},
			{"CheckpointStore", oldOwner, "returned <nil>, want ErrFenced"},
		}},

		{"starts tokens at one", func(_ *testing.T, v *variant) {
			v.saveCheckpoint = func(_ context.Context, name string, c evsourcing.Checkpoint) error {
				v.mu.Lock()
				defer v.mu.Unlock()
				l := v.lease(name)
				c.Token = l.Token
				l.Checkpoint, l.saved = c, true
				return nil
			}
		}, []accusation{
			{"Claimer", tokens, "though token 1000 was saved before"},
		}},

		{"keeps the token of a lease that had run out", func(_ *testing.T, v *variant) {
			v.claim = func(ctx context.Context, name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
				v.mu.Lock()
				if l := v.lease(name); l.owner == owner {
					defer v.mu.Unlock()
					l.until = time.Now().Add(ttl)
					return l.Checkpoint, nil
				}
				v.mu.Unlock()
				return v.simpleStore.Claim(ctx, name, owner, ttl)
			}
		}, []accusation{
			{"Claimer", tokens, "a higher token for an owner whose lease had run out did not come within"},
		}},

		{"never ends a lease by itself", claims(func(l *lease, _ string, _ time.Duration) {
			if l.until.After(time.Now()) || l.owner != "" && l.until.After(time.Now().Add(-time.Hour)) {
				l.until = time.Now().Add(time.Hour)
			}
		}), []accusation{
			{"Claimer", ends, "the end of another's lease, did not come within"},
		}},
	}
}
