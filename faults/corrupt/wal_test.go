package corrupt

import (
	"context"
	"fmt"
	"testing"

	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/internal/faulttest"
	"github.com/evsourcing/evsourcing/sqlite"
)

// walShapes are ways for a write-ahead log to come about before its process is killed.
func walShapes() []shape {
	return []shape{
		{appends: 30},                          // it has all that there is
		{closed: 30, appends: 30},              // it goes on where a closed file ended
		{closed: 10, moved: true, appends: 30}, // it began anew over an older one
		{closed: 10, appends: 30, late: true},  // its pages were moved to the database
	}
}

func huntLogs(t *testing.T, cases int, open opening) (flips, cuts tally) {
	t.Helper()
	for _, f := range walShapes() {
		m := f.make(t)
		a, b := m.hunt(t, cases/len(walShapes()), true, open)
		flips, cuts = flips.plus(a), cuts.plus(b)
	}
	return flips, cuts
}

// Whatever bit of an SQLite store's write-ahead log is flipped after its process was
// killed: what is read is what was stored, or Open says that acknowledged events are
// lost. The limit: damage of the last commit looks like one that a crash has cut short,
// which SQLite drops; at most that one is missing then, and no append is half there.
//
// A log that is cut off looks like one that ended there. What is missing is whole
// appends, the last ones, and nothing reports it (unless the pages that are gone were in
// the database already, and the rest does not fit); but nor is the log taken for
// damaged, which would keep a store from opening after every loss of power.
func TestSQLiteLog(t *testing.T) {
	flips, cuts := huntLogs(t, faulttest.Scale(100, 300, 10_000), openStore)
	t.Attr("figure", fmt.Sprintf("%s bit flips of the write-ahead log: %s harmless, %s reported, %d silent but %s in the last commit, which is missing whole; "+
		"%s cuts: %s harmless, %s reported, %d silent but %s that end the log earlier, after a whole commit (a limit, see docs/limits.md)",
		humanize.Comma(int64(flips.cases)), humanize.Comma(int64(flips.harmless)), humanize.Comma(int64(flips.reported)), len(flips.silent), humanize.Comma(int64(flips.shortened)),
		humanize.Comma(int64(cuts.cases)), humanize.Comma(int64(cuts.harmless)), humanize.Comma(int64(cuts.reported)), len(cuts.silent), humanize.Comma(int64(cuts.shortened))))
	if err := flips.err(1); err != nil {
		t.Errorf("flips: %v", err)
	}
	if err := cuts.err(30); err != nil {
		t.Errorf("cuts: %v", err)
	}
	if cuts.refused > 0 {
		t.Errorf("of %d cuts the log was taken for damaged", cuts.refused)
	}
}

// SQLite by itself, as under Durability Normal, drops all that is behind the damage.
func TestSQLiteLogControl(t *testing.T) {
	flips, _ := huntLogs(t, faulttest.Scale(100, 150, 2_000), func(path string) (reader, func() error, error) {
		s, err := sqlite.Open(path, &sqlite.Options{Logger: quiet, Readers: 1, Durability: sqlite.Normal})
		if err != nil {
			return nil, nil, err
		}
		return s, func() error { return s.Close(context.Background()) }, nil
	})
	t.Attr("figure", fmt.Sprintf("without the check of the log, %s bit flips: %s were reported, and %s took away up to %d acknowledged appends silently",
		humanize.Comma(int64(flips.cases)), humanize.Comma(int64(flips.reported)), humanize.Comma(int64(flips.shortened)), flips.gone))
	if err := flips.err(1); err == nil {
		t.Error("nothing was lost, although nothing looks for damage")
	} else {
		t.Log(err)
	}
}
