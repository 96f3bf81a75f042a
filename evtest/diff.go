package evtest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/evsourcing/evsourcing"
)

// row is a line of a comparison: what is shown, and what decides whether two of
// them are equal.
type row struct {
	text string
	key  string
}

// A mark says on which side of a comparison a row stands.
type mark string

const (
	both   mark = "  "
	wanted mark = "- "
	got    mark = "+ "
)

// step is a row of a comparison's outcome.
type step struct {
	mark mark
	row  row
}

// compare lines up two lists of rows so that as many as possible are in both.
func compare(want, have []row) (steps []step, equal bool) {
	var tail []step
	for len(want) > 0 && len(have) > 0 && want[0].key == have[0].key {
		steps = append(steps, step{both, want[0]})
		want, have = want[1:], have[1:]
	}
	for len(want) > 0 && len(have) > 0 && want[len(want)-1].key == have[len(have)-1].key {
		tail = append(tail, step{both, want[len(want)-1]})
		want, have = want[:len(want)-1], have[:len(have)-1]
	}
	slices.Reverse(tail)
	return append(append(steps, align(want, have)...), tail...), len(want)+len(have) == 0
}

// align lines up what differs.
func align(want, have []row) (steps []step) {
	const most = 1 << 22 // beyond that, one after the other
	length := make([][]int, len(want)+1)
	if len(want)*len(have) <= most {
		for i := range length { // of the longest common part from i and j on
			length[i] = make([]int, len(have)+1)
		}
		for i := len(want) - 1; i >= 0; i-- {
			for j := len(have) - 1; j >= 0; j-- {
				if want[i].key == have[j].key {
					length[i][j] = length[i+1][j+1] + 1
				} else {
					length[i][j] = max(length[i+1][j], length[i][j+1])
				}
			}
		}
	}
	i, j := 0, 0
	for i < len(want) || j < len(have) {
		switch {
		case j == len(have), i < len(want) && length[i] == nil:
			steps = append(steps, step{wanted, want[i]})
			i++
		case i == len(want):
			steps = append(steps, step{got, have[j]})
			j++
		case want[i].key == have[j].key:
			steps = append(steps, step{both, want[i]})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			steps = append(steps, step{wanted, want[i]})
			i++
		default:
			steps = append(steps, step{got, have[j]})
			j++
		}
	}
	return steps
}

// diffEvents shows the events of both lists, one a line; ok reports whether
// there is no difference.
func diffEvents[W, H evsourcing.Event](want []W, have []H) (text string, ok bool) {
	steps, ok := compare(eventRows(want, false), eventRows(have, false))
	seen := map[string]mark{}
	for _, s := range steps {
		if m, found := seen[s.row.text]; found && m != s.mark && s.mark != both && m != both {
			// The payloads look the same: what differs is not in them.
			steps, ok = compare(eventRows(want, true), eventRows(have, true))
			break
		}
		seen[s.row.text] = s.mark
	}
	return render(steps, false), ok
}

// diffValues shows the leaves in which two values differ.
func diffValues(want, have []string) (text string, ok bool) {
	if slices.Equal(want, have) {
		return "", true
	}
	steps, ok := compare(leafRows(want), leafRows(have))
	return render(steps, true), ok
}

func render(steps []step, onlyDifferences bool) string {
	var b strings.Builder
	for _, s := range steps {
		if s.mark != both || !onlyDifferences {
			fmt.Fprintf(&b, "\n    %s%s", s.mark, s.row.text)
		}
	}
	return b.String()
}

func leafRows(lines []string) []row {
	rows := make([]row, len(lines))
	for i, line := range lines {
		rows[i] = row{line, line}
	}
	return rows
}

func eventRows[E evsourcing.Event](events []E, detailed bool) []row {
	rows := make([]row, len(events))
	for i, e := range events {
		rows[i].text = showEvent(e)
		rows[i].key = eventKey(e)
		if detailed {
			rows[i].text = eventKey(e)
		}
	}
	return rows
}

// eventKey returns a text that equal events have in common, and no others.
func eventKey(e evsourcing.Event) string {
	if isNil(e) {
		return "nil"
	}
	return fmt.Sprintf("%s  %v{%s}", e.Topic(), valueType(e), strings.Join(describe(e, false), ", "))
}

// listEvents shows events one a line.
func listEvents[E evsourcing.Event](events []E) string {
	if len(events) == 0 {
		return "\n    (none)"
	}
	var b strings.Builder
	for _, e := range events {
		b.WriteString("\n    " + showEvent(e))
	}
	return b.String()
}

// showEvent returns an event on one line: its topic and its JSON, or what fmt
// makes of it.
func showEvent(e evsourcing.Event) string {
	if isNil(e) {
		return "nil"
	}
	data, err := marshal(e)
	if err != nil {
		data = fmt.Appendf(nil, "%+v", reflect.Indirect(reflect.ValueOf(e)).Interface())
	}
	return e.Topic() + "  " + string(data)
}
