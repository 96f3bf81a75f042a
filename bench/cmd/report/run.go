package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const resultDir = "bench/results"

// A form says how thoroughly to measure.
type form struct {
	short, full bool
	rounds      int
	benchtime   string
}

func (f form) withDefaults() form {
	if f.rounds == 0 {
		f.rounds = 6
		if f.short {
			f.rounds = 2
		}
	}
	if f.benchtime == "" {
		f.benchtime = "300ms"
		if f.short {
			f.benchtime = "20ms"
		}
	}
	return f
}

func (f form) name() string {
	switch {
	case f.short:
		return "short"
	case f.full:
		return "full"
	}
	return "normal"
}

// args returns the arguments for the pattern, as the go command takes them behind
// "test". The load of the package latency takes its own time, and is repeated one
// after the other.
func (f form) args(g *group, pattern string) []string {
	args := []string{"-run", "^$", "-bench", pattern, "-timeout", "0"}
	if f.short {
		args = append(args, "-short")
	}
	if g.pkg != "" {
		return append(args, "-count", strconv.Itoa((f.rounds+1)/2))
	}
	return append(args, "-benchtime", f.benchtime, "-rounds", strconv.Itoa(f.rounds))
}

// runGroups runs the selected groups, one after the other. Results that are there
// are replaced when the group is done; those of one that fails stay.
func runGroups(ctx context.Context, root string, f form, selected *regexp.Regexp) error {
	scratch, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	machine, err := describeMachine(ctx, root, scratch)
	if err != nil {
		return err
	}
	tests := map[string]*testBinary{}
	var failed []error
	for i := range groups {
		g := &groups[i]
		if !selected.MatchString(g.name) || ctx.Err() != nil {
			continue
		}
		dir := filepath.Join(root, g.dir())
		if _, err := os.Stat(dir); err != nil {
			fmt.Printf("%s: there is no %s\n", g.name, g.dir())
			continue
		}
		if tests[dir] == nil {
			if tests[dir], err = build(ctx, dir, scratch); err != nil {
				return err
			}
		}
		if err := runGroup(ctx, root, tests[dir], f, g, machine); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", g.name, err))
		}
	}
	return errors.Join(failed...)
}

func runGroup(ctx context.Context, root string, t *testBinary, f form, g *group, machine []setting) error {
	var out bytes.Buffer
	began := time.Now()
	for _, pattern := range g.processes() {
		args := f.args(g, pattern)
		command := "go test " + g.dir() + " " + quoted(args)
		if f.full {
			command = "EVSOURCING_FULL=1 " + command
		}
		fmt.Printf("== %s: %s\n", g.name, command)
		var part bytes.Buffer
		if err := t.run(ctx, f.full, io.MultiWriter(&part, os.Stdout), args); err != nil {
			return err
		}
		if bytes.Contains(part.Bytes(), []byte("ns/op")) || g.pkg != "" { // stores of that size are not for this form
			fmt.Fprintf(&out, "command: %s\n", command)
			out.Write(part.Bytes())
		}
	}
	head := header(append(slices.Clone(machine), setting{"date", began.UTC().Format("2006-01-02 15:04 UTC")}, setting{"form", f.name()},
		setting{"rounds", strconv.Itoa(f.rounds)}, setting{"duration", time.Since(began).Round(time.Second).String()}))
	return os.WriteFile(resultFile(root, g.name), append(head, out.Bytes()...), 0o644)
}

// header returns the lines of configuration that results begin with.
func header(settings []setting) []byte {
	var out bytes.Buffer
	for _, s := range settings {
		fmt.Fprintf(&out, "%s: %s\n", s.key, s.value)
	}
	return out.Bytes()
}

func resultFile(root, name string) string { return filepath.Join(root, resultDir, name+".txt") }

// A testBinary is the compiled tests of a package: "go test" would link them again
// for each process.
type testBinary struct{ path, dir, scratch string }

// build compiles the tests of the package in the directory. What they write goes to
// scratch.
func build(ctx context.Context, dir, scratch string) (*testBinary, error) {
	t := &testBinary{filepath.Join(scratch, filepath.Base(dir)+".test"), dir, scratch}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", t.path, ".")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go test -c: %w", err)
	}
	return t, nil
}

// run runs tests with arguments as they are given to "go test".
func (t *testBinary) run(ctx context.Context, full bool, out io.Writer, args []string) error {
	args = slices.Clone(args)
	for i, a := range args {
		if strings.HasPrefix(a, "-") && a != "-rounds" {
			args[i] = "-test." + a[1:]
		}
	}
	cmd := exec.CommandContext(ctx, t.path, args...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+t.scratch)
	if full {
		cmd.Env = append(cmd.Env, "EVSOURCING_FULL=1")
	}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return cmd.Run()
}

// quoted joins arguments as a shell takes them.
func quoted(args []string) string {
	list := make([]string, len(args))
	for i, a := range args {
		if strings.ContainsAny(a, "^$()|*%") {
			a = "'" + a + "'"
		}
		list[i] = a
	}
	return strings.Join(list, " ")
}
