package evsourcing_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/extending.md shows code of examples/extending as it is there, and names
// tests that exist.
func TestExtendingShowsTheExamples(t *testing.T) {
	t.Parallel()
	var code, suite, tests string
	for _, name := range repositoryFiles(t) {
		switch text := "\n" + string(readFile(t, name)); {
		case !strings.HasSuffix(name, ".go"):
		case strings.HasPrefix(name, "examples/extending/"):
			code += text
			fallthrough
		case strings.HasSuffix(name, "_test.go"):
			tests += text
		case strings.HasPrefix(name, "storetest/"):
			suite += text
		}
	}
	doc := string(readFile(t, "docs/extending.md"))
	blocks := 0
	for rest := doc; ; blocks++ {
		block, after, ok := fenced(rest, "go")
		if !ok {
			break
		}
		rest = "\n" + after
		assert.Contains(t, code, "\n"+block, "no file in examples/extending has this")
	}
	assert.GreaterOrEqual(t, blocks, 15)

	cases := regexp.MustCompile("(?m)^\\| .* \\| (?:promise \\d|[A-Z]\\w+): `([^`]+)`").FindAllStringSubmatch(doc, -1)
	require.Greater(t, len(cases), 10)
	for _, m := range cases {
		assert.Contains(t, suite, `{"`+m[1]+`",`, "storetest has no such case")
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(doc, -1)
	require.Greater(t, len(names), 5)
	for _, m := range names {
		assert.Contains(t, tests, "\nfunc "+m[1]+"(", "there is no such test")
	}
}
