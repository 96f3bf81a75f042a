package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/evsourcing/evsourcing"
)

func claimCases() []testCase {
	needs := []capability{hasClaimer, hasCheckpoints}
	return []testCase{
		{"a claim returns the checkpoint", ruleCheckpoint, needs, checkClaimCheckpoint},
		{"a name has one owner at a time", ruleOneOwner, needs, checkOneOwner},
		{"a name is claimed by one of many racers", ruleOneOwner, needs, checkClaimRace},
		{"owners who take turns never overlap", ruleOneOwner, needs, checkTurns},
		{"the token rises with each new owner", ruleToken, needs, checkTokens},
		{"the old owner is fenced off", ruleFenced, needs, checkOldOwner},
		{"a lease ends after its time", ruleLease, needs, checkLeaseEnds},
		{"claims of similar names are kept apart", ruleOneOwner, needs, checkClaimNames},
	}
}

// long is a lease that no case outlives.
const long = time.Hour

func (s *suite) claim(name, owner string, ttl time.Duration) (evsourcing.Checkpoint, error) {
	store, _ := evsourcing.Capability[evsourcing.Claimer](s.store)
	call := s.begin(s.ctx, "Claim of", name)
	defer s.end(call)
	return store.Claim(s.ctx, name, owner, ttl)
}

func (s *suite) mustClaim(name, owner string, ttl time.Duration) evsourcing.Checkpoint {
	s.t.Helper()
	c, err := s.claim(name, owner, ttl)
	if err != nil {
		s.fatalf("Claim of %.100q for %s failed: %v", name, owner, err)
	}
	return c
}

// wantRefused tries to claim a name while another's lease lasts.
func (s *suite) wantRefused(name, owner string, ttl time.Duration) {
	s.t.Helper()
	if c, err := s.claim(name, owner, ttl); !errors.Is(err, evsourcing.ErrFenced) {
		s.errorf("Claim of %.100q for %s, while another's lease lasts, returned %+v and the error %v, want ErrFenced", name, owner, c, err)
	}
}

// claimEventually claims a name as soon as another's lease has run out.
func (s *suite) claimEventually(name, owner string, ttl time.Duration) evsourcing.Checkpoint {
	s.t.Helper()
	var c evsourcing.Checkpoint
	s.eventually(fmt.Sprintf("a claim of %q for %s, the end of another's lease,", name, owner), func() bool {
		var err error
		c, err = s.claim(name, owner, ttl)
		if err != nil && !errors.Is(err, evsourcing.ErrFenced) {
			s.fatalf("Claim failed: %v", err)
		}
		return err == nil
	})
	return c
}

func checkClaimCheckpoint(s *suite) {
	c := s.mustClaim("name", "one", long)
	if c.Token == 0 {
		s.errorf("Claim returned token 0")
	}
	if c.Position != 0 {
		s.errorf("Claim of a name without a checkpoint returned %+v", c)
	}
	if _, ok := s.checkpoint("name"); ok {
		s.errorf("Checkpoint finds one after a Claim, though none was saved")
	}
	saved := s.mustSave("name", 42, c.Token)
	s.wantCheckpoint("after the owner saved it", "name", saved)
	if again := s.mustClaim("name", "one", long); again != saved {
		s.errorf("Claim by the owner returned %+v, want %+v", again, saved)
	}
	s.mustClaim("name", "one", 0)
	second := s.mustClaim("name", "two", long)
	if second.Position != saved.Position || second.EventID != saved.EventID {
		s.errorf("Claim by the next owner returned %+v, want the checkpoint %+v", second, saved)
	}
	// The token is the highest that was claimed, though not saved yet.
	s.wantCheckpoint("after the next owner claimed it", "name", second)
}

func checkOneOwner(s *suite) {
	s.mustClaim("name", "one", long)
	s.wantRefused("name", "two", long)
	s.wantRefused("name", "ONE", long)
	s.wantRefused("name", "one ", long)
	s.mustClaim("name", "one", long)
	// Another can't end the lease either.
	s.wantRefused("name", "two", 0)
	s.wantRefused("name", "two", -time.Second)
	s.wantRefused("name", "two", long)
	s.mustClaim("other", "two", long)
	s.wantRefused("other", "one", long)
	s.mustClaim("name", "one", 0)
	s.mustClaim("name", "two", long)
	s.wantRefused("name", "one", long)
}

func checkClaimRace(s *suite) {
	for round := range s.size(30, 10) {
		name := fmt.Sprint("raced-", round)
		var winners atomic.Int32
		s.together(racers, func(i int) {
			_, err := s.claim(name, fmt.Sprint("owner-", i), long)
			switch {
			case err == nil:
				winners.Add(1)
			case !errors.Is(err, evsourcing.ErrFenced):
				s.errorf("Claim returned %v, want nil or ErrFenced", err)
			}
		})
		if n := winners.Load(); n != 1 {
			s.fatalf("round %d: %d of %d racing owners claimed the name, want 1", round, n, racers)
		}
	}
}

// checkTurns lets owners claim a name, save a checkpoint and give the name up.
func checkTurns(s *suite) {
	const owners, turns = 6, 3
	var inside atomic.Int32
	var highest atomic.Uint64
	s.together(owners, func(i int) {
		owner := fmt.Sprint("owner-", i)
		for range turns {
			c := s.claimEventually("name", owner, long)
			if n := inside.Add(1); n != 1 {
				s.errorf("%d owners at once", n)
			}
			if last := highest.Swap(c.Token); c.Token <= last {
				s.errorf("an owner got token %d after token %d was given out", c.Token, last)
			}
			s.mustSave("name", c.Position+1, c.Token)
			inside.Add(-1)
			s.mustClaim("name", owner, 0)
		}
	})
	if c, ok := s.checkpoint("name"); !ok || c.Position != owners*turns {
		s.errorf("after %d turns that advance the checkpoint by one it is at %d, %t", owners*turns, c.Position, ok)
	}
}

func checkTokens(s *suite) {
	s.mustSave("name", 1, 1000)
	one := s.mustClaim("name", "one", long)
	if one.Token <= 1000 {
		s.errorf("the first claim got token %d, though token 1000 was saved before", one.Token)
	}
	for range 3 {
		if c := s.mustClaim("name", "one", long); c.Token != one.Token {
			s.errorf("renewing the lease changed the token from %d to %d", one.Token, c.Token)
		}
	}
	s.mustClaim("name", "one", 0)
	two := s.mustClaim("name", "two", long)
	if two.Token <= one.Token {
		s.errorf("the second owner got token %d, the first had %d", two.Token, one.Token)
	}
	s.mustClaim("name", "two", 0)
	three := s.mustClaim("name", "one", long)
	if three.Token <= two.Token {
		s.errorf("the first owner, back again, got token %d, the second had %d", three.Token, two.Token)
	}
	s.stopIfFailed()
	// A lease so short that it has run out when its owner comes back.
	short := s.mustClaim("short", "one", time.Millisecond)
	s.eventually("a higher token for an owner whose lease had run out", func() bool {
		c := s.mustClaim("short", "one", time.Millisecond)
		if c.Token < short.Token {
			s.fatalf("the token went back from %d to %d", short.Token, c.Token)
		}
		return c.Token > short.Token
	})
}

func checkOldOwner(s *suite) {
	one := s.mustClaim("name", "one", long)
	s.mustSave("name", 10, one.Token)
	s.wantFenced("without a token, while the name has an owner", "name", 0)
	s.mustClaim("name", "one", 0)
	two := s.mustClaim("name", "two", long)
	s.wantFenced("after another owner claimed the name", "name", one.Token)
	s.wantCheckpoint("after the old owner was refused", "name", two)
	c := s.mustSave("name", 20, two.Token)
	s.wantFenced("after another owner saved its checkpoint", "name", one.Token)
	s.wantCheckpoint("after the old owner was refused again", "name", c)
}

func checkLeaseEnds(s *suite) {
	const ttl = 30 * time.Millisecond
	one := s.mustClaim("name", "one", ttl)
	two := s.claimEventually("name", "two", ttl)
	if two.Token <= one.Token {
		s.errorf("the owner after a lease had run out got token %d, the one before had %d", two.Token, one.Token)
	}
	s.wantFenced("after the lease had run out and another claimed the name", "name", one.Token)
	three := s.claimEventually("name", "one", long)
	if three.Token <= two.Token {
		s.errorf("the owner after a lease had run out got token %d, the one before had %d", three.Token, two.Token)
	}
	// Renewing sets the lease anew, longer or shorter.
	s.wantRefused("name", "two", long)
	s.mustClaim("name", "one", ttl)
	s.claimEventually("name", "two", long)
	s.mustClaim("name", "two", -time.Second)
	s.mustClaim("name", "three", long)
}

func checkClaimNames(s *suite) {
	tokens := map[string]uint64{}
	for i, name := range hostileNames() {
		tokens[name] = s.mustClaim(name, fmt.Sprint("owner-", i), long).Token
	}
	for i, name := range hostileNames() {
		if c := s.mustClaim(name, fmt.Sprint("owner-", i), long); c.Token != tokens[name] {
			s.errorf("renewing the lease of %.100q changed the token from %d to %d", name, tokens[name], c.Token)
		}
		s.wantRefused(name, "another", long)
	}
}
