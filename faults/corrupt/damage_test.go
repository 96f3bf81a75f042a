package corrupt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// A damage is one flipped bit of a file, or its end cut off.
type damage struct {
	at  int
	bit int // -1: cut off at that place
}

// draw returns a damage of a file. One of five is a cut, every other one at a page's
// border. Headers are small and matter more than what is behind them, so one of ten
// flips is in the first bytes.
func draw(r *rand.Rand, size, page int) damage {
	switch {
	case r.IntN(10) == 0 && size > page:
		return damage{at: (1 + r.IntN(size/page)) * page, bit: -1}
	case r.IntN(9) == 0:
		return damage{at: 1 + r.IntN(size-1), bit: -1}
	case r.IntN(10) == 0:
		return damage{at: r.IntN(min(size, 100)), bit: r.IntN(8)}
	}
	return damage{at: r.IntN(size), bit: r.IntN(8)}
}

// of returns the damaged file.
func (d damage) of(file []byte) []byte {
	if d.bit < 0 {
		return file[:min(d.at, len(file))]
	}
	file = slices.Clone(file)
	file[d.at] ^= 1 << d.bit
	return file
}

func (d damage) String() string {
	if d.bit < 0 {
		return fmt.Sprintf("cut off at byte %d", d.at)
	}
	return fmt.Sprintf("bit %d of byte %d flipped", d.bit, d.at)
}

// A tally counts outcomes.
type tally struct {
	cases, harmless, reported, refused, late, shortened int
	gone                                                int // appends that are missing, at most of one case
	silent                                              []string
}

// add counts the outcome of a damage to a store that had so many appends.
func (n *tally) add(what fmt.Stringer, o outcome, appends int) {
	n.cases++
	switch {
	case len(o.reported) > 0:
		n.reported++
		if o.refused {
			n.refused++
		}
		if o.late {
			n.late++
		}
	case o.wrong != "":
		n.silent = append(n.silent, fmt.Sprintf("%v: %s", what, o.wrong))
	case o.appends < appends:
		n.shortened++
		n.gone = max(n.gone, appends-o.appends)
	default:
		n.harmless++
	}
}

// plus returns the sum of two.
func (n tally) plus(m tally) tally {
	return tally{
		n.cases + m.cases, n.harmless + m.harmless, n.reported + m.reported, n.refused + m.refused, n.late + m.late, n.shortened + m.shortened,
		max(n.gone, m.gone), slices.Concat(n.silent, m.silent),
	}
}

// err is nil if no damage was silent, where at most so many appends at the end may be
// missing: those that were read are there whole, and as they were stored.
func (n *tally) err(gone int) error {
	switch {
	case n.cases == 0:
		return errors.New("nothing was damaged")
	case len(n.silent) > 0:
		return fmt.Errorf("%d of %d damages were silent, among them: %q", len(n.silent), n.cases, n.silent[:min(5, len(n.silent))])
	case n.gone > gone:
		return fmt.Errorf("%d of %d damages were not reported and took away appends, up to %d, where %d may be missing", n.shortened, n.cases, n.gone, gone)
	}
	return nil
}
