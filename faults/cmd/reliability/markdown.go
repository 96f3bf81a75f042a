package main

import (
	"bytes"
	"fmt"
	"strings"
)

const introduction = `# What is promised, and what came of the attempts to break it

Each row is a promise, the test that tries to break it, and a control: the same
test and the same check with the protection taken away. The control has to find
the damage; if it does not, the test proves nothing. It counts as passed when it
did. Rows on limits have none where the test sees a refusal, or measures what a
limit bounds.

This page is made by ` + "`make faults`" + ` from ` + "`faults/results`" + `, not written by
hand. ` + "`go run ./faults/cmd/reliability -run ID`" + ` repeats a row, in its short form;
with ` + "`-full`" + `, in the long one.
`

// markdown returns the document.
func markdown(results map[string]result) []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	section := ""
	for _, r := range rows {
		if r.Section != section {
			section = r.Section
			fmt.Fprintf(&b, "\n## %s\n", section)
		}
		res, ran := results[r.ID]
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", r.ID, r.Promise)
		if r.Note != "" {
			fmt.Fprintf(&b, "%s\n\n", r.Note)
		}
		if !ran {
			fmt.Fprintf(&b, "Not run yet: `%s`\n", command(r.Package, r.Test, false))
			continue
		}
		form := "short form"
		if res.Full {
			form = "long form"
		}
		fmt.Fprintf(&b, "| | %s, %s | what it found | command |\n| --- | --- | --- | --- |\n", form, res.Date)
		line(&b, "test", res.Test, command(r.Package, r.Test, res.Full))
		if r.Control == "" {
			continue
		}
		pkg, control := r.control()
		line(&b, "control", res.Control, command(pkg, control, res.Full))
	}
	return b.Bytes()
}

// line writes one line of a table.
func line(b *bytes.Buffer, what string, o outcome, command string) {
	verdict := map[string]string{"pass": "passed", "fail": "**failed**", "skip": "**not run**"}[o.Outcome]
	cell := strings.Join(o.Figures, "<br>")
	if o.Reason != "" {
		cell = strings.TrimPrefix(cell+"<br>not run: "+o.Reason, "<br>")
	}
	fmt.Fprintf(b, "| %s | %s in %s | %s | `%s` |\n", what, verdict, duration(o.Seconds),
		strings.ReplaceAll(cell, "|", "\\|"), strings.ReplaceAll(command, "|", "\\|"))
}

func duration(seconds int) string {
	if seconds < 120 {
		return fmt.Sprintf("%d s", seconds)
	}
	return fmt.Sprintf("%d min", (seconds+30)/60)
}
