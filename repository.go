package evsourcing

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/google/uuid"
)

// RepositoryOptions change the defaults of [NewRepository].
type RepositoryOptions struct {
	// Bus gets every event that is saved. If it is an *EventBus, Save waits for
	// room on it before it stores anything, and publishing can't fail. Any other
	// Publisher, one that wraps an EventBus too, is called after the append and
	// before the next append to the same stream by this repository: it must not
	// wait for anything that needs to save to that stream. If nil, nothing is
	// published.
	Bus Publisher
	// Logger gets a warning for each transaction that is cut short, and for each
	// snapshot that could not be taken or used. If nil, slog.Default().
	Logger *slog.Logger
	// MaxAttempts is how often a transaction is tried in all: after a conflict
	// from the start, after an uncertain outcome the append alone. If zero, 3.
	MaxAttempts int
	// Now is the clock that gives events their times. If nil, time.Now.
	Now func() time.Time
	// NewID makes the IDs of aggregates that are created without one. If nil,
	// version 7 UUIDs.
	NewID func() string

	// Snapshots keeps snapshots of the aggregates' state, from which loading goes
	// on instead of starting at the first event. They are taken in the background,
	// by a goroutine that loads the aggregate once more, under a context without
	// values; that the state survives is tested each time. What goes wrong with a
	// snapshot is logged and costs a full replay, but fails nothing. NewRepository
	// panics if the type has state that no snapshot can keep. If nil, none are
	// taken or used.
	Snapshots SnapshotStore
	// SnapshotEvery is how many events a snapshot may be behind: a save or load
	// that finds more asks for a new one. A lower number makes loading faster and
	// snapshots more frequent, each of which reads and decodes as many events
	// again. If zero, 100.
	SnapshotEvery int
	// SnapshotPolicy takes the place of SnapshotEvery. It is called after every
	// save and every load, concurrently, and must not wait. One failed snapshot
	// is not asked for again before as many events as SnapshotEvery says. If nil,
	// SnapshotEvery decides.
	SnapshotPolicy func(SnapshotStatus) bool
	// SnapshotEncoder encodes aggregates that are no [Snapshotter]. If nil, JSON.
	SnapshotEncoder Encoder
	// SnapshotVersion is to be changed, to any other string, whenever the code
	// would make another state of the same events without the aggregate's type
	// being another: when ApplyTo or Init, an upcaster, or a Snapshotter's format
	// has changed. Snapshots taken under another version, or of a struct with
	// other fields, are ignored. If empty, that is a version too.
	SnapshotVersion string
}

// A Repository loads and saves the aggregates of one type. T is the struct; *T
// is the [Aggregate]. All methods may be called concurrently; an aggregate
// belongs to one goroutine at a time.
type Repository[T any] struct {
	opts    RepositoryOptions
	store   EventStore
	finder  Finder // nil if the store has none
	codec   Codec
	bus     *EventBus // opts.Bus, if it is one
	tickets *tickets  // the bus's, which all its repositories share
	origin  *origin
	base    func(a *T) *Base
	start   func(a *T)
	apply   func(a *T, e Event) bool
	running transactions
	buffers sync.Pool // of *saveBuffer

	aggregate func(a *T) Aggregate
	snapshots *snapshots // nil if the options ask for none
}

// NewRepository returns the repository of the aggregates *T, whose streams in
// the store have the type typ; codec knows their events. opts may be nil. Type
// arguments are inferred but for the first:
//
//	aircraft := evsourcing.NewRepository[Aircraft]("aircraft", store, registry, nil)
//
// It panics if typ is not valid as a stream's type, if store or codec is nil,
// if T embeds a *Base instead of a Base, or if there are to be snapshots and T
// has a field that would not survive, which it names.
func NewRepository[T any, P interface {
	*T
	Aggregate
}](typ string, store EventStore, codec Codec, opts *RepositoryOptions) *Repository[T] {
	r := &Repository[T]{
		store: store,
		codec: codec,
		base:  func(a *T) *Base { return P(a).base() },
		start: func(a *T) { start(P(a)) },
		apply: func(a *T, e Event) bool {
			of, ok := e.(EventOf[P])
			if ok {
				of.ApplyTo(a)
			}
			return ok
		},
		aggregate: func(a *T) Aggregate { return P(a) },
	}
	if opts != nil {
		r.opts = *opts
	}
	r.check(typ)
	o := &r.opts
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	r.origin = &origin{typ: typ, now: o.Now}
	r.finder, _ = Capability[Finder](store)
	r.tickets = &tickets{}
	if bus, ok := o.Bus.(*EventBus); ok {
		if bus == nil {
			panic(fmt.Sprintf("evsourcing: NewRepository[%v]: the Bus is a nil *EventBus", reflect.TypeFor[T]()))
		}
		r.bus, r.tickets = bus, &bus.tickets
	}
	r.buffers.New = func() any { return &saveBuffer{} }
	r.snapshots = r.newSnapshots()
	return r
}

// check panics on what NewRepository can't accept.
func (r *Repository[T]) check(typ string) {
	name := reflect.TypeFor[T]()
	if err := ValidateName(typ); err != nil {
		panic(fmt.Errorf("evsourcing: NewRepository[%v]: the type %w", name, err))
	}
	if r.store == nil {
		panic(fmt.Sprintf("evsourcing: NewRepository[%v]: the store is nil", name))
	}
	if r.codec == nil {
		panic(fmt.Sprintf("evsourcing: NewRepository[%v]: the codec is nil", name))
	}
	if !embedsBase(name) {
		panic(fmt.Sprintf("evsourcing: NewRepository[%v]: embed evsourcing.Base by value, not as a pointer", name))
	}
}

// embedsBase reports whether the struct embeds Base without a pointer between.
func embedsBase(t reflect.Type) bool {
	if t == reflect.TypeFor[Base]() {
		return true
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && embedsBase(f.Type) {
			return true
		}
	}
	return false
}

// New returns a new aggregate with the given ID, or with one from NewID if id
// is empty. It is not stored until it is saved with changes.
func (r *Repository[T]) New(id string) *T {
	if id == "" {
		id = r.opts.NewID()
	}
	a := new(T)
	b := r.base(a)
	b.id, b.origin = id, r.origin
	r.start(a)
	return a
}

// Load returns the aggregate as its stored events make it, or an error that
// wraps [ErrNotFound] if there are none, [ErrInvalidStream] if id is not valid,
// or [ErrUnknownTopic]. An error about an event names its stream, version and
// topic. Load works on a closed repository too.
func (r *Repository[T]) Load(ctx context.Context, id string) (*T, error) {
	a, err := r.load(ctx, id, Range{})
	if err == nil && r.snapshots != nil {
		r.snapshots.consider(ctx, r.stream(id), r.base(a))
	}
	return a, err
}

// LoadAt returns the aggregate as it was at a version in the past. It can't be
// saved: that is [ErrReadOnly]. Version 0, and one that the stream has not
// reached, is [ErrNotFound].
func (r *Repository[T]) LoadAt(ctx context.Context, id string, version uint64) (*T, error) {
	if err := r.stream(id).Validate(); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fmt.Errorf("%w: version 0 of %v", ErrNotFound, r.stream(id))
	}
	a, err := r.load(ctx, id, Range{Until: version})
	if err != nil {
		return nil, err
	}
	b := r.base(a)
	if b.version != version {
		return nil, fmt.Errorf("%w: version %d of %v, which is at version %d", ErrNotFound, version, r.stream(id), b.version)
	}
	b.readOnly = true
	return a, nil
}

func (r *Repository[T]) stream(id string) StreamID { return StreamID{Type: r.origin.typ, ID: id} }

// load makes an aggregate of the stored events in the range, which starts at the
// first.
func (r *Repository[T]) load(ctx context.Context, id string, rg Range) (*T, error) {
	stream := r.stream(id)
	if err := stream.Validate(); err != nil {
		return nil, err
	}
	if r.snapshots != nil {
		return r.loadBySnapshot(ctx, stream, rg)
	}
	a := r.New(id)
	if _, err := r.replay(ctx, stream, a, rg, uuid.Nil); err != nil {
		return nil, err
	}
	return a, nil
}

// replay applies the stored events in the range to the aggregate, which is at
// the version before. It returns the ID of the last. Unless anchor is nil, it is
// the ID of the first event, which the aggregate's state includes already.
func (r *Repository[T]) replay(ctx context.Context, stream StreamID, a *T, rg Range, anchor uuid.UUID) (last uuid.UUID, err error) {
	b := r.base(a)
	keep := *b
	anchored := anchor != uuid.Nil
	var src StoredEvent // one for all events, because its address escapes
	for src, err = range r.store.Load(ctx, stream, rg) {
		if err != nil {
			return last, fmt.Errorf("evsourcing: load %v: %w", stream, err)
		}
		version, position := src.Version, src.Position
		last = src.ID
		if anchored {
			if version != b.version+1 || src.ID != anchor {
				return last, divergedError(b.version+1, anchor)
			}
			anchored = false
			b.version, b.position = version, position
			continue
		}
		if version != b.version+1 {
			return last, fmt.Errorf("evsourcing: load %v: version %d follows version %d", stream, version, b.version)
		}
		e, err := r.codec.Decode(ctx, &src)
		if err != nil {
			return last, asDecodeError(&src, err)
		}
		if !r.apply(a, e) {
			return last, fmt.Errorf("evsourcing: load %v: version %d, topic %q, is %T, not an event of %T", stream, version, src.Topic, e, a)
		}
		b.restore(&keep)
		b.version, b.position = version, position
	}
	if anchored {
		return last, divergedError(b.version+1, anchor)
	}
	if b.version == 0 {
		return last, fmt.Errorf("%w: %v", ErrNotFound, stream)
	}
	return last, nil
}
