package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A row is a promise and the test that holds it to account.
type row struct {
	ID      string
	Section string // of the document
	Promise string
	Package string // of the tests, from the root of the repository
	Test    string // its name
	Control string // the name of the test that takes the protection away; another package stands before a space; "" if a refusal is all there is to see
	Note    string // in the document, for what a reader has to know
}

// control returns the package and the name of the control.
func (r row) control() (pkg, name string) {
	if pkg, name, ok := strings.Cut(r.Control, " "); ok {
		return pkg, name
	}
	return r.Package, r.Control
}

// command returns the command that repeats a test.
func command(pkg, test string, full bool) string {
	c := fmt.Sprintf("go test -run '^%s$' %s", test, pkg)
	if full {
		return "EVSOURCING_FULL=1 " + strings.Replace(c, "go test", "go test -timeout 4h", 1)
	}
	return c
}

// run runs the test and the control of the row.
func (r row) run(ctx context.Context, full bool) (result, error) {
	res := result{ID: r.ID, Full: full, Date: time.Now().UTC().Format(time.DateOnly)}
	var err error
	if res.Test, err = runTest(ctx, r.Package, r.Test, full); err != nil {
		return result{}, err
	}
	if r.Control == "" {
		return res, nil
	}
	pkg, name := r.control()
	res.Control, err = runTest(ctx, pkg, name, full)
	return res, err
}

// event is what go test -json prints, a line each.
type event struct {
	Action, Test, Output, Key, Value string
}

// runTest runs one test and returns what came of it.
func runTest(ctx context.Context, pkg, test string, full bool) (outcome, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-timeout=4h", "-run=^"+test+"$", pkg)
	cmd.Env = os.Environ()
	if full {
		cmd.Env = append(cmd.Env, "EVSOURCING_FULL=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	o, log, err := parse(out, test)
	if err != nil {
		return outcome{}, err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	o.Seconds = int(time.Since(began).Seconds())
	if o.Outcome == "" {
		return outcome{}, fmt.Errorf("%s has no test %s, or did not build:\n%s", pkg, test, log)
	}
	if o.Outcome == "fail" {
		_, _ = fmt.Fprint(os.Stderr, log)
	}
	return o, nil
}

// parse reads the events of one test. The log is what it printed.
func parse(r io.Reader, test string) (o outcome, log string, err error) {
	var printed strings.Builder
	decoder := json.NewDecoder(r)
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return outcome{}, "", err
		}
		name, ours := strings.CutPrefix(e.Test, test)
		ours = ours && (name == "" || name[0] == '/')
		switch e.Action {
		case "output":
			printed.WriteString(e.Output)
			if text := strings.TrimSpace(e.Output); ours && !strings.HasPrefix(text, "---") && !strings.HasPrefix(text, "===") {
				o.last = cmp.Or(text, o.last)
			}
		case "attr":
			if ours && e.Key == "figure" {
				o.Figures = append(o.Figures, strings.TrimPrefix(strings.TrimPrefix(name, "/")+": "+e.Value, ": "))
			}
		case "pass", "fail", "skip":
			if ours {
				o.conclude(e.Action, name == "")
			}
		}
	}
	return o, printed.String(), nil
}

// conclude takes the end of the test or of one of its subtests into account: where a
// subtest was skipped, the rest counts, and the reason is kept.
func (o *outcome) conclude(action string, whole bool) {
	if action == "skip" {
		o.Reason = reason(o.last)
	}
	if whole {
		o.Outcome = action
	}
}

// reason returns a line of a log without its place in the source.
func reason(line string) string {
	if _, text, ok := strings.Cut(line, ".go:"); ok {
		if _, text, ok = strings.Cut(text, ": "); ok {
			return text
		}
	}
	return line
}
