package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/examples/flight/aircraft"
)

// A replay flies the rows of a file, one after the other and in their order, so
// that what is stored is always the flights of the file's first rows. Every row
// is an aircraft of its own (see [row.id]) and three transactions: scheduled,
// taken off with the row's delay, landed. The file does not say which delay it
// means, nor whether its time is the planned one; the replay takes the delay
// for that of the departure and the time for the planned departure.
//
// What an earlier replay has stored is not stored again: a replay that was cut
// short is resumed by starting it once more.
//
// Two delay boards are kept meanwhile, one by a reactor on the bus, which hears of
// what this replay stores, and one by a subscription to the log, which has what
// is stored. In the end both must agree with plain sums over the rows.
type replay struct {
	store    evsourcing.EventStore
	board    board // the log's
	logger   *slog.Logger
	stdout   io.Writer
	stderr   io.Writer
	progress *progress

	fleet     *evsourcing.Repository[aircraft.Aircraft]
	rows      int        // stored whole
	events    int        // stored by this replay
	found     int        // events that an earlier replay has stored
	within    bool       // the last row was found whole: there may be more that are
	malformed int        // rows that could not be read
	complete  bool       // the file has been replayed to its end
	sums      delayTable // of all rows whose aircraft have taken off
	flown     delayTable // of those that did so in this replay
}

// errMalformed and errDiffers say why a replay to the end of the file is not a
// success.
var (
	errMalformed = errors.New("malformed rows were left out")
	errDiffers   = errors.New("a delay board differs from the file")
)

// run replays the file until its end, the first failure to store, or until ctx
// ends; a row that is under way then is finished. In all three cases it reports.
func (r *replay) run(ctx context.Context, file io.Reader) error {
	rows, err := readRows(file)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err) // who is interrupted need not hear of a closed file
	}
	finishing, stop := withGrace(ctx, closeTimeout)
	defer stop()
	f, err := newFollower(finishing, r.store, r.board, r.logger)
	if err != nil {
		return err
	}
	ofBus := newDelayBoard()
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{Codec: aircraft.Events(), Logger: r.logger})
	if err := bus.Subscribe(boardName, evsourcing.On(ofBus.takenOff)); err != nil {
		return err
	}
	if err := bus.Listen(); err != nil {
		return err
	}
	r.fleet = aircraft.NewRepository(r.store, &evsourcing.RepositoryOptions{Bus: bus, Logger: r.logger})
	r.sums, r.flown = delayTable{}, delayTable{}

	start := time.Now()
	f.start(ctx)
	err = r.fly(ctx, finishing, rows)

	// The bus first: the last of its reactors may need the repository. The
	// follower last: then the log has all that it will have.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = errors.Join(err, bus.Close(closing), r.fleet.Close(closing))
	behind := f.close(closing)
	err = errors.Join(err, behind)
	elapsed := time.Since(start)

	r.progress.clear()
	ofLog, readErr := r.board.read(closing)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	return errors.Join(err, r.report(ofBus.snapshot(), ofLog, behind == nil, elapsed))
}

// fly replays rows. It returns the context's cause if ctx ended it; finishing is
// for the row that is under way then.
func (r *replay) fly(ctx, finishing context.Context, rows iter.Seq2[row, error]) error {
	for row, err := range rows {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if bad, ok := errors.AsType[*rowError](err); ok {
			r.malformed++
			r.progress.clear()
			fmt.Fprintln(r.stderr, "flight:", bad)
			continue
		}
		if err != nil {
			return err
		}
		if err := r.flyRow(finishing, row); err != nil {
			return fmt.Errorf("line %d: %w", row.line, err)
		}
		r.progress.show(r.rows, r.events)
	}
	r.complete = true
	return nil
}

// flyRow stores the events of one row, but for those that are stored already: the
// version of its aircraft says how many these are.
func (r *replay) flyRow(ctx context.Context, row row) error {
	id := row.id()
	stored := 0
	switch a, err := r.fleet.Load(ctx, id); {
	case err == nil:
		stored = int(a.Version())
	case !errors.Is(err, evsourcing.ErrNotFound):
		return err
	}
	r.found += stored
	if stored < 1 {
		if _, err := r.fleet.Create(ctx, id, aircraft.Do(aircraft.Schedule(aircraft.Plan{
			Origin:      row.origin,
			Destination: row.destination,
			Departure:   row.departure,
			Distance:    row.distance,
		}))); err != nil {
			return err
		}
		r.events++
	}
	if stored < 2 {
		if _, err := r.fleet.Update(ctx, id, aircraft.Do(aircraft.TakeOff(row.delay))); err != nil {
			return err
		}
		r.events++
		r.flown.add(row.origin, row.delay)
	}
	r.sums.add(row.origin, row.delay)
	if stored < 3 {
		if _, err := r.fleet.Update(ctx, id, aircraft.Do(aircraft.Land(row.destination))); err != nil {
			return err
		}
		r.events++
	}
	r.rows++
	r.within = stored >= 3
	return nil
}

// report prints what the log's board shows, what was saved and how fast, and
// whether that board and the bus's are right.
// The log's board is complete unless its subscription has failed.
func (r *replay) report(ofBus, ofLog delayTable, complete bool, elapsed time.Duration) error {
	var b bytes.Buffer
	if len(ofLog) > 0 {
		_ = ofLog.print(&b, 10) // a buffer takes everything
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "saved %d rows, %d events", r.rows, r.events)
	if r.events > 0 {
		fmt.Fprintf(&b, " in %v, %.0f events/s", elapsed.Round(time.Millisecond), float64(r.events)/elapsed.Seconds())
	}
	fmt.Fprintln(&b)
	if r.found > 0 {
		fmt.Fprintf(&b, "found %d events of an earlier replay\n", r.found)
	}
	var err error
	if r.malformed > 0 {
		fmt.Fprintf(&b, "left out %d malformed rows\n", r.malformed)
		err = errMalformed
	}
	diff := ofBus.differences("the bus's board", r.flown)
	partial := false
	switch {
	case !complete: // why is in the error
		partial = true
	case !r.board.lasts():
		diff = append(diff, ofLog.differences("the log's board", r.flown)...)
	case !r.complete && r.within: // the log has more rows than were read
		partial = true
	default:
		diff = append(diff, ofLog.differences("the log's board", r.sums)...)
	}
	if len(diff) > 0 {
		for _, line := range diff {
			fmt.Fprintln(&b, line)
		}
		err = errors.Join(err, errDiffers)
	} else if partial {
		fmt.Fprintln(&b, "the log's board may be behind, or ahead of what was read: it is not compared")
	} else if r.complete {
		fmt.Fprintln(&b, "both boards agree with the file")
	} else {
		fmt.Fprintln(&b, "both boards agree with what was saved")
	}
	_, werr := r.stdout.Write(b.Bytes())
	return errors.Join(err, werr)
}

// withGrace returns a context that lives on for d after its parent has ended:
// time to finish what has begun.
func withGrace(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() { time.AfterFunc(d, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}
