package evsourcing

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
)

// A DeadLetter is a message that a subscription gave up on.
type DeadLetter struct {
	Subscription string
	Message      Message
	Attempts     int   // 0 if the message found the buffer full: see OnFull
	Err          error // of the last attempt
}

// errDropped is what became of a message without a DeadLetter function.
var errDropped = errors.New("evsourcing: the bus has no DeadLetter")

// giveUp hands a message to DeadLetter and logs it. It returns nil if that has
// settled the message. A message that a Relay has published is not lost.
func (b *EventBus) giveUp(ctx context.Context, d DeadLetter, relayed bool) (err error) {
	attrs := append(messageAttrs(d.Subscription, &d.Message), slog.Int("attempts", d.Attempts), errAttr(d.Err))
	if p, ok := d.Err.(*PanicError); ok { // no errors.As: it would call methods of an error that may be anything
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	if b.opts.DeadLetter == nil {
		what := "message dropped; set DeadLetter to keep such messages"
		if relayed {
			what = "message stops its relay; set DeadLetter to go on without it"
		}
		b.log(ctx, slog.LevelError, "evsourcing: "+what, attrs)
		return errDropped
	}
	b.log(ctx, slog.LevelError, "evsourcing: message goes to DeadLetter", attrs)
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
		if err != nil {
			what := "message lost, DeadLetter failed"
			if relayed {
				what = "message stops its relay, DeadLetter failed"
			}
			b.log(ctx, slog.LevelError, "evsourcing: "+what,
				append(messageAttrs(d.Subscription, &d.Message), errAttr(err)))
		}
	}()
	err = b.opts.DeadLetter(ctx, d)
	returned = true
	return err
}

func (b *EventBus) log(ctx context.Context, level slog.Level, msg string, attrs []slog.Attr) {
	logSafely(ctx, b.opts.Logger, level, msg, attrs)
}

// logSafely writes a record. A handler that panics, on an error that can't say
// what it is for example, must not end the process from a lane.
func logSafely(ctx context.Context, logger *slog.Logger, level slog.Level, msg string, attrs []slog.Attr) {
	defer func() { _ = recover() }()
	logger.LogAttrs(ctx, level, msg, attrs...)
}

// isSafely is errors.Is with any of the targets, for an error whose methods may
// panic.
func isSafely(err error, targets ...error) bool {
	defer func() { _ = recover() }()
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func messageAttrs(subscription string, m *Message) []slog.Attr {
	return []slog.Attr{
		slog.String("subscription", subscription),
		slog.String("topic", m.Topic),
		slog.String("stream", m.Stream.String()),
		slog.Uint64("version", m.Version),
		slog.String("event_id", m.ID.String()),
	}
}

func errAttr(err error) slog.Attr { return slog.Any("error", err) }

func (b *EventBus) giveUpAll(ctx context.Context, refused []DeadLetter) {
	for _, d := range refused {
		_ = b.giveUp(ctx, d, false) // which has logged it
	}
}
