package storetest

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func checkpointCases() []testCase {
	needs := []capability{hasCheckpoints}
	return []testCase{
		{"a checkpoint comes back as it was", ruleCheckpoint, needs, checkCheckpoint},
		{"checkpoints of similar names are kept apart", ruleCheckpoint, needs, checkCheckpointNames},
		{"a lower token is fenced off", ruleFenced, needs, checkFenced},
		{"of racing tokens the highest stays", ruleFenced, needs, checkFencedRace},
	}
}

func (s *suite) saveCheckpoint(name string, c evsourcing.Checkpoint) error {
	store, _ := evsourcing.Capability[evsourcing.CheckpointStore](s.store)
	call := s.begin(s.ctx, "SaveCheckpoint of", name)
	defer s.end(call)
	return store.SaveCheckpoint(s.ctx, name, c)
}

func (s *suite) checkpoint(name string) (evsourcing.Checkpoint, bool) {
	s.t.Helper()
	store, _ := evsourcing.Capability[evsourcing.CheckpointStore](s.store)
	call := s.begin(s.ctx, "Checkpoint of", name)
	defer s.end(call)
	c, ok, err := store.Checkpoint(s.ctx, name)
	if err != nil {
		s.fatalf("Checkpoint of %.100q failed: %v", name, err)
	}
	return c, ok
}

// mustSave saves a checkpoint at the position, and returns it.
func (s *suite) mustSave(name string, position, token uint64) evsourcing.Checkpoint {
	s.t.Helper()
	c := evsourcing.Checkpoint{Position: position, Token: token}
	if position > 0 {
		c.EventID = uuid.New()
	}
	if err := s.saveCheckpoint(name, c); err != nil {
		s.fatalf("SaveCheckpoint of %.100q with token %d failed: %v", name, token, err)
	}
	return c
}

func (s *suite) wantCheckpoint(what, name string, want evsourcing.Checkpoint) {
	s.t.Helper()
	if got, ok := s.checkpoint(name); !ok || got != want {
		s.errorf("%s: Checkpoint of %.100q returned %+v, %t, want %+v", what, name, got, ok, want)
	}
}

// wantFenced tries to save a checkpoint with a token that is too low.
func (s *suite) wantFenced(what, name string, token uint64) {
	s.t.Helper()
	err := s.saveCheckpoint(name, evsourcing.Checkpoint{Position: 77, EventID: uuid.New(), Token: token})
	if !errors.Is(err, evsourcing.ErrFenced) {
		s.errorf("%s: SaveCheckpoint with token %d returned %v, want ErrFenced", what, token, err)
	}
}

func checkCheckpoint(s *suite) {
	if c, ok := s.checkpoint("name"); ok {
		s.errorf("Checkpoint returned %+v, which was never saved", c)
	}
	for _, position := range []uint64{1, 10, 0, 1 << 40, 1<<63 - 1, 5} {
		c := s.mustSave("name", position, 0)
		s.wantCheckpoint("after it was saved", "name", c)
	}
	if c, ok := s.checkpoint("other"); ok {
		s.errorf("Checkpoint returned %+v for a name under which none was saved", c)
	}
}

func checkCheckpointNames(s *suite) {
	saved := map[string]evsourcing.Checkpoint{}
	for i, name := range hostileNames() {
		saved[name] = s.mustSave(name, uint64(i+1), uint64(i%3))
	}
	for name, c := range saved {
		s.wantCheckpoint("among many names", name, c)
	}
}

func checkFenced(s *suite) {
	c := s.mustSave("name", 10, 5)
	s.wantFenced("after token 5 was saved", "name", 4)
	s.wantFenced("after token 5 was saved", "name", 0)
	s.wantCheckpoint("after a lower token was refused", "name", c)
	c = s.mustSave("name", 3, 5)
	s.wantCheckpoint("after the same token was saved with a lower position", "name", c)
	c = s.mustSave("name", 20, 6)
	s.wantFenced("after token 6 was saved", "name", 5)
	s.wantCheckpoint("after a lower token was refused", "name", c)
	c = s.mustSave("other", 1, 1)
	s.wantCheckpoint("of another name", "other", c)
}

// checkFencedRace saves with many tokens at once. Whatever the order, the
// highest is saved and no lower one after it.
func checkFencedRace(s *suite) {
	for round := range s.size(30, 10) {
		name := fmt.Sprint("raced-", round)
		var list []evsourcing.Checkpoint
		for i := range racers {
			list = append(list, evsourcing.Checkpoint{Position: uint64(100 + i), EventID: uuid.New(), Token: uint64(1 + (i*5+round)%racers)})
		}
		s.together(racers, func(i int) {
			err := s.saveCheckpoint(name, list[i])
			switch {
			case err == nil:
			case !errors.Is(err, evsourcing.ErrFenced):
				s.errorf("SaveCheckpoint with token %d returned %v, want nil or ErrFenced", list[i].Token, err)
			case list[i].Token == racers:
				s.errorf("SaveCheckpoint with token %d, the highest, was fenced off: %v", racers, err)
			}
		})
		for _, c := range list {
			if c.Token == racers {
				s.wantCheckpoint(fmt.Sprintf("round %d", round), name, c)
			}
		}
		s.stopIfFailed()
	}
}
