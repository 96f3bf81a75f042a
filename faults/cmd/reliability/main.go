// Command reliability runs the tests behind the promises of evsourcing, each with its
// control, and writes docs/reliability.md from what they report:
//
//	go run ./faults/cmd/reliability             # short forms, some minutes
//	go run ./faults/cmd/reliability -full       # as long as they are meant to be, hours
//	go run ./faults/cmd/reliability -run kill   # the rows whose ID matches
//	go run ./faults/cmd/reliability -render     # the document alone
//
// Run it in the root of the repository. Each row's result is a file in faults/results,
// which a later run of that row replaces; the document is made from these files alone.
// A short form replaces no full one, unless it fails. The command fails if a test does.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

const (
	resultsDir = "faults/results"
	document   = "docs/reliability.md"
)

func main() {
	full := flag.Bool("full", false, "run the long forms")
	only := flag.String("run", "", "run the rows whose ID matches the regular `expression`")
	render := flag.Bool("render", false, "run nothing, and write the document from the results that are there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := report(ctx, *full, *only, *render); err != nil {
		slog.Error("reliability", "err", err)
		os.Exit(1)
	}
}

// report runs the rows and writes the document.
func report(ctx context.Context, full bool, only string, render bool) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	failed := 0
	for _, r := range rows {
		if render || !pattern.MatchString(r.ID) {
			continue
		}
		slog.Info("running", "row", r.ID, "full", full)
		res, err := r.run(ctx, full)
		if err != nil {
			return fmt.Errorf("%s: %w", r.ID, err)
		}
		slog.Info("ran", "row", r.ID, "test", res.Test, "control", res.Control)
		if res.failed() {
			failed++
		}
		if err := res.save(resultsDir); err != nil {
			return err
		}
	}
	results, err := readResults(resultsDir)
	if err != nil {
		return err
	}
	if err := os.WriteFile(document, markdown(results), 0o644); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d rows failed; %s names them", failed, document)
	}
	return nil
}
