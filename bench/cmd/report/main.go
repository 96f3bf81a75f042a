// Command report runs the benchmarks, keeps what they print, and makes
// docs/benchmarks.md and its plots of that, and of nothing else:
//
//	go run ./bench/cmd/report                    # all groups, about half an hour
//	go run ./bench/cmd/report -short             # a quick look
//	go run ./bench/cmd/report -full              # with stores of ten million events
//	go run ./bench/cmd/report -run 'save|load'   # some groups; the others stay as they are
//	go run ./bench/cmd/report -render            # no benchmark, the document only
//	go run ./bench/cmd/report -check             # fails if a ratio to its floor has fallen
//	go run ./bench/cmd/report -check -baseline   # measures what -check compares with
//
// What a group prints is kept in bench/results, in the format of Go benchmarks, so
// that benchstat reads it; its first lines say on which machine, with which
// versions and settings, and by which command. The text of the README between the
// marks of [readmeBegin], if there are any, is made of it too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "report:", err)
		}
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	var f form
	flags.BoolVar(&f.short, "short", false, "small stores and few rounds")
	flags.BoolVar(&f.full, "full", os.Getenv("EVSOURCING_FULL") == "1", "stores of up to ten million events")
	flags.IntVar(&f.rounds, "rounds", 0, "how often everything is measured; if zero, 6, and 2 with -short")
	flags.StringVar(&f.benchtime, "benchtime", "", `how long one measurement takes; if empty, 300ms, and 20ms with -short`)
	pattern := flags.String("run", "", "the groups to run, a regular expression; if empty, all")
	only := flags.Bool("render", false, "run nothing, make the document of the results that are there")
	check := flags.Bool("check", false, "compare a few ratios with the baseline, in less than a minute")
	baseline := flags.Bool("baseline", false, "with -check: make the baseline")
	tolerance := flags.Float64("tolerance", 25, "with -check: by how much a ratio may fall, in percent")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := rootDir(ctx)
	if err != nil {
		return err
	}
	switch {
	case *check && *baseline:
		return makeBaseline(ctx, root)
	case *check:
		return checkBaseline(ctx, root, *tolerance/100)
	case *only:
		return renderAll(root)
	}
	selected, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	err = runGroups(ctx, root, f.withDefaults(), selected)
	return errors.Join(err, renderAll(root))
}

// rootDir returns the directory of the root module, which has all paths.
func rootDir(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/evsourcing/evsourcing")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// renderAll writes the document, the plots, and the part of the README.
func renderAll(root string) error {
	files, err := render(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, plotDir), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
