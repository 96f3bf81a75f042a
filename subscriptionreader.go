package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
)

// subscriptionReader is the part of a run that reads the log, in the goroutine
// of Run.
type subscriptionReader struct {
	*subscriptionRun
	at       Mark // everything up to here is delivered or not wanted
	verified bool // the log holds the event at that mark
	shown    bool // the checkpoint's position is
	head     Mark
	waits    int              // failures to wait, one after the other
	told     time.Time        // when progress was last logged
	fresh    []watermarkEntry // delivered, and not yet in the watermark
	seq      uint64           // number of the next message
	ahead    int              // messages that were not settled when last looked
}

// scanWindow is how many positions of a filtered log are read before the place
// is noted.
const scanWindow = 1 << 17

// tellEvery is how often the progress of reading a long log is logged.
const tellEvery = 10 * time.Second

// read reads until the run's context ends, and ends it if it can't go on.
func (r *subscriptionRun) read() {
	at, _ := r.mark.settled()
	rd := &subscriptionReader{subscriptionRun: r, at: at, told: time.Now()}
	for failures := 0; r.ctx.Err() == nil; {
		const what = "reading the log"
		err := rd.round()
		if err == nil && failures > 0 {
			failures = 0
			r.progress.report(what, nil)
		}
		switch {
		case r.ctx.Err() != nil:
		case err == nil && rd.at.Position < rd.head.Position:
			if wait, ok := rd.saveDue(); ok && wait <= 0 {
				rd.saveOrFail()
			}
		case err == nil:
			rd.wait()
		case final(err):
			r.fail(fmt.Errorf("%s: %w", what, err))
		default:
			rd.verified = false // it may be another log by then
			failures++
			_ = r.complain(r.ctx, what, failures, r.opts.Retry.pause(failures), err)
		}
	}
}

// round reads what there is, or a window of it if there is a filter.
func (rd *subscriptionReader) round() error {
	head, err := rd.log.Head(rd.ctx)
	if err != nil {
		return err
	}
	rd.progress.seeHead(head.Position)
	if err := rd.verify(head); err != nil {
		return err
	}
	if !rd.shown { // not before: it may be of another log
		rd.shown = true
		rd.progress.reach(rd.at.Position)
	}
	rd.head = head
	if head.Position == rd.at.Position {
		return nil
	}
	until, err := rd.window()
	if err != nil {
		return err
	}
	filtered := !rd.filter.zero()
	for e, err := range rd.log.Events(rd.ctx, Range{After: rd.at.Position, Until: until.Position}, rd.filter) {
		if err != nil {
			return errors.Join(err, rd.flush()) // what is read is good
		}
		if e.Position <= rd.at.Position {
			return fmt.Errorf("%w: position %d follows position %d", ErrDiverged, e.Position, rd.at.Position)
		}
		if filtered && !rd.filter.Match(e) {
			continue
		}
		if err := rd.deliver(&e); err != nil {
			return err
		}
	}
	if rd.at.Position != until.Position {
		rd.at = until
		rd.number(until, true)
	}
	rd.tell()
	return rd.flush()
}

// verify checks that the log holds what the subscription has seen of it.
func (rd *subscriptionReader) verify(head Mark) error {
	at := rd.at
	if head.Position < at.Position {
		return fmt.Errorf("%w: the subscription has come to position %d, but the log ends at %d", ErrDiverged, at.Position, head.Position)
	}
	if at.EventID == uuid.Nil || rd.verified && head.Position != at.Position {
		return nil
	}
	found, ok := head.EventID, true
	if head.Position != at.Position {
		var err error
		if found, ok, err = rd.event(at.Position); err != nil {
			return err
		}
	}
	if !ok {
		return fmt.Errorf("%w: the event %v, which the subscription has seen at position %d, is not there", ErrDiverged, at.EventID, at.Position)
	}
	if found != at.EventID {
		return fmt.Errorf("%w: the event at position %d is %v, and not %v, which the subscription has seen there", ErrDiverged, at.Position, found, at.EventID)
	}
	rd.verified = true
	return nil
}

// window returns up to where to read now. With a filter, a long way may bring
// nothing, so it is made in stages.
func (rd *subscriptionReader) window() (Mark, error) {
	if rd.filter.zero() || rd.head.Position-rd.at.Position <= scanWindow {
		return rd.head, nil
	}
	r := Range{After: rd.at.Position, Until: rd.at.Position + scanWindow, Limit: 1, Backward: true}
	for e, err := range rd.log.Events(rd.ctx, r, Filter{}) {
		return Mark{Position: e.Position, EventID: e.ID}, err
	}
	return rd.head, nil // a large gap
}

// deliver adds an event to its lane's batch.
func (rd *subscriptionReader) deliver(e *StoredEvent) error {
	if rd.ahead+len(rd.fresh) >= maxAhead {
		if err := rd.flush(); err != nil { // or nothing would ever be settled
			return err
		}
		rd.mark.wait(rd.ctx)
		rd.ahead = rd.mark.ahead()
	}
	l := rd.lane(e.Stream)
	rd.at = Mark{Position: e.Position, EventID: e.ID}
	l.add(e, rd.number(rd.at, false))
	if len(l.next.seqs) >= rd.opts.BatchSize {
		rd.push()
		return l.flush()
	}
	return nil
}

// number gives what stands at the mark a number.
func (rd *subscriptionReader) number(m Mark, settled bool) uint64 {
	rd.fresh = append(rd.fresh, watermarkEntry{mark: m, settled: settled})
	rd.seq++
	return rd.seq - 1
}

// push tells the watermark of what has been read, before lanes do.
func (rd *subscriptionReader) push() {
	if len(rd.fresh) > 0 {
		rd.ahead = rd.mark.push(rd.fresh)
		rd.fresh = rd.fresh[:0]
	}
}

// decode is the codec's Decode, whose upcasters may panic, and return errors that
// do. unknown says that the error is ErrUnknownTopic.
func (r *subscriptionRun) decode(src *StoredEvent) (e Event, unknown bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	e, err = r.codec.Decode(r.ctx, src)
	return e, err != nil && isSafely(err, ErrUnknownTopic), err
}

func (rd *subscriptionReader) lane(id StreamID) *subscriptionLane {
	if len(rd.lanes) == 1 {
		return rd.lanes[0]
	}
	return rd.lanes[streamHash(rd.seed, id)%uint64(len(rd.lanes))]
}

// flush hands all lanes what has been read for them.
func (rd *subscriptionReader) flush() error {
	rd.push()
	for _, l := range rd.lanes {
		if err := l.flush(); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until there is more to read, or a checkpoint to be saved.
func (rd *subscriptionReader) wait() {
	ctx := rd.ctx
	if wait, ok := rd.saveDue(); ok && wait <= 0 {
		rd.saveOrFail()
	} else if ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	if rd.waiter == nil {
		rd.poll(ctx)
		return
	}
	if rd.waits > 0 { // poll, until waiting works again for so long
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rd.opts.PollInterval)
		defer cancel()
	}
	const what = "waiting for the log"
	err := rd.waiter.Wait(ctx, rd.at.Position)
	switch {
	case rd.ctx.Err() != nil:
	case err == nil || ctx.Err() != nil:
		if rd.waits > 0 {
			rd.waits = 0
			rd.progress.report(what, nil)
		}
	default:
		rd.verified = false // as in read
		rd.waits++
		rd.progress.report(what, err)
		if bits.OnesCount(uint(rd.waits)) == 1 { // 1, 2, 4, ...
			rd.say(ctx, slog.LevelWarn, "evsourcing: subscription polls, because waiting for the log fails",
				slog.Int("attempt", rd.waits), errAttr(err))
		}
		rd.poll(ctx)
	}
}

// poll waits until the log is to be asked again: for the PollInterval, or until
// somebody waits for the subscription.
func (rd *subscriptionReader) poll(ctx context.Context) {
	t := time.NewTimer(rd.opts.PollInterval)
	defer t.Stop()
	select {
	case <-t.C:
	case <-rd.progress.asked:
	case <-ctx.Done():
	}
}

// tell logs progress on a long way.
func (rd *subscriptionReader) tell() {
	if now := time.Now(); rd.at.Position == rd.head.Position {
		rd.told = now
	} else if now.Sub(rd.told) >= tellEvery {
		rd.told = now
		rd.say(rd.ctx, slog.LevelInfo, "evsourcing: subscription is catching up",
			slog.Uint64("position", rd.at.Position), slog.Uint64("head", rd.head.Position))
	}
}
