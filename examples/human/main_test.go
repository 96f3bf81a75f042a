package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runWith runs the program.
func runWith(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// lines returns the lines of what was printed, sorted: reactors run side by
// side.
func lines(text string) []string { return slices.Sorted(strings.Lines(text)) }

func TestRun(t *testing.T) {
	status, stdout, stderr := runWith(t.Context())
	assert.Equal(t, exitOK, status)
	assert.Equal(t, lines(`Born: Otto, 0 years old
Born: Ada, 0 years old
Hello, Otto!
Hello, Ada!
A party for Otto, because of human.born.
A party for Ada, because of human.born.
A party for Otto, because of human.grew_up.
Years later: Otto, 18 years old
Years later: Ada, 3 years old
In the end: Otto, 18 years old, a grown-up
`), lines(stdout))
	assert.Equal(t, 1, strings.Count(stderr, "\n"))
	assert.Contains(t, stderr, `level=WARN msg="no such reactor" reactor=send.flowers topics=[human.born]`)
}

func TestRunConfigured(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(name, []byte(`{"reactors": {"say.hello": ["human.born"]}}`), 0o600))
	status, stdout, stderr := runWith(t.Context(), "-config", name)
	assert.Equal(t, exitOK, status)
	assert.Empty(t, stderr)
	assert.Equal(t, lines(`Born: Otto, 0 years old
Born: Ada, 0 years old
Hello, Otto!
Hello, Ada!
Years later: Otto, 18 years old
Years later: Ada, 3 years old
In the end: Otto, 18 years old
`), lines(stdout))
}

// What a reactor stores names its cause.
func TestCausation(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	c, err := readConfig("")
	require.NoError(t, err)
	require.NoError(t, live(t.Context(), c, store, io.Discard, slog.New(slog.DiscardHandler)))

	var birthday, grewUp evsourcing.StoredEvent
	for e, err := range store.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}) {
		require.NoError(t, err)
		switch {
		case e.Topic == "human.had_birthday" && e.Version == 19:
			birthday = e
		case e.Topic == "human.grew_up":
			grewUp = e
		}
	}
	assert.Equal(t, birthday.Stream, grewUp.Stream)
	assert.Equal(t, birthday.ID.String(), grewUp.Metadata[evsourcing.MetaCausationID])
	assert.Equal(t, birthday.CorrelationID(), grewUp.CorrelationID())
}

func TestFailures(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(bad, []byte("{}"), 0o600))
	status, stdout, stderr := runWith(t.Context(), "-config", bad)
	assert.Equal(t, exitFailure, status)
	assert.Empty(t, stdout)
	assert.Equal(t, "human: "+bad+": \"reactors\" is missing\n", stderr)

	status, _, stderr = runWith(t.Context(), "-config", filepath.Join(t.TempDir(), "missing.json"))
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, "missing.json: no such file")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	status, _, stderr = runWith(ctx)
	assert.Equal(t, exitInterrupted, status)
	assert.Regexp(t, `(?m)^human: .*context canceled$`, stderr)
}

func TestUsage(t *testing.T) {
	status, stdout, stderr := runWith(t.Context(), "-help")
	assert.Equal(t, exitOK, status)
	assert.Equal(t, usage, stdout)
	assert.Empty(t, stderr)
	for want, args := range map[string][]string{
		"flag provided but not defined: -x": {"-x"},
		`unexpected argument "x"`:           {"x"},
	} {
		status, stdout, stderr := runWith(t.Context(), args...)
		assert.Equal(t, exitUsage, status)
		assert.Empty(t, stdout)
		assert.Equal(t, "human: "+want+"\n\n"+usage, stderr)
	}
	// The help names every reactor.
	for name := range reactors(nil, nil) {
		assert.Contains(t, usage, name)
	}
}
