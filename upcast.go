package evsourcing

import (
	"fmt"
	"slices"
)

// move leads from an old topic to the next one.
type move struct {
	to     string
	upcast func(StoredEvent) (StoredEvent, error) // nil for an alias
}

// Alias makes stored events of oldTopic decode like those of e's topic, which
// may itself be an alias or have an upcaster. It panics if oldTopic is taken or
// leads back to itself.
func (r *Registry) Alias(oldTopic string, e Event) {
	if e == nil {
		panic(fmt.Sprintf("evsourcing: alias %q: the event is nil", oldTopic))
	}
	et, err := newEventType(e)
	if err != nil {
		panic(err)
	}
	r.move("alias", oldTopic, move{to: et.topic})
}

// Upcast makes stored events of the topic from pass through f and go on as
// events of the topic to, which may itself be an alias or have an upcaster. f
// returns its argument with other Data, say; it must not write to the slices
// and maps in it, and what it changes of ID, Stream and Version is an error. A
// topic has one upcaster. Upcast panics if from is taken, leads back to itself,
// or if f is nil.
func (r *Registry) Upcast(from, to string, f func(StoredEvent) (StoredEvent, error)) {
	if f == nil {
		panic(fmt.Sprintf("evsourcing: upcast %q: the function is nil", from))
	}
	r.move("upcast", from, move{to: to, upcast: f})
}

func (r *Registry) move(what, from string, m move) {
	err := r.update(func(t *registryTable) error {
		for _, topic := range []string{from, m.to} {
			if err := ValidateName(topic); err != nil {
				return fmt.Errorf("the topic %w", err)
			}
		}
		if err := t.free(from); err != nil {
			return err
		}
		for topic, ok := m.to, true; ok; {
			if topic == from {
				return fmt.Errorf("%q leads back to itself", from)
			}
			var next move
			next, ok = t.moves[topic]
			topic = next.to
		}
		t.moves[from] = m
		return nil
	})
	if err != nil {
		panic(fmt.Errorf("evsourcing: %s %q to %q: %w", what, from, m.to, err))
	}
}

// migrate follows aliases and upcasters from src's topic to a current one, and
// changes src accordingly. Registration has refused cycles.
func (t *registryTable) migrate(src *StoredEvent) error {
	for {
		m, ok := t.moves[src.Topic]
		if !ok {
			return nil
		}
		if m.upcast != nil {
			next, err := m.upcast(*src)
			if err != nil {
				return fmt.Errorf("upcast to %q: %w", m.to, err)
			}
			if next.ID != src.ID || next.Stream != src.Stream || next.Version != src.Version {
				return fmt.Errorf("upcast to %q: the upcaster changed the event's ID, stream or version", m.to)
			}
			*src = next
		}
		src.Topic = m.to
	}
}

// Names implements [Codec].
func (r *Registry) Names(topic string) []string {
	t := r.table.Load()
	if _, ok := t.types[topic]; !ok {
		return nil
	}
	names := []string{topic}
	for i := 0; i < len(names); i++ {
		for from, m := range t.moves {
			if m.to == names[i] {
				names = append(names, from)
			}
		}
	}
	slices.Sort(names)
	return names
}
