package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The Go code in a guide is part of the test beside it, word for word, so it
// compiles and does what the guide says. An indented block of the test may stand
// unindented in the guide.
func TestBlocksAreTested(t *testing.T) {
	t.Parallel()
	for guide, test := range map[string]string{
		"testing.md": "testing_test.go", "evolution.md": "evolution_test.go",
		"delivery.md": "delivery_test.go", "operations.md": "operations_test.go",
	} {
		code := "\n" + read(t, test)
		blocks := blocksOf(read(t, guide))
		if len(blocks) == 0 {
			t.Errorf("%s has %d blocks of Go", guide, len(blocks))
		}
		for _, block := range blocks {
			if !contains(code, block) {
				t.Errorf("%s has code that is not in %s:\n%s", guide, test, block)
			}
		}
	}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	blocks := blocksOf("a\n```go\nx\n\n\ty\n```\nb\n```sh\nno\n```\n```go\nz\n```\n")
	if len(blocks) != 2 || blocks[0] != "x\n\n\ty\n" || blocks[1] != "z\n" {
		t.Fatalf("%q", blocks)
	}
	for _, code := range []string{"\nx\n\n\ty\n", "\nfunc f() {\n\tx\n\n\t\ty\n}\n"} {
		if !contains(code, blocks[0]) {
			t.Errorf("not found in %q", code)
		}
	}
	for _, code := range []string{"\n", "\nxx\n\n\ty\n", "\nx\n\ty\n", "\na x\n\n\ty\n", "\nx\n\n\tyy\n"} {
		if contains(code, blocks[0]) {
			t.Errorf("found in %q", code)
		}
	}
}

// blocksOf returns the fenced blocks of Go in a Markdown text.
func blocksOf(markdown string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// contains reports whether the code has the lines of the block, perhaps deeper
// indented.
func contains(code, block string) bool {
	for range 4 {
		if strings.Contains(code, "\n"+block) {
			return true
		}
		block = regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(block, "\t$1")
	}
	return false
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
