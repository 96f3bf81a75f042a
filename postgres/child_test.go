package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// child is what a process does that the tests kill: it appends as the parent's
// environment says, prints each append that was acknowledged, and runs a projection.
func child(role string) error {
	ctx := context.Background()
	dsn, schema := os.Getenv("EVSOURCING_TEST_DSN"), os.Getenv("EVSOURCING_TEST_SCHEMA")
	s, err := postgres.Open(ctx, dsn, &postgres.Options{Schema: schema})
	if err != nil {
		return err
	}
	if role == "open" {
		return s.Close(ctx)
	}
	p, err := newProjection(ctx, s, dsn, "projection", schema+".counts")
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.subscription().Run(ctx) }()
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			// Two streams that grow by the same appends, and stay equal.
			left, right := stream(fmt.Sprintf("left-%d", w)), stream(fmt.Sprintf("right-%d", w))
			for {
				version, err := headOf(ctx, s, left)
				for ; err == nil; version += 2 {
					_, err = s.Append(ctx, batch(left, version, 2), batch(right, version, 2))
					if err == nil {
						mu.Lock()
						fmt.Fprintf(out, "%d %d\n", w, version+2)
						err = out.Flush()
						mu.Unlock()
					}
				}
				if !errors.Is(err, evsourcing.ErrConflict) { // of a child before, which was in the midst of it
					ended <- err
					return
				}
			}
		})
	}
	return <-ended
}

// headOf returns the version of a stream.
func headOf(ctx context.Context, s evsourcing.EventStore, id evsourcing.StreamID) (uint64, error) {
	for e, err := range s.Load(ctx, id, evsourcing.Range{Backward: true, Limit: 1}) {
		return e.Version, err
	}
	return 0, nil
}

// acknowledged adds to the versions by writer what a child has printed.
func acknowledged(versions map[int]uint64, printed string) {
	for line := range strings.Lines(printed) {
		var writer int
		var version uint64
		if !strings.HasSuffix(line, "\n") { // cut short
			continue
		}
		if _, err := fmt.Sscanf(line, "%d %d", &writer, &version); err == nil {
			versions[writer] = max(versions[writer], version)
		}
	}
}
