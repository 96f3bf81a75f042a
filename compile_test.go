package evsourcing_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Misuse that the compiler can refuse, it refuses. Each package in
// testdata/nocompile has one mistake, and begins with what the compiler says of
// it.
func TestCompilerRefusesMisuse(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/nocompile/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 11 {
		t.Errorf("testdata/nocompile has %d packages; some are missing", len(files))
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			want := wanted(t, file)
			out, err := build(t, dir)
			if err == nil {
				t.Fatalf("%s compiles, but must not", dir)
			}
			t.Logf("what a user sees:\n%s", out)
			if n := strings.Count(out, filepath.Base(file)+":"); n != 1 {
				t.Errorf("the compiler reports %d mistakes in %s, want 1, the intended one", n, file)
			}
			for _, w := range want {
				if !strings.Contains(out, w) {
					t.Errorf("the message does not say:\n%s", w)
				}
			}
		})
	}
}

// The control: the same code without the mistakes compiles, so it is the
// mistakes that the compiler refuses.
func TestCompilerAcceptsUse(t *testing.T) {
	t.Parallel()
	if out, err := build(t, "testdata/compile/ok"); err != nil {
		t.Errorf("testdata/compile/ok must compile: %v\n%s", err, out)
	}
}

// build compiles the package in dir as a user would, and returns what is
// printed.
func build(t *testing.T, dir string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, "./"+filepath.ToSlash(dir)).CombinedOutput()
	return string(out), err
}

// wanted returns the texts of the comments "// want: TEXT" that the file begins
// with.
func wanted(t *testing.T, file string) (texts []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "// want: ")
		if !ok {
			break
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		t.Fatalf("%s does not begin with a comment // want: TEXT", file)
	}
	return texts
}
