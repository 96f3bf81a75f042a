package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/google/uuid"
)

// snapshots is what a repository has that uses them.
type snapshots struct {
	store  SnapshotStore
	form   *snapshotForm
	policy func(SnapshotStatus) bool
	taker  *snapshotTaker
	logger *slog.Logger
}

// newSnapshots returns nil if the options ask for no snapshots. It panics if no
// snapshot can keep the state of T.
func (r *Repository[T]) newSnapshots() *snapshots {
	o := &r.opts
	if o.Snapshots == nil {
		return nil
	}
	every := uint64(100)
	if o.SnapshotEvery > 0 {
		every = uint64(o.SnapshotEvery)
	}
	encoder := o.SnapshotEncoder
	if encoder == nil {
		encoder = JSON{}
	}
	form, err := newSnapshotForm(reflect.TypeFor[T](), encoder, o.SnapshotVersion)
	if err == nil {
		err = r.checkInitial(form)
	}
	if err != nil {
		t := reflect.TypeFor[T]()
		panic(fmt.Sprintf("evsourcing: NewRepository[%v]: a snapshot would lose state: %v; change that or make *%s a Snapshotter", t, err, t.Name()))
	}
	s := &snapshots{store: o.Snapshots, form: form, policy: o.SnapshotPolicy, taker: newSnapshotTaker(every), logger: o.Logger}
	if s.policy == nil {
		s.policy = func(s SnapshotStatus) bool { return s.Version-s.Snapshot >= every }
	}
	s.taker.take = r.takeSnapshot
	s.taker.failed = func(ctx context.Context, id StreamID, err error) {
		s.log(ctx, slog.LevelWarn, "evsourcing: snapshot not taken", id, err)
	}
	return s
}

// checkInitial returns an error if the initial state can be encoded, and is then
// another.
func (r *Repository[T]) checkInitial(form *snapshotForm) (err error) {
	a := new(T)
	r.base(a).id = "initial"
	r.start(a)
	_, err = form.encode(r.aggregate(a))
	if errors.Is(err, errStateLost) {
		return fmt.Errorf("of the initial state, %w", err)
	}
	return nil // what can't be encoded may be so at first only
}

func (s *snapshots) log(ctx context.Context, level slog.Level, msg string, id StreamID, reason error) {
	logSafely(ctx, s.logger, level, msg, []slog.Attr{
		slog.String("aggregate_type", id.Type), slog.String("aggregate_id", id.ID), slog.Any("reason", reason),
	})
}

// consider asks for a snapshot of an aggregate that was just saved or loaded, if
// the policy wants one. It does not wait.
func (s *snapshots) consider(ctx context.Context, id StreamID, b *Base) {
	if s == nil || len(b.changes) > 0 || b.version == 0 {
		return
	}
	var wanted bool
	var err error
	func() {
		defer errorOfPanic(&err)
		wanted = s.policy(SnapshotStatus{Stream: id, Version: b.version, Snapshot: b.snapshot})
	}()
	if err != nil {
		s.log(ctx, slog.LevelWarn, "evsourcing: snapshot policy failed", id, err)
		return
	}
	if wanted && b.version > b.snapshot && s.taker.ask(id, b.version) {
		b.snapshot = b.version
	}
}

// find returns the stream's snapshot. A panic of the store is an error.
func (s *snapshots) find(ctx context.Context, id StreamID) (snapshot Snapshot, ok bool, err error) {
	defer errorOfPanic(&err)
	return s.store.LoadSnapshot(ctx, id)
}

// rebuilt is an aggregate that was loaded.
type rebuilt[T any] struct {
	a    *T
	last uuid.UUID // ID of the last event
	void error     // why the snapshot could not be used; nil if it was, or there was none
}

// rebuild loads an aggregate by its snapshot, if there is one and it can be used,
// and otherwise from the first event on.
func (r *Repository[T]) rebuild(ctx context.Context, id StreamID, rg Range, s *Snapshot) (x rebuilt[T], err error) {
	if s != nil {
		x.a, x.last, err = r.revive(ctx, id, rg, s)
		if !errors.As(err, new(voidError)) {
			return x, err
		}
		x.void = err
	}
	x.a = r.New(id.ID)
	x.last, err = r.replay(ctx, id, x.a, rg, uuid.Nil)
	if err != nil {
		x.a = nil
	}
	return x, err
}

// lookUp returns the stream's snapshot if it is one for the range, of the
// present form; nil if there is none.
func (r *Repository[T]) lookUp(ctx context.Context, id StreamID, rg Range) (*Snapshot, error) {
	s, ok, err := r.snapshots.find(ctx, id)
	switch {
	case err != nil:
		return nil, fmt.Errorf("load the snapshot: %w", err)
	case !ok, rg.Until > 0 && s.Version > rg.Until:
		return nil, nil
	case s.Fingerprint != r.snapshots.form.fingerprint:
		r.snapshots.log(ctx, slog.LevelDebug, "evsourcing: snapshot of another form, the whole stream is replayed", id,
			fmt.Errorf("its fingerprint is %q, not %q", s.Fingerprint, r.snapshots.form.fingerprint))
		return nil, nil
	}
	return &s, nil
}

// loadBySnapshot is load with a snapshot, if that helps.
func (r *Repository[T]) loadBySnapshot(ctx context.Context, id StreamID, rg Range) (*T, error) {
	s, err := r.lookUp(ctx, id, rg)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("evsourcing: load %v: %w", id, ctx.Err())
		}
		r.snapshots.log(ctx, slog.LevelWarn, "evsourcing: snapshot not loaded, the whole stream is replayed", id, err)
	}
	x, err := r.rebuild(ctx, id, rg, s)
	if x.void != nil {
		r.snapshots.log(ctx, slog.LevelWarn, "evsourcing: snapshot void, the whole stream was replayed", id, x.void)
	}
	return x.a, err
}

// A voidError says why a snapshot can't be used.
type voidError struct{ error }

func (e voidError) Unwrap() error { return e.error }

func divergedError(version uint64, event uuid.UUID) error {
	return voidError{fmt.Errorf("%w: version %d is not the event %v", ErrDiverged, version, event)}
}

// revive makes an aggregate of its snapshot and the events behind it. The first
// event that it reads is the snapshot's own, which tells whether the stream is
// still the one that it was taken of. A panic makes the snapshot void: events
// may not apply to what it made.
func (r *Repository[T]) revive(ctx context.Context, id StreamID, rg Range, s *Snapshot) (a *T, last uuid.UUID, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = voidError{fmt.Errorf("panic: %v", v)}
		}
		if err != nil {
			a = nil
		}
	}()
	if s.Stream != id {
		return nil, last, voidError{fmt.Errorf("it is of %v", s.Stream)}
	}
	if s.Version == 0 || s.EventID == uuid.Nil {
		return nil, last, voidError{fmt.Errorf("it is at version %d, event %v", s.Version, s.EventID)}
	}
	a = new(T)
	b := r.base(a)
	b.id, b.origin, b.started, b.snapshot = id.ID, r.origin, true, s.Version
	if err := r.snapshots.form.decode(s.Data, r.aggregate(a)); err != nil {
		return nil, last, voidError{err}
	}
	b.version = s.Version - 1
	rg.After = b.version
	last, err = r.replay(ctx, id, a, rg, s.EventID)
	return a, last, err
}

// takeSnapshot loads the aggregate afresh, because nobody else may touch it, and
// saves its snapshot, unless there is one at the version by now.
func (r *Repository[T]) takeSnapshot(ctx context.Context, id StreamID, version uint64) error {
	s, err := r.lookUp(ctx, id, Range{})
	if err != nil {
		return err
	}
	x, err := r.rebuild(ctx, id, Range{}, s)
	if err != nil {
		return err
	}
	b := r.base(x.a)
	if b.snapshot >= version {
		return nil
	}
	form := r.snapshots.form
	data, err := form.encode(r.aggregate(x.a))
	if err != nil {
		return fmt.Errorf("%T: %w", x.a, err)
	}
	next := Snapshot{
		Stream:      id,
		Version:     b.version,
		Position:    b.position,
		EventID:     x.last,
		Fingerprint: form.fingerprint,
		ContentType: form.contentType,
		Data:        data,
		Time:        r.opts.Now().UTC().Truncate(time.Microsecond),
	}
	if x.void != nil && s.Version > next.Version {
		// A store keeps the higher version, unless it has another fingerprint.
		step := next
		step.Fingerprint = "void"
		if err := r.snapshots.store.SaveSnapshot(ctx, step); err != nil {
			return fmt.Errorf("save over a void snapshot: %w", err)
		}
	}
	if err := r.snapshots.store.SaveSnapshot(ctx, next); err != nil {
		return fmt.Errorf("save the snapshot: %w", err)
	}
	return nil
}
