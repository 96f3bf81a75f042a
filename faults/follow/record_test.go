package follow

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// A record is what the subscribers have printed.
type record struct {
	mu       sync.Mutex // guards everything
	sessions map[string][]*session
	latest   map[string]map[uint64]*session // by token
	owners   map[string]string              // the subscriber that has begun the last session
	last     map[string]uint64              // token of that
	steps    map[string]int                 // lines of sessions
	refused  int                            // commits and checkpoints of owners that were overtaken
	bad      []string                       // what subscribers have found wrong themselves
	err      error                          // a line that is not understood
}

// A session is the time for which an owner has the lease. One that could not give it back
// may have it again, with the same token.
type session struct {
	owner string
	token uint64
	begin uint64 // the checkpoint that it found
	steps []step
}

// A step is something that a session has done.
type step struct {
	position uint64
	what     string
}

// What the steps are.
const (
	got    = "got"    // handled
	saved  = "saved"  // as a checkpoint
	unsure = "unsure" // saved as a checkpoint, or not, or later: the save has failed
)

func newRecord() *record {
	r := &record{sessions: map[string][]*session{}, latest: map[string]map[uint64]*session{}, owners: map[string]string{}, last: map[string]uint64{}, steps: map[string]int{}}
	for _, name := range whole.names() {
		r.latest[name] = map[uint64]*session{}
	}
	return r
}

// line takes in what the subscriber has printed.
func (r *record) line(owner, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.parse(owner, text); err != nil && r.err == nil {
		r.err = fmt.Errorf("%s printed %q: %w", owner, text, err)
	}
}

func (r *record) parse(owner, text string) error {
	what, rest, _ := strings.Cut(text, " ")
	if what == "bad" {
		r.bad = append(r.bad, owner+": "+rest)
		return nil
	}
	name, rest, _ := strings.Cut(rest, " ")
	var numbers []uint64
	for text := range strings.FieldsSeq(rest) {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return err
		}
		numbers = append(numbers, n)
	}
	if r.latest[name] == nil || len(numbers) == 0 {
		return fmt.Errorf("no subscription and token")
	}
	token, positions := numbers[0], numbers[1:]
	s := r.latest[name][token]
	switch {
	case what == "fenced":
		r.refused++
	case what == "begin":
		if s != nil && s.owner != owner {
			return fmt.Errorf("%s has begun a session with this token", s.owner)
		}
		s = &session{owner: owner, token: token, begin: positions[0]}
		r.latest[name][token] = s
		r.sessions[name] = append(r.sessions[name], s)
		if token > r.last[name] {
			r.last[name], r.owners[name] = token, owner
		}
	case s == nil || s.owner != owner:
		return fmt.Errorf("it has no session with this token")
	case what != got && what != saved && what != unsure:
		return fmt.Errorf("what is that?")
	default:
		r.steps[name]++
		for _, p := range positions {
			s.steps = append(s.steps, step{p, what})
		}
	}
	return nil
}

// owner returns who has begun the last session of a name.
func (r *record) owner(name string) (owner string, token uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owners[name], r.last[name]
}

// progress returns how often sessions of a name have done something.
func (r *record) progress(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.steps[name]
}
