package evsourcing

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
)

// A subscriptionBatch is messages on their way to the handler. The reader does not
// decode them, so that lanes do it side by side.
type subscriptionBatch struct {
	msgs []Message
	seqs []uint64 // their numbers in the watermark
}

// A subscriptionLane decodes and handles the batches of one partition, one after
// the other, in a goroutine of its own.
type subscriptionLane struct {
	run     *subscriptionRun
	reactor Reactor // of a handler made by Each
	in      chan subscriptionBatch

	// The reader's.
	next subscriptionBatch // being collected
	size int               // of the last batch

	// The goroutine's.
	work     subscriptionBatch // what is left of a batch
	decoded  int               // so many of it are decoded
	decoding bool              // decode has been called and not returned
	undo     StoredEvent       // of which one is being decoded
	tried    []Message         // copies of what the handler has, which may change it
	skipped  map[string]bool   // unknown topics that were logged
	single   int               // so many are to be handled one at a time
	attempts int               // at the first message, or at the whole batch
	err      error             // of an attempt, and not looked at yet
	failing  bool              // the status shows an error of this lane
}

// add adds a message about e with its number.
func (l *subscriptionLane) add(e *StoredEvent, seq uint64) {
	b := &l.next
	if b.msgs == nil {
		// About as many as last time: a subscription that has caught up sees few.
		size := min(max(2*l.size, 8), l.run.opts.BatchSize)
		b.msgs, b.seqs = make([]Message, 0, size), make([]uint64, 0, size)
	}
	b.msgs = append(b.msgs, Message{StoredEvent: *e})
	b.seqs = append(b.seqs, seq)
}

// flush sends what has been collected.
func (l *subscriptionLane) flush() error {
	b := l.next
	if len(b.msgs) == 0 {
		return nil
	}
	l.next, l.size = subscriptionBatch{}, len(b.msgs)
	return l.send(b)
}

// send waits until the lane takes the batch or the run ends.
func (l *subscriptionLane) send(b subscriptionBatch) error {
	select {
	case l.in <- b:
		return nil
	case <-l.run.ctx.Done():
		return l.run.ctx.Err()
	}
}

// loop runs batches until there are no more. When the run ends, what is left is
// dropped.
func (l *subscriptionLane) loop() {
	exiting := true
	defer func() {
		if exiting { // the handler called runtime.Goexit
			if l.decoding {
				l.run.fail(errors.New("the codec has called runtime.Goexit")) // or, on skipping, the logger
			}
			go l.loop()
			return
		}
		l.run.workers.Done()
	}()
	for {
		for len(l.work.msgs) > 0 && l.run.ctx.Err() == nil {
			l.step()
		}
		select {
		case l.work = <-l.in:
			l.decoded = 0
		case <-l.run.ctx.Done():
			exiting = false
			return
		}
		if l.reactor != nil {
			l.single = len(l.work.msgs)
		}
	}
}

// step makes one attempt and does what follows from it.
func (l *subscriptionLane) step() {
	r := l.run
	var unknown bool
	if l.decoded == 0 && l.err == nil {
		l.decoding = true
		unknown = l.decode()
		l.decoding = false
		if len(l.work.msgs) == 0 { // all were skipped
			r.saveOrFail()
			return
		}
	}
	n := max(1, l.decoded)
	if l.single > 0 {
		n = 1
	}
	if l.err == nil { // else decoding failed, or an attempt ended in Goexit
		l.attempts++
		l.attempt(n)
	}
	err := l.err
	l.err = nil
	if err == nil {
		l.succeeded()
		l.settle(n, 0)
		return
	}
	if r.ctx.Err() != nil { // no wonder
		return
	}
	l.failing = true
	r.progress.report(l, err)
	switch {
	case r.relay != nil && isSafely(err, ErrBusClosed, ErrNotListening):
		r.fail(err)
	case l.attempts < r.opts.Retry.MaxAttempts && !unknown:
		l.pause(n, err)
	case n > 1:
		l.single, l.attempts = n, 0
	default:
		if err := l.giveUp(err); err != nil {
			r.fail(err)
			return
		}
		l.succeeded()
		l.settle(1, 1)
	}
}

// decode decodes the batch up to the first message that fails. If that is the
// first one, the failure is an attempt's, and decode reports whether another
// attempt would be the same. Messages to be skipped are taken out.
func (l *subscriptionLane) decode() (unknown bool) {
	r := l.run
	b := &l.work
	keep := 0
	for i := range b.msgs {
		m := &b.msgs[i]
		l.undo = m.StoredEvent // Decode may change it and fail
		var err error
		m.Event, unknown, err = r.decode(&m.StoredEvent)
		if err == nil {
			if keep != i {
				b.msgs[keep], b.seqs[keep] = *m, b.seqs[i]
			}
			keep++
			continue
		}
		m.StoredEvent, m.Event = l.undo, nil
		if unknown && r.opts.SkipUnknown && r.ctx.Err() == nil {
			l.skip(m, b.seqs[i])
			continue
		}
		if keep == 0 {
			l.attempts++
			l.err = asDecodeError(&m.StoredEvent, err)
		}
		l.decoded = keep
		b.msgs = append(b.msgs[:keep], b.msgs[i:]...)
		b.seqs = append(b.seqs[:keep], b.seqs[i:]...)
		return unknown
	}
	l.decoded = keep
	b.msgs, b.seqs = b.msgs[:keep], b.seqs[:keep]
	return false
}

// maxSkipped is how many unknown topics a lane logs and remembers at most.
const maxSkipped = 1024

// skip settles a message of an unknown topic.
func (l *subscriptionLane) skip(m *Message, seq uint64) {
	if !l.skipped[m.Topic] && len(l.skipped) < maxSkipped {
		if l.skipped == nil {
			l.skipped = map[string]bool{}
		}
		l.skipped[m.Topic] = true
		logSafely(l.run.ctx, l.run.opts.Logger, slog.LevelWarn, "evsourcing: subscription skips the events of an unknown topic",
			append(messageAttrs(l.run.name, m), slog.Uint64("position", m.Position)))
	}
	l.run.mark.settle(seq)
}

// succeeded takes the lane's error, if any, off the status.
func (l *subscriptionLane) succeeded() {
	if l.failing {
		l.failing = false
		l.run.progress.report(l, nil)
	}
}

// attempt hands n messages to the handler and sets l.err, even if the handler
// does not return. The slice is the handler's own from then on: for what comes
// next, there are copies.
func (l *subscriptionLane) attempt(n int) {
	msgs := l.work.msgs[:n:n]
	shared := l.reactor == nil && l.run.relay == nil
	if shared {
		l.tried = append(l.tried[:0], msgs...)
	}
	returned := false
	defer func() {
		if !returned {
			l.err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
		if shared {
			if l.err != nil {
				l.work.msgs = append(slices.Clone(l.tried), l.work.msgs[n:]...)
			}
			clear(l.tried)
		}
	}()
	l.err = l.handle(msgs)
	returned = true
}

func (l *subscriptionLane) handle(msgs []Message) error {
	r := l.run
	switch {
	case r.relay != nil:
		return r.relay.publish(r.ctx, msgs, l.work.seqs)
	case r.tx != nil:
		return r.handleTx(msgs)
	case l.reactor != nil:
		return l.reactor.React(ContextWithCause(r.ctx, msgs[0]), msgs[0])
	case len(msgs) == 1:
		return r.handler.Handle(ContextWithCause(r.ctx, msgs[0]), msgs)
	}
	return r.handler.Handle(r.ctx, msgs)
}

// settle takes n messages off the batch, and saves the checkpoint after the
// last. A Relay's messages are settled by the bus, but for those given up here.
func (l *subscriptionLane) settle(n, givenUp int) {
	r := l.run
	if r.relay == nil || givenUp > 0 {
		r.mark.settle(l.work.seqs[:n]...)
		r.progress.count(n-givenUp, givenUp)
	}
	l.work.msgs, l.work.seqs = l.work.msgs[n:], l.work.seqs[n:]
	l.decoded = max(0, l.decoded-n)
	l.single = max(0, l.single-n)
	l.attempts = 0
	done := len(l.work.msgs) == 0 && r.relay == nil && r.tx == nil
	if done || givenUp > 0 && (r.relay != nil || r.tx != nil) {
		r.saveOrFail()
	}
}

// pause waits before the next attempt. What was handled before is saved first,
// for it may take long.
func (l *subscriptionLane) pause(n int, err error) {
	r := l.run
	pause := r.opts.Retry.pause(l.attempts)
	logSafely(r.ctx, r.opts.Logger, slog.LevelWarn, "evsourcing: subscription's handler failed and will be tried again",
		append(l.attrs(n), slog.Int("attempt", l.attempts), slog.Duration("pause", pause), errAttr(err)))
	r.saveOrFail()
	_ = sleep(r.ctx, pause)
}

// giveUp hands the first message to OnFailure. It returns nil if that settles
// it, and otherwise why the run can't go on.
func (l *subscriptionLane) giveUp(cause error) (err error) {
	r := l.run
	m := &l.work.msgs[0]
	attrs := append(l.attrs(1), slog.Int("attempts", l.attempts), errAttr(cause))
	what := fmt.Sprintf("the event at position %d, version %d of %v, topic %q, failed in %d attempts",
		m.Position, m.Version, m.Stream, m.Topic, l.attempts)
	if r.opts.OnFailure == nil {
		logSafely(r.ctx, r.opts.Logger, slog.LevelError, "evsourcing: subscription stops; set OnFailure to go on without such an event", attrs)
		return fmt.Errorf("%s: %w", what, cause)
	}
	logSafely(r.ctx, r.opts.Logger, slog.LevelError, "evsourcing: subscription gives an event to OnFailure", attrs)
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
		if err != nil {
			err = fmt.Errorf("OnFailure: %w; %s: %w", err, what, cause)
			r.fail(err) // here, should this be Goexit
		}
	}()
	d := DeadLetter{Subscription: r.name, Message: *m, Attempts: l.attempts, Err: cause}
	err = r.opts.OnFailure(ContextWithCause(r.ctx, *m), d)
	returned = true
	return err
}

// attrs describes the first n messages.
func (l *subscriptionLane) attrs(n int) []slog.Attr {
	first, last := &l.work.msgs[0], &l.work.msgs[n-1]
	if n == 1 {
		return append(messageAttrs(l.run.name, first), slog.Uint64("position", first.Position))
	}
	return []slog.Attr{
		slog.String("subscription", l.run.name), slog.Int("events", n),
		slog.Uint64("from_position", first.Position), slog.Uint64("to_position", last.Position),
	}
}
