package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

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

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "flights.csv")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// The table is what a few lines of awk make of the file.
func TestReplayShippedFile(t *testing.T) {
	status, stdout, stderr := runWith(t.Context(), "-replay")
	assert.Equal(t, exitOK, status)
	assert.Empty(t, stderr, "no progress line where nobody watches")
	table, rest, _ := strings.Cut(stdout, "\n\n")
	assert.Equal(t, `  airport  departures  mean delay  over 15 min
      ORD         116     9.7 min       30.2 %
      DFW         106     9.1 min       31.1 %
      LAX          76     8.7 min       27.6 %
      ATL          73    12.8 min       24.7 %
      PHX          68    10.4 min       26.5 %
      STL          62     8.4 min       27.4 %
      MSP          53     4.1 min       28.3 %
      LAS          52    10.5 min       34.6 %
      DTW          47     6.6 min       19.1 %
      DEN          46     0.7 min       10.9 %`, table)
	assert.Regexp(t, `^saved 2000 rows, 6000 events in .+s, \d+ events/s\nboth boards agree with the file\n$`, rest)
}

func TestReplayFile(t *testing.T) {
	name := writeFile(t, header+"\r\n"+row1+"\r\n")
	status, stdout, stderr := runWith(t.Context(), "-replay", name)
	assert.Equal(t, exitOK, status)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "DTW           1    66.0 min      100.0 %\n")
}

func TestReplayFileWithoutRows(t *testing.T) {
	status, stdout, stderr := runWith(t.Context(), "-replay", writeFile(t, header))
	assert.Equal(t, exitOK, status)
	assert.Empty(t, stderr)
	assert.Equal(t, "saved 0 rows, 0 events\nboth boards agree with the file\n", stdout)
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct{ name, file, stderr string }{
		{"malformed row", header + "\n" + row1 + "\nbad\n", "flight: line 3: 1 fields instead of 5 (" + header + ")\nflight: malformed rows were left out\n"},
		{"no header", row1, "flight: line 1: the header " + header + " is missing; the line is \"" + row1 + "\"\n"},
		{"empty", "", "flight: the file is empty; its first line should be the header " + header + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, _, stderr := runWith(t.Context(), "-replay", writeFile(t, tt.file))
			assert.Equal(t, exitFailure, status)
			assert.Equal(t, tt.stderr, stderr)
		})
	}
	status, stdout, stderr := runWith(t.Context(), "-replay", filepath.Join(t.TempDir(), "missing.csv"))
	assert.Equal(t, exitFailure, status)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "missing.csv: no such file")

	status, _, stderr = runWith(t.Context(), "-replay", t.TempDir())
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, "is a directory")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt signal received"))
	status, stdout, stderr := runWith(ctx, "-replay")
	assert.Equal(t, exitInterrupted, status)
	assert.Equal(t, "flight: interrupt signal received\n", stderr)
	assert.Equal(t, "saved 0 rows, 0 events\nboth boards agree with what was saved\n", stdout)

	synctest.Test(t, func(*testing.T) { // whose clock the story's reactor would wait by
		status, _, stderr = runWith(ctx)
		assert.Equal(t, exitInterrupted, status)
		assert.Contains(t, stderr, "flight: interrupt signal received\n")
	})
}

// A pipe that nothing comes out of does not hold up the end of the program.
func TestInterruptedWhileReading(t *testing.T) {
	for _, start := range []string{"", "date,ori", header + "\n" + row1 + "\n" + row2[:8]} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer w.Close()
		_, err = w.WriteString(start)
		require.NoError(t, err)

		ctx, cancel := context.WithCancelCause(t.Context())
		file := &closedLater{File: r, reading: func() { cancel(errors.New("interrupt signal received")) }, after: len(start)}
		stop := context.AfterFunc(ctx, func() { _ = r.Close() })
		replay, _, _ := newReplay(evsourcing.NewMemoryStore())
		assert.EqualError(t, replay.run(ctx, file), "interrupt signal received")
		stop()
	}
}

// closedLater calls reading before the read that has nothing to come.
type closedLater struct {
	*os.File
	after   int
	reading func()
}

func (f *closedLater) Read(p []byte) (int, error) {
	if f.after == 0 {
		f.reading()
	}
	n, err := f.File.Read(p)
	f.after -= n
	return n, err
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"-help"}, {"-h"},
	} {
		status, stdout, stderr := runWith(t.Context(), args...)
		assert.Equal(t, exitOK, status)
		assert.Equal(t, usage, stdout)
		assert.Empty(t, stderr)
	}
	for want, args := range map[string][]string{
		"flag provided but not defined: -shop":        {"-shop", "x"},
		"-store is for -replay":                       {"-store", "x"},
		`unexpected argument "x.csv" without -replay`: {"x.csv"},
		`unexpected argument "b" after FILE`:          {"-replay", "a", "b"},
		`invalid boolean value "x.csv" for -replay`:   {"-replay=x.csv"},
	} {
		status, stdout, stderr := runWith(t.Context(), args...)
		assert.Equal(t, exitUsage, status)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "flight: "+want)
		assert.Contains(t, stderr, usage)
	}
}
