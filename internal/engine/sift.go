package engine

import (
	"iter"

	"github.com/evsourcing/evsourcing"
)

// maxNames is how many names a filter may have for a database to filter by them: each
// page, or each row, costs a look at all of them.
const maxNames = 256

// Long reports whether a filter is for [Sift].
func Long(f evsourcing.Filter) bool { return len(f.Topics)+len(f.Types) > maxNames }

// Sift yields what a filter lets pass of what read yields of a range without its limit.
func Sift(r evsourcing.Range, f evsourcing.Filter, read func(evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error]) iter.Seq2[evsourcing.StoredEvent, error] {
	topics, types := setOf(f.Topics), setOf(f.Types)
	limit := r.Limit
	r.Limit = 0
	return func(yield func(evsourcing.StoredEvent, error) bool) {
		left := limit // a limit of none is never reached
		for e, err := range read(r) {
			if err == nil && !(topics.has(e.Topic) && types.has(e.Stream.Type)) {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// A set of names; nil has all.
type set map[string]struct{}

func setOf(names []string) set {
	if len(names) == 0 {
		return nil
	}
	s := make(set, len(names))
	for _, name := range names {
		s[name] = struct{}{}
	}
	return s
}

func (s set) has(name string) bool {
	_, ok := s[name]
	return ok || s == nil
}
