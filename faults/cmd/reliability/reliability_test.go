package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../.."

// The document is what the results say, and nothing was typed into it.
func TestDocumentIsMadeFromTheResults(t *testing.T) {
	results, err := readResults(filepath.Join(root, resultsDir))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(markdown(results)) {
		t.Errorf("%s is not what the results make: run go run ./faults/cmd/reliability -render", document)
	}
	files, err := filepath.Glob(filepath.Join(root, resultsDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := results[strings.TrimSuffix(filepath.Base(f), ".json")]; !ok {
			t.Errorf("%s is of no row", f)
		}
	}
}

func TestEveryRowHasATestAndAControl(t *testing.T) {
	ids := map[string]bool{}
	for _, r := range rows {
		if ids[r.ID] || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(r.ID) {
			t.Errorf("%q: the ID is there twice, or no name of a file", r.ID)
		}
		ids[r.ID] = true
		if !strings.HasSuffix(r.Promise, ".") || r.Section == "" {
			t.Errorf("%s: the promise is no sentence, or has no section", r.ID)
		}
		tests := [][2]string{{r.Package, r.Test}}
		if pkg, control := r.control(); control != "" {
			tests = append(tests, [2]string{pkg, control})
		} else if r.Section != atLimits {
			t.Errorf("%s has no control", r.ID)
		}
		for _, test := range tests {
			if !declares(t, filepath.Join(root, test[0]), test[1]) {
				t.Errorf("%s: %s has no test %s", r.ID, test[0], test[1])
			}
		}
	}
}

// declares reports whether a package has the test.
func declares(t *testing.T, dir, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+test+"(t *testing.T) {") {
			return true
		}
	}
	return false
}

func TestParseReadsFiguresAndReasons(t *testing.T) {
	const stream = `{"Action":"run","Test":"TestKill"}
{"Action":"output","Test":"TestKill/postgres","Output":"    kill_test.go:12: there is no server: none: at all\n"}
{"Action":"output","Test":"TestKill/postgres","Output":"--- SKIP: TestKill/postgres (0.00s)\n"}
{"Action":"skip","Test":"TestKill/postgres"}
{"Action":"attr","Test":"TestKill/sqlite","Key":"figure","Value":"200 kills, 0 lost"}
{"Action":"attr","Test":"TestKill/sqlite","Key":"other","Value":"x"}
{"Action":"attr","Test":"TestKillers","Key":"figure","Value":"not ours"}
{"Action":"attr","Test":"TestKill","Key":"figure","Value":"in all"}
{"Action":"pass","Test":"TestKill/sqlite"}
{"Action":"fail","Test":"TestKillers"}
{"Action":"pass","Test":"TestKill"}
{"Action":"pass"}
`
	o, log, err := parse(strings.NewReader(stream), "TestKill")
	if err != nil {
		t.Fatal(err)
	}
	if o.Outcome != "pass" || o.Reason != "there is no server: none: at all" || !strings.Contains(log, "kill_test.go") {
		t.Errorf("outcome %q, reason %q, log %q", o.Outcome, o.Reason, log)
	}
	if got := strings.Join(o.Figures, "; "); got != "sqlite: 200 kills, 0 lost; in all" {
		t.Errorf("the figures are %q", got)
	}
	if _, _, err := parse(strings.NewReader("no JSON"), "TestKill"); err == nil {
		t.Error("what is no JSON was read")
	}
}

func TestShortFormLeavesTheResultOfALongOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	saved := func(r result, pass string) result {
		t.Helper()
		r.ID, r.Test.Outcome, r.Control.Outcome = "row", pass, "pass"
		if err := r.save(dir); err != nil {
			t.Fatal(err)
		}
		got, err := readResult(filepath.Join(dir, "row.json"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := saved(result{Date: "1"}, "pass"); got.Date != "1" {
		t.Error("the first result is not there")
	}
	if got := saved(result{Date: "2", Full: true}, "pass"); got.Date != "2" {
		t.Error("a long form did not replace a short one")
	}
	if got := saved(result{Date: "3"}, "pass"); got.Date != "2" {
		t.Error("a short form replaced a long one")
	}
	if got := saved(result{Date: "4"}, "fail"); got.Date != "4" || !got.failed() {
		t.Error("a short form that failed did not replace a long one")
	}
}

func TestRunSaysWhatHappened(t *testing.T) {
	r := row{ID: "x", Package: ".", Test: "TestParseReadsFiguresAndReasons", Control: ". TestThatThereIsNot"}
	if _, err := r.run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "has no test TestThatThereIsNot") {
		t.Errorf("a control that does not exist: %v", err)
	}
	r.Control = r.Test
	res, err := r.run(t.Context(), true)
	if err != nil || res.Test.Outcome != "pass" || !res.Full || res.failed() {
		t.Errorf("%+v, %v", res, err)
	}
	page := string(markdown(map[string]result{rows[0].ID: {Full: true, Date: "2001-02-03", Test: outcome{Outcome: "skip", Reason: "no disk"}, Control: outcome{Outcome: "fail", Figures: []string{"a|b"}, Seconds: 150}}}))
	for _, want := range []string{"long form, 2001-02-03", "| test | **not run** in 0 s | not run: no disk | `EVSOURCING_FULL=1 ", "| control | **failed** in 3 min | a\\|b |"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
}
