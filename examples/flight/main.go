// Flight is the running example of evsourcing: aircraft that are scheduled, take
// off and land.
//
// Without flags it tells the story of one flight. With -replay it flies the
// flights of a file, and shows the delays by airport that a reactor has added
// up; a subscription to the log adds them up again. With -store the events, and
// the second sums, are kept on disk. -help says more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/evsourcing/evsourcing"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const usage = `usage: flight                                tell the story of one flight
       flight -replay [-store STORE] [FILE]  replay the flights of FILE

FILE is CSV with the header ` + header + `.
Without FILE, 2,000 flights that are part of the program are replayed.

STORE is where the events are kept: the name of a SQLite file, which is made if
it is missing, or the URL of a PostgreSQL database (postgres://...). Without it,
they are in memory. A replay that was cut short, even by a kill, is resumed by the same
command: nothing is stored twice, and the board of the log is exact.

The exit status is
  0    if all went well
  1    if something failed, if rows of FILE are malformed (they are reported and
       left out), or if a delay board, the bus's or the log's, differs from plain
       sums over FILE
  2    if the arguments are wrong
  130  if SIGINT or SIGTERM ended the program; it closes cleanly, and says what
       was saved. A second signal ends it at once.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal has its usual effect
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("flight", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what it has to say is said below
	replaying := flags.Bool("replay", false, "replay the flights of a file")
	storeName := flags.String("store", "", "keep the events of a replay there")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
	case !*replaying && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q without -replay", flags.Arg(0))
	case !*replaying && *storeName != "":
		err = errors.New("-store is for -replay")
	case flags.NArg() > 1:
		err = fmt.Errorf("unexpected argument %q after FILE", flags.Arg(1))
	}
	if err != nil {
		fmt.Fprintf(stderr, "flight: %v\n\n%s", err, usage)
		return exitUsage
	}

	logger := slog.New(slog.NewTextHandler(stderr, nil))
	if *replaying {
		err = replayFile(ctx, flags.Arg(0), *storeName, stdout, stderr, logger)
	} else {
		err = story(ctx, evsourcing.NewMemoryStore(), stdout, logger)
	}
	if err == nil {
		return exitOK
	}
	status := exitFailure
	if cause := context.Cause(ctx); cause != nil {
		status = exitInterrupted
		if !errors.Is(err, cause) {
			err = errors.Join(cause, err)
		}
	}
	// One line an error: errors.Join puts those it joins on lines of their own.
	fmt.Fprintln(stderr, "flight:", strings.ReplaceAll(err.Error(), "\n", "\nflight: "))
	return status
}

// replayFile replays the named file, or the one built in if name is empty.
func replayFile(ctx context.Context, name, storeName string, stdout, stderr io.Writer, logger *slog.Logger) (err error) {
	file, err := openFile(name)
	if err != nil {
		return err
	}
	defer file.Close()
	// FILE may be a pipe that nothing comes out of: closing it ends the wait.
	defer context.AfterFunc(ctx, func() { _ = file.Close() })()

	store, err := openStorage(ctx, storeName, logger)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, store.close(closing))
	}()
	r := &replay{store: store.EventStore, board: store.board, logger: logger, stdout: stdout, stderr: stderr, progress: newProgress(stderr)}
	return r.run(ctx, file)
}
