package evsourcing

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// A subscriptionBatch is messages on their way to the handler.
type subscriptionBatch struct {
	msgs      []Message
	seqs      []uint64 // their numbers in the watermark
	undecoded error    // of the only message
}

// A subscriptionLane runs the batches of one partition, one after the other, in
// a goroutine of its own.
type subscriptionLane struct {
	run     *subscriptionRun
	reactor Reactor // of a handler made by Each
	in      chan subscriptionBatch

	// The reader's.
	next subscriptionBatch // being collected
	size int               // of the last batch

	// The goroutine's.
	work     subscriptionBatch // what is left of a batch
	single   int               // so many are to be handled one at a time
	attempts int               // at the first message, or at the whole batch
	err      error             // of an attempt, and not looked at yet
	failing  bool              // the status shows an error of this lane
}

// add makes room for a message about e.
func (l *subscriptionLane) add(e *StoredEvent) *Message {
	b := &l.next
	if b.msgs == nil {
		// About as many as last time: a subscription that has caught up sees few.
		size := min(max(2*l.size, 8), l.run.opts.BatchSize)
		b.msgs, b.seqs = make([]Message, 0, size), make([]uint64, 0, size)
	}
	b.msgs = append(b.msgs, Message{StoredEvent: *e})
	return &b.msgs[len(b.msgs)-1]
}

// drop takes back the last message added.
func (l *subscriptionLane) drop() { l.next.msgs = l.next.msgs[:len(l.next.msgs)-1] }

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
	n := len(l.work.msgs)
	if l.single > 0 {
		n = 1
	}
	if l.err == nil { // else an attempt ended in Goexit
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
	case r.relay != nil && (errors.Is(err, ErrBusClosed) || errors.Is(err, ErrNotListening)):
		r.fail(err)
	case l.attempts < r.opts.Retry.MaxAttempts && !l.hopeless(err):
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

// succeeded takes the lane's error, if any, off the status.
func (l *subscriptionLane) succeeded() {
	if l.failing {
		l.failing = false
		l.run.progress.report(l, nil)
	}
}

// hopeless reports whether another attempt at decoding would be the same.
func (l *subscriptionLane) hopeless(err error) bool {
	return l.work.undecoded != nil && errors.Is(err, ErrUnknownTopic)
}

// attempt hands n messages to the handler and sets l.err, even if the handler
// does not return.
func (l *subscriptionLane) attempt(n int) {
	returned := false
	defer func() {
		if !returned {
			l.err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	l.err = l.handle(l.work.msgs[:n:n])
	returned = true
}

func (l *subscriptionLane) handle(msgs []Message) error {
	r := l.run
	if l.work.undecoded != nil {
		if err := l.decode(&msgs[0]); err != nil {
			return err
		}
	}
	switch {
	case r.relay != nil:
		return r.relay.publish(r.ctx, msgs, l.work.seqs)
	case l.reactor != nil:
		return l.reactor.React(ContextWithCause(r.ctx, msgs[0]), msgs[0])
	case len(msgs) == 1:
		return r.handler.Handle(ContextWithCause(r.ctx, msgs[0]), msgs)
	}
	return r.handler.Handle(r.ctx, msgs)
}

// decode tries again what has failed in the reader; the first time, that counts.
func (l *subscriptionLane) decode(m *Message) error {
	if l.attempts == 1 {
		return l.work.undecoded
	}
	e := m.StoredEvent // Decode may change it and fail
	event, err := l.run.decode(&e)
	if err != nil {
		return asDecodeError(&m.StoredEvent, err)
	}
	*m = Message{StoredEvent: e, Event: event}
	l.work.undecoded = nil
	return nil
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
	l.single = max(0, l.single-n)
	l.attempts = 0
	if len(l.work.msgs) == 0 && r.relay == nil {
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
