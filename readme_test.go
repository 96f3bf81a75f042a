package evsourcing_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each guarantee in the README names the tests that prove it: the row's command
// must find a test in each of its packages.
func TestReadmeGuaranteesHaveTests(t *testing.T) {
	t.Parallel()
	_, section, ok := strings.Cut(string(readFile(t, "README.md")), "\n## What is guaranteed\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| .*\\| `'?([^' `]+)'? ([^`]+)` \\|$").FindAllStringSubmatch(section, -1)
	require.GreaterOrEqual(t, len(rows), 10)
	rows = rows[1:] // the heading, which names the command
	require.Equal(t, strings.Count(section, "\n| ")-2, len(rows), "a row that is not understood")
	for _, row := range rows {
		found := ""
		for _, pkg := range strings.Fields(row[2]) {
			found += testNames(t, pkg)
		}
		for _, pattern := range strings.Split(row[1], `\|`) {
			top, _, _ := strings.Cut(pattern, "/")
			assert.Regexp(t, "(?m)"+top, found, "no test for %s in %s", row[1], row[2])
		}
	}
}

// testNames returns the names of the tests in a directory, one a line.
func testNames(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	var names strings.Builder
	for _, file := range files {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(readFile(t, file)), -1) {
			names.WriteString(m[1] + "\n")
		}
	}
	return names.String()
}
