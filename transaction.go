package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// A TxOption is an option of one transaction.
type TxOption func(*txOptions)

type txOptions struct {
	command    string
	hasCommand bool
}

// CommandID makes a transaction idempotent under an ID that the caller chose,
// such as that of the request it serves. The IDs of the events derive from it
// and the stream. If events of the same command are stored in the stream
// already, the transaction returns the aggregate's present state without
// running fn: also in another process, after a restart, and when the command
// would by now be refused. A command that recorded no event is not remembered.
//
// Two commands of one request that touch the same aggregate need two IDs: a second
// one under the first one's ID does nothing and says nothing. Whoever has to know
// whether the command was executed now or before notes in fn that it was called.
//
// The store's [Finder] looks for the command; without one, the whole stream is
// read.
func CommandID(id string) TxOption {
	return func(o *txOptions) { o.command, o.hasCommand = id, true }
}

// commandNamespace is the name space of the event IDs of commands, a UUID made
// for the purpose.
var commandNamespace = uuid.MustParse("6f0d2c1e-8a57-4f43-9b58-3f1f0c5a7e21")

// commandEventID returns the ID of the n-th event of a command, from 0: a
// version 5 UUID (RFC 9562). The parts are quoted so that no two sets of them
// give one name.
func commandEventID(command string, id StreamID, n int) uuid.UUID {
	name := fmt.Sprintf("%q %q %q %d", command, id.Type, id.ID, n)
	return uuid.NewSHA1(commandNamespace, []byte(name))
}

// txMode says what a transaction starts from.
type txMode int

const (
	txCreate txMode = iota
	txUpdate
	txCreateOrUpdate
)

// Create makes a new aggregate, calls fn with it, and saves it. If id is empty,
// it gets one from NewID. If the stream exists, the error wraps [ErrConflict]:
// Create does not try again after a conflict.
//
// Create, Update and CreateOrUpdate are transactions. fn's error ends a
// transaction, is returned as it is, and nothing is stored. The aggregate
// returned is nil with every error but the transaction's own [ErrNotPublished].
// Without changes nothing is stored.
//
// A transaction that is cut short before its append begins, because its context
// ends, fn panics, or Close does not wait any longer, stores nothing and logs
// one warning. Once the append has begun, it completes. When the outcome of the
// append is uncertain, the append is repeated, which is safe, and never fn; if
// it stays so, the error wraps [ErrUncertain].
func (r *Repository[T]) Create(ctx context.Context, id string, fn func(a *T) error, opts ...TxOption) (*T, error) {
	return r.transact(ctx, txCreate, id, fn, opts)
}

// Update loads the aggregate, calls fn with it, and saves it. After a conflict
// it starts over from a fresh load, MaxAttempts times in all with a short random
// pause between, so fn may be called several times; the last conflict is
// returned. The error is [ErrNotFound] if the aggregate does not exist and
// [ErrInvalidStream] if id is empty. See [Repository.Create] for what all
// transactions have in common.
func (r *Repository[T]) Update(ctx context.Context, id string, fn func(a *T) error, opts ...TxOption) (*T, error) {
	return r.transact(ctx, txUpdate, id, fn, opts)
}

// CreateOrUpdate is Update if the aggregate exists, and otherwise Create, but
// tries again after a conflict either way.
func (r *Repository[T]) CreateOrUpdate(ctx context.Context, id string, fn func(a *T) error, opts ...TxOption) (*T, error) {
	return r.transact(ctx, txCreateOrUpdate, id, fn, opts)
}

func (r *Repository[T]) transact(ctx context.Context, mode txMode, id string, fn func(a *T) error, opts []TxOption) (_ *T, err error) {
	var o txOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if o.hasCommand && id == "" {
		return nil, fmt.Errorf("%w: a transaction with a CommandID needs the aggregate's ID, or its repetition makes another aggregate", ErrInvalidStream)
	}
	if id == "" && mode != txUpdate {
		id = r.opts.NewID()
	}
	stream := r.stream(id)
	if err := stream.Validate(); err != nil {
		return nil, err
	}
	if fn == nil {
		return nil, fmt.Errorf("evsourcing: transaction on %v: the function is nil", stream)
	}
	if o.hasCommand {
		if err := ValidateName(o.command); err != nil {
			return nil, fmt.Errorf("evsourcing: transaction on %v: the command ID %w", stream, err)
		}
	}
	tx := &transaction{stream: stream, command: o.command, began: time.Now()}
	tx.ctx, tx.cancel = context.WithCancelCause(ctx)
	defer tx.cancel(nil)
	if err := r.running.begin(tx); err != nil {
		return nil, fmt.Errorf("%w: transaction on %v", err, stream)
	}
	panicked := true
	defer func() {
		r.running.end(tx)
		if reason := tx.cutBy(err, panicked); reason != nil {
			tx.warn(r.opts.Logger, reason)
		}
	}()
	a, err := r.attempts(ctx, tx, mode, fn)
	panicked = false
	if err != nil && !errors.Is(err, ErrNotPublished) {
		return nil, err
	}
	return a, err
}

// conflictPause is how long a transaction waits after a conflict: by its
// formula 2 to 4 ms after the first, up to 100 ms.
var conflictPause = RetryPolicy{InitialInterval: 4 * time.Millisecond, MaxInterval: 100 * time.Millisecond}

// attempts runs the transaction until it succeeds or fails for good.
func (r *Repository[T]) attempts(ctx context.Context, tx *transaction, mode txMode, fn func(a *T) error) (*T, error) {
	for n := 1; ; n++ {
		a, err := r.attempt(ctx, tx, mode, fn)
		again := failed(err, ErrConflict) && mode != txCreate ||
			failed(err, ErrDuplicateEvent) && tx.command != "" // it was stored meanwhile, and is found next time
		if tx.decided || !again || n >= r.opts.MaxAttempts {
			return a, tx.closed(err)
		}
		r.running.rewind(tx)
		if err := sleep(tx.ctx, conflictPause.pause(n)); err != nil {
			return nil, tx.closed(fmt.Errorf("evsourcing: transaction on %v: waiting to start over: %w", tx.stream, err))
		}
	}
}

// attempt runs the transaction once, from a fresh load.
func (r *Repository[T]) attempt(ctx context.Context, tx *transaction, mode txMode, fn func(a *T) error) (*T, error) {
	if err := tx.ctx.Err(); err != nil { // spare fn
		return nil, fmt.Errorf("evsourcing: transaction on %v: %w", tx.stream, err)
	}
	a, err := r.begin(tx, mode)
	if err != nil {
		return nil, err
	}
	b := r.base(a)
	if tx.command != "" {
		// After the load: if the command is executed from now on, by another
		// transaction, then fn does not see it and the append finds out.
		version, done, err := r.executed(tx)
		switch {
		case err != nil:
			return nil, err
		case done && version <= b.version:
			return a, nil
		case done:
			return r.Load(tx.ctx, b.id)
		}
		b.command = tx.command
		defer func() { b.command = "" }()
	}
	tx.changes = func() int { return len(b.changes) }
	if err := fn(a); err != nil {
		tx.decided = true
		return nil, err
	}
	if b.Saved() {
		return a, nil
	}
	repeated, err := r.save(ctx, tx, b, r.opts.MaxAttempts)
	r.snapshots.consider(ctx, tx.stream, b)
	if err == nil && repeated && tx.command != "" { // maybe by another transaction, with other events
		return r.Load(tx.ctx, b.id)
	}
	return a, err
}

// failed reports whether err, which a save returned, is target. With
// ErrNotPublished it is not, whatever the publisher's error wraps: the changes
// are stored.
func failed(err, target error) bool {
	return errors.Is(err, target) && !errors.Is(err, ErrNotPublished)
}

// begin returns the aggregate that the transaction starts from.
func (r *Repository[T]) begin(tx *transaction, mode txMode) (*T, error) {
	if mode == txCreate {
		return r.New(tx.stream.ID), nil
	}
	a, err := r.Load(tx.ctx, tx.stream.ID)
	if mode == txCreateOrUpdate && errors.Is(err, ErrNotFound) {
		return r.New(tx.stream.ID), nil
	}
	return a, err
}

// executed reports whether the transaction's command has stored its events, and
// the version of the first.
func (r *Repository[T]) executed(tx *transaction) (version uint64, ok bool, err error) {
	event := commandEventID(tx.command, tx.stream, 0)
	if r.finder != nil {
		version, ok, err = r.finder.Find(tx.ctx, tx.stream, event)
		if err != nil {
			err = fmt.Errorf("evsourcing: find command %q of %v: %w", tx.command, tx.stream, err)
		}
		return version, ok, err
	}
	for e, err := range r.store.Load(tx.ctx, tx.stream, Range{}) {
		if err != nil {
			return 0, false, fmt.Errorf("evsourcing: find command %q of %v: %w", tx.command, tx.stream, err)
		}
		if e.ID == event {
			return e.Version, true, nil
		}
	}
	return 0, false, nil
}

// Close refuses new transactions and saves with [ErrClosed], and waits for
// those that run. If ctx ends first, it lets those that have not begun their
// append fail with ErrClosed, and returns an error that wraps the context's and
// lists them. Close leaves the store and the bus alone. It may be called several
// times; inside a transaction, it waits for that too.
//
// Then Close waits for the snapshots that are being taken, and cancels them when
// ctx ends; the error wraps the context's. No more are taken.
func (r *Repository[T]) Close(ctx context.Context) error {
	err := r.running.close(ctx)
	if r.snapshots != nil {
		if err2 := r.snapshots.taker.close(ctx); err == nil && err2 != nil {
			err = fmt.Errorf("%w: snapshots are still being taken", err2)
		}
	}
	if err != nil {
		return fmt.Errorf("evsourcing: close the repository of %q: %w", r.origin.typ, err)
	}
	return nil
}
