// Human is the second example of evsourcing: a configuration decides at start-up
// which of the program's reactors listen to which topics.
//
// Two humans are born and have birthdays; the reactors do the rest. The
// configuration that is built in names a reactor that the program does not
// have, to show the warning.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/evsourcing/evsourcing"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// closeTimeout is how long the program waits for its reactors when it ends.
const closeTimeout = 5 * time.Second

const usage = `usage: human [-config FILE]

FILE is JSON that maps reactors to topics:
  {"reactors": {"say.hello": ["human.born"]}}
Reactors: celebrate, come.of.age, say.hello.
Topics:   human.born, human.had_birthday, human.grew_up.
Names that are not found are logged as warnings. Without FILE, a configuration
that is part of the program is used.

The exit status is 0 if all went well, 1 if something failed, 2 if the arguments
are wrong, and 130 if SIGINT or SIGTERM ended the program.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal has its usual effect
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("human", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what it has to say is said below
	file := flags.String("config", "", "file that maps reactors to topics")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "human: %v\n\n%s", err, usage)
		return exitUsage
	}

	c, err := readConfig(*file)
	if err == nil {
		err = live(ctx, c, evsourcing.NewMemoryStore(), stdout, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "human:", strings.ReplaceAll(err.Error(), "\n", "\nhuman: "))
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return exitFailure
}

// live sets the program up as configured, and runs it.
func live(ctx context.Context, c config, store evsourcing.EventStore, stdout io.Writer, logger *slog.Logger) error {
	out := log.New(stdout, "", 0) // for the reactors as well, which run side by side
	registry := evsourcing.NewRegistry(Born{}, HadBirthday{}, GrewUp{})

	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: registry, Logger: logger})
	humans := evsourcing.NewRepository[Human]("human", store, registry,
		&evsourcing.RepositoryOptions{Bus: bus, Logger: logger})
	c.subscribe(bus, reactors(humans, out), logger)
	if err := bus.Listen(); err != nil {
		return err
	}

	otto, err := grow(ctx, humans, out, "Otto", 18)
	if err == nil {
		_, err = grow(ctx, humans, out, "Ada", 3)
	}

	// Closing the bus waits for the reactors, and for those that react to what
	// they store. The repository stays open until then: they need it.
	closing, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	err = errors.Join(err, bus.Close(closing))
	if err == nil {
		var now *Human
		if now, err = humans.Load(ctx, otto.ID()); err == nil {
			out.Println("In the end:", now)
		}
	}
	return errors.Join(err, humans.Close(closing))
}

// grow brings a human into the world and lets years pass.
func grow(ctx context.Context, humans *evsourcing.Repository[Human], out *log.Logger, name string, years int) (*Human, error) {
	h, err := humans.Create(ctx, "", func(h *Human) error { return evsourcing.Execute(h, birth(name)) })
	if err != nil {
		return nil, err
	}
	out.Println("Born:", h)
	h, err = humans.Update(ctx, h.ID(), func(h *Human) error {
		for range years {
			if err := evsourcing.Execute(h, birthday); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.Println("Years later:", h)
	return h, nil
}
