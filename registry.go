package evsourcing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
)

// A Codec translates between events and what is stored of them. Repositories,
// buses and subscriptions take one. [Registry] is a Codec; encryption, for
// example, wraps one. Methods may be called concurrently.
type Codec interface {
	// Encode sets dst's Topic, Data, ContentType and Tags from e. The rest of
	// dst is set already and stays.
	Encode(ctx context.Context, dst *StoredEvent, e Event) error

	// Decode returns the event stored in src, as the current code knows it. If
	// its schema has changed since, Decode changes src with it: Topic becomes
	// the current name and Data what the current type was read from. ID,
	// Stream and Version stay. The error wraps ErrUnknownTopic if no type is
	// known for the topic.
	Decode(ctx context.Context, src *StoredEvent) (Event, error)

	// Names returns every stored topic that decodes to the current topic given,
	// itself included, sorted; none if the topic is unknown or not current.
	Names(topic string) []string
}

// A Registry is a [Codec] that knows each event type by its topic. All methods
// may be called concurrently, but types are best registered before use.
//
// A topic is one of three things, for good: the current name of an event type,
// the alias of another topic, or an old version that an upcaster turns into
// another topic. Decoding follows aliases and upcasters until it arrives at a
// type.
type Registry struct {
	mu    sync.Mutex // held by writers, which replace table
	table atomic.Pointer[registryTable]
}

// registryTable is a Registry's state; it is never changed, only replaced.
type registryTable struct {
	types    map[string]*eventType
	moves    map[string]move
	encoder  Encoder            // of new events
	encoders map[string]Encoder // by content type, of stored ones
}

// eventType is a registered event type.
type eventType struct {
	topic   string
	value   reflect.Type // the struct, say; not a pointer
	proto   reflect.Type // the prototype's: value, or a pointer to it
	pointer reflect.Type
	scratch *sync.Pool // of reflect.Value: pointers to zero values, for prototypes that are values
}

// NewRegistry returns a registry of the events' types, with [JSON] as its
// encoder. The events are prototypes: only their topic and type count, and that
// an event is a value or a pointer, because decoding returns the same kind. It
// panics where Register would return an error.
func NewRegistry(events ...Event) *Registry {
	r := &Registry{}
	r.table.Store(&registryTable{
		types:    map[string]*eventType{},
		moves:    map[string]move{},
		encoder:  JSON{},
		encoders: map[string]Encoder{JSON{}.ContentType(): JSON{}},
	})
	if err := r.Register(events...); err != nil {
		panic(err)
	}
	return r
}

// update replaces the table by a copy that change has worked on, unless change
// returns an error.
func (r *Registry) update(change func(t *registryTable) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := *r.table.Load()
	t.types = maps.Clone(t.types)
	t.moves = maps.Clone(t.moves)
	t.encoders = maps.Clone(t.encoders)
	if err := change(&t); err != nil {
		return err
	}
	r.table.Store(&t)
	return nil
}

// WithEncoder makes e the encoder of new events, and returns r. Events stored
// in the format of an encoder given before, or in JSON, still decode.
func (r *Registry) WithEncoder(e Encoder) *Registry {
	if e == nil {
		panic("evsourcing: WithEncoder: the encoder is nil")
	}
	_ = r.update(func(t *registryTable) error {
		t.encoder = e
		t.encoders[e.ContentType()] = e
		return nil
	})
	return r
}

// Register adds event types by their prototypes, all or, on an error, none. A
// nil event or a bad topic is an error, and so is a topic that is taken
// ([ErrDuplicateTopic]).
func (r *Registry) Register(events ...Event) error {
	return r.update(func(t *registryTable) error {
		for i, e := range events {
			if e == nil {
				return fmt.Errorf("evsourcing: register: event %d is nil", i)
			}
			et, err := newEventType(e)
			if err != nil {
				return err
			}
			if err := t.free(et.topic); err != nil {
				return fmt.Errorf("evsourcing: register %v: %w", et.proto, err)
			}
			t.types[et.topic] = et
		}
		return nil
	})
}

func newEventType(e Event) (*eventType, error) {
	proto := reflect.TypeOf(e)
	et := &eventType{proto: proto, value: proto, pointer: reflect.PointerTo(proto)}
	if proto.Kind() == reflect.Pointer {
		et.value, et.pointer = proto.Elem(), proto
		e = reflect.New(et.value).Interface().(Event) // the prototype may be a nil pointer
	} else {
		value := et.value
		et.scratch = &sync.Pool{New: func() any { v := reflect.New(value); return &v }}
	}
	et.topic = e.Topic()
	if err := ValidateName(et.topic); err != nil {
		return nil, fmt.Errorf("evsourcing: register %v: the topic %w", proto, err)
	}
	return et, nil
}

// free returns an error if the topic is taken.
func (t *registryTable) free(topic string) error {
	if et, ok := t.types[topic]; ok {
		return fmt.Errorf("%w: %q is %v", ErrDuplicateTopic, topic, et.proto)
	}
	if m, ok := t.moves[topic]; ok {
		kind := "an alias of"
		if m.upcast != nil {
			kind = "upcast to"
		}
		return fmt.Errorf("%w: %q is %s %q", ErrDuplicateTopic, topic, kind, m.to)
	}
	return nil
}

// Topics returns the current topic of every registered event type, sorted.
func (r *Registry) Topics() []string {
	return slices.Sorted(maps.Keys(r.table.Load().types))
}

// Encode implements [Codec]. An event whose type is not the one registered
// under its topic, as a value or pointer, is an error.
func (r *Registry) Encode(_ context.Context, dst *StoredEvent, e Event) error {
	t := r.table.Load()
	if isNil(e) {
		return fmt.Errorf("%w to encode", ErrNoEvent)
	}
	topic := e.Topic()
	et, ok := t.types[topic]
	if !ok {
		return fmt.Errorf("%w %q: register %T with NewRegistry", ErrUnknownTopic, topic, e)
	}
	if typ := reflect.TypeOf(e); typ != et.value && typ != et.pointer {
		return fmt.Errorf("evsourcing: topic %q is registered for %v, not %T", topic, et.proto, e)
	}
	data, err := t.encoder.Marshal(e)
	if err != nil {
		return fmt.Errorf("evsourcing: encode %T, topic %q: %w", e, topic, err)
	}
	dst.Topic, dst.Data, dst.ContentType, dst.Tags = et.topic, data, t.encoder.ContentType(), nil
	if e, ok := e.(interface{ Tags() []string }); ok {
		dst.Tags = slices.Clone(e.Tags())
	}
	return nil
}

// Decode implements [Codec]. Data whose content type differs from an encoder's
// in nothing but parameters and case, such as "application/json; charset=utf-8",
// is that encoder's, unless another one has just that name.
func (r *Registry) Decode(_ context.Context, src *StoredEvent) (Event, error) {
	t := r.table.Load()
	et, ok := t.types[src.Topic]
	if !ok {
		stored := src.Topic
		if err := t.migrate(src); err != nil {
			return nil, newDecodeError(src, err)
		}
		if et, ok = t.types[src.Topic]; !ok {
			err := ErrUnknownTopic
			if src.Topic != stored {
				err = fmt.Errorf("it is read as one of %q: %w", src.Topic, err)
			}
			return nil, &decodeError{src.Stream, src.Version, stored, err}
		}
	}
	encoder := t.encoder
	if src.ContentType != encoder.ContentType() {
		if encoder, ok = t.encoderOf(src.ContentType); !ok {
			return nil, newDecodeError(src, fmt.Errorf("no encoder for content type %q", src.ContentType))
		}
	}
	e, err := et.unmarshal(encoder, src.Data)
	if err != nil {
		return nil, newDecodeError(src, err)
	}
	return e, nil
}

// encoderOf returns the encoder of a content type.
func (t *registryTable) encoderOf(contentType string) (e Encoder, ok bool) {
	if e, ok = t.encoders[contentType]; !ok {
		e, ok = t.encoders[bareMediaType(contentType)]
	}
	return e, ok
}

// unmarshal returns the event in data. Where the prototype is a value, a
// pointer to decode into is needed only until the value is copied out of it.
func (et *eventType) unmarshal(encoder Encoder, data []byte) (Event, error) {
	if et.scratch == nil {
		p := reflect.New(et.value).Interface()
		err := encoder.Unmarshal(data, p)
		return p.(Event), err
	}
	p := et.scratch.Get().(*reflect.Value)
	if err := encoder.Unmarshal(data, p.Interface()); err != nil {
		return nil, err // what it left in p is not worth cleaning
	}
	e := p.Elem().Interface().(Event)
	p.Elem().SetZero()
	et.scratch.Put(p)
	return e, nil
}

// A decodeError names the event that could not be decoded.
type decodeError struct {
	stream  StreamID
	version uint64
	topic   string
	err     error
}

func newDecodeError(src *StoredEvent, err error) error {
	return &decodeError{src.Stream, src.Version, src.Topic, err}
}

// asDecodeError makes the error of any Codec one that names the event.
func asDecodeError(src *StoredEvent, err error) (as error) {
	defer func() {
		if recover() != nil { // by a method of what an upcaster has returned
			as = newDecodeError(src, err)
		}
	}()
	if errors.As(err, new(*decodeError)) {
		return err
	}
	return newDecodeError(src, err)
}

// maxReason is how much is shown of why, in bytes: an encoder may quote the payload.
const maxReason = 1000

func (e *decodeError) Error() string {
	reason := e.err.Error()
	if len(reason) > maxReason {
		reason = fmt.Sprintf("%s... (%d bytes)", reason[:maxReason], len(reason))
	}
	return fmt.Sprintf("evsourcing: decode version %d of %v, topic %q: %s", e.version, e.stream, e.topic, reason)
}

func (e *decodeError) Unwrap() error { return e.err }
