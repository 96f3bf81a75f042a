package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// MetaCommandID is the metadata key of the CommandID of the transaction that
// stored an event. It does not travel on to the events that follow from it.
const MetaCommandID = "es.command_id"

// saveBuffer is the memory of one append. Stores keep nothing of what they are
// passed, so it is used again, unless an error leaves that open.
type saveBuffer struct {
	batch [1]Batch
}

// keepEvents is the most events that a saveBuffer is kept with.
const keepEvents = 256

// Save stores the aggregate's changes in one atomic append, if the stream is
// still at the version that was loaded, and then publishes them. An aggregate
// without changes is not touched, and nothing is read or written.
//
// An aggregate that was made as a literal gets an ID. If the bus has no room,
// Save waits for it before it stores anything.
//
// Errors: a [*ConflictError] if the stream has moved on; [ErrUncertain] if the
// outcome is not known, and then repeating Save is safe, but recording more
// before that is not; [ErrNotPublished] if
// the changes are stored and a Publisher failed; [ErrReadOnly]; [ErrClosed];
// [ErrUnknownTopic]; the bus's and the context's errors. With all but
// ErrUncertain and ErrNotPublished nothing was stored. The aggregate keeps its
// changes, except with ErrNotPublished, when it counts as saved.
func (r *Repository[T]) Save(ctx context.Context, a *T) error {
	if a == nil {
		return fmt.Errorf("evsourcing: save: the %T is nil", a)
	}
	b := r.base(a)
	if err := r.savable(b); err != nil {
		return err
	}
	if b.Saved() {
		return nil
	}
	if b.id == "" {
		b.id = r.opts.NewID()
	}
	tx := &transaction{stream: r.stream(b.id), ctx: ctx}
	if r.opts.Bus != nil { // it may wait before its append, and Close may end that
		tx.ctx, tx.cancel = context.WithCancelCause(ctx)
		defer tx.cancel(nil)
	}
	if err := r.running.begin(tx); err != nil {
		return fmt.Errorf("%w: save %v", err, tx.stream)
	}
	defer r.running.end(tx)
	_, err := r.save(ctx, tx, b, 1)
	r.snapshots.consider(ctx, tx.stream, b)
	return tx.closed(err)
}

// savable returns an error for an aggregate that this repository can't save.
func (r *Repository[T]) savable(b *Base) error {
	if b.readOnly {
		return fmt.Errorf("%w: %v was loaded at version %d of the past", ErrReadOnly, r.stream(b.id), b.version)
	}
	if b.origin != nil && b.origin.typ != r.origin.typ {
		return fmt.Errorf("evsourcing: save %v: the aggregate is of a repository for %q", r.stream(b.id), b.origin.typ)
	}
	return nil
}

// save appends and publishes. repeated says that the changes, or others with
// their IDs, were stored before: by an append whose outcome was uncertain, or by
// another transaction with the same CommandID.
// An append whose outcome is uncertain is repeated until it has been tried so
// many times, while the stream's turn is still held.
func (r *Repository[T]) save(ctx context.Context, tx *transaction, b *Base, attempts int) (repeated bool, err error) {
	b.origin = r.origin
	buf := r.buffers.Get().(*saveBuffer)
	if err := r.encode(ctx, b, &buf.batch[0]); err != nil {
		return false, err
	}
	stream := buf.batch[0].Stream
	var out outbox
	if r.opts.Bus != nil {
		out.batch = messages(buf.batch[0].Events, b.changes)
		if r.bus != nil {
			if out.room, err = r.bus.reserve(tx.ctx, out.batch); err != nil {
				return false, fmt.Errorf("evsourcing: save %v: %w", stream, err)
			}
			defer r.release(ctx, &out)
		}
		if err := r.tickets.take(tx.ctx, stream); err != nil {
			return false, fmt.Errorf("evsourcing: save %v: waiting for another append: %w", stream, err)
		}
		defer r.tickets.give(stream)
	}
	if err := r.running.commit(tx); err != nil {
		return false, fmt.Errorf("evsourcing: save %v: %w", stream, err)
	}
	unsure := b.unsure
	b.unsure = true // until the store has answered; it may panic
	result, err := r.append(ctx, b, buf)
	for n := 1; errors.Is(err, ErrUncertain) && n < attempts; n++ {
		if sleep(tx.ctx, conflictPause.pause(n)) != nil {
			break
		}
		unsure = true
		if again, err2 := r.append(ctx, b, buf); settles(err2) {
			result, err = again, err2
		}
	}
	if err != nil {
		b.unsure = unsure || errors.Is(err, ErrUncertain)
		if errors.As(err, new(*ConflictError)) {
			return false, err
		}
		return false, fmt.Errorf("evsourcing: save %v: %w", stream, err)
	}
	first := result.Position - uint64(len(b.changes)) + 1
	b.saved(result.Position)
	if events := buf.batch[0].Events; cap(events) <= keepEvents {
		clear(events)
		r.buffers.Put(buf)
	}
	if out.batch == nil || result.Repeated && !unsure { // who stored it publishes it
		return result.Repeated, nil
	}
	if result.Pending {
		return false, fmt.Errorf("%w: %v: a transaction will store it, or not; save in transactions by a repository without a bus, and publish by a Relay", ErrNotPublished, stream)
	}
	for i := range out.batch {
		out.batch[i].Position = first + uint64(i)
	}
	if err := r.publish(ctx, &out); err != nil {
		return result.Repeated, fmt.Errorf("%w: %v: %w", ErrNotPublished, stream, err)
	}
	return result.Repeated, nil
}

// append passes the buffer's batch to the store.
func (r *Repository[T]) append(ctx context.Context, b *Base, buf *saveBuffer) (AppendResult, error) {
	result, err := r.store.Append(ctx, buf.batch[:]...)
	if err == nil {
		err = r.verify(b, result)
	}
	return result, err
}

// settles reports whether what came of repeating an append that was uncertain
// tells what became of it: it is stored, or it was not.
func settles(err error) bool {
	return err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrDuplicateEvent)
}

// verify compares what the store says it stored with what it was given.
func (r *Repository[T]) verify(b *Base, result AppendResult) error {
	want := b.version + uint64(len(b.changes))
	if len(result.Versions) != 1 || result.Versions[0] != want {
		return fmt.Errorf("%w: the store answered with versions %d, want [%d]", ErrUncertain, result.Versions, want)
	}
	if result.Position < want && !result.Pending { // there are no more versions than positions
		return fmt.Errorf("%w: the store answered with position %d for version %d", ErrUncertain, result.Position, want)
	}
	return nil
}

// encode makes the aggregate's changes a batch.
func (r *Repository[T]) encode(ctx context.Context, b *Base, batch *Batch) error {
	batch.Stream = r.stream(b.id)
	batch.Expected = b.version
	batch.Events = batch.Events[:0]
	meta, err := r.metadata(ctx, b)
	if err != nil {
		return fmt.Errorf("evsourcing: save %v: %w", batch.Stream, err)
	}
	for i := range b.changes {
		c := &b.changes[i]
		batch.Events = append(batch.Events, StoredEvent{
			ID:       c.id,
			Stream:   batch.Stream,
			Version:  b.version + uint64(i) + 1,
			Metadata: meta,
			Time:     c.time,
		})
		if err := r.codec.Encode(ctx, &batch.Events[i], c.event); err != nil {
			return fmt.Errorf("evsourcing: save %v: %w", batch.Stream, err)
		}
	}
	return nil
}

// metadata returns what all of the aggregate's changes get.
func (r *Repository[T]) metadata(ctx context.Context, b *Base) (Metadata, error) {
	meta := MetadataFromContext(ctx)
	for k := range meta {
		if strings.HasPrefix(k, metaReserved) {
			return nil, fmt.Errorf("the metadata key %q is reserved, as are all that start with %q", k, metaReserved)
		}
	}
	if b.command != "" {
		if meta == nil {
			meta = Metadata{}
		}
		meta[MetaCommandID] = b.command
	}
	return meta, nil
}

// outbox is what will be published of one append.
type outbox struct {
	batch []Message
	room  reservation // on the EventBus, if it is one
	used  bool        // publish has taken the room

	refused []DeadLetter // by full buffers; for after the stream's turn
}

// messages makes messages of encoded changes.
func messages(events []StoredEvent, changes []change) []Message {
	batch := make([]Message, len(events))
	for i := range events {
		batch[i] = Message{StoredEvent: events[i], Event: changes[i].event}
	}
	return batch
}

func (r *Repository[T]) publish(ctx context.Context, out *outbox) (err error) {
	if r.bus != nil {
		out.used = true
		out.refused, err = r.bus.publish(ctx, out.batch, out.room)
		return err
	}
	return r.opts.Bus.Publish(ctx, out.batch...)
}

// release gives back the room of an outbox that was not published, and to
// DeadLetter what the bus had no room for.
func (r *Repository[T]) release(ctx context.Context, out *outbox) {
	if !out.used {
		r.bus.release(out.batch, out.room)
	}
	r.bus.giveUpAll(ctx, out.refused)
}
