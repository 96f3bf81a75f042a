package bench

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/evsourcing/evsourcing"
)

// openMemory returns a MemoryStore. Its floor is a map of slices under a lock,
// and the log a slice more; what goes in and out is copied, as the store's
// contract asks.
func openMemory(*testing.B, int) (bed, func()) {
	s := evsourcing.NewMemoryStore()
	return bed{s, &bareMap{streams: map[evsourcing.StreamID][]evsourcing.StoredEvent{}, of: s}}, func() {}
}

type bareMap struct {
	mu      sync.Mutex // guards what follows
	streams map[evsourcing.StreamID][]evsourcing.StoredEvent
	log     []evsourcing.StoredEvent
	of      *evsourcing.MemoryStore // whose events are read, once one of them is
	once    sync.Once
}

func (m *bareMap) insert(_ context.Context, id evsourcing.StreamID, e *evsourcing.StoredEvent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(id, *e)
	return nil
}

func (m *bareMap) add(id evsourcing.StreamID, e evsourcing.StoredEvent) {
	e.Data = bytes.Clone(e.Data)
	m.streams[id] = append(m.streams[id], e)
	m.log = append(m.log, e)
}

// copy copies the store's events, before they are read the first time.
func (m *bareMap) copy(ctx context.Context) (err error) {
	m.once.Do(func() {
		for e, err2 := range m.of.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
			if err2 != nil {
				err = err2
				return
			}
			m.add(e.Stream, e)
		}
	})
	return err
}

func (m *bareMap) load(ctx context.Context, id evsourcing.StreamID, f func(data []byte)) error {
	return m.read(ctx, func() []evsourcing.StoredEvent { return m.streams[id] }, f)
}

func (m *bareMap) scan(ctx context.Context, f func(data []byte)) error {
	return m.read(ctx, func() []evsourcing.StoredEvent { return m.log }, f)
}

func (m *bareMap) read(ctx context.Context, list func() []evsourcing.StoredEvent, f func(data []byte)) error {
	if err := m.copy(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	events := list()
	m.mu.Unlock()
	for i := range events {
		e := events[i]
		e.Data = bytes.Clone(e.Data)
		f(e.Data)
	}
	return nil
}
