package linear

import (
	"context"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// A memorySite is a store in memory, behind a network that loses requests and answers:
// for by itself a MemoryStore always answers.
type memorySite struct {
	store store
	late  late
}

func (s *memorySite) endpoints() []endpoint {
	return []endpoint{lossy{local{s.store}, &s.late}}
}

func (*memorySite) disturb(context.Context, *history)        {}
func (s *memorySite) calm(context.Context) (endpoint, error) { return local{s.store}, nil }

func (s *memorySite) close() error {
	s.late.wg.Wait()
	return nil
}

func prepareMemory(spoil func(store) store) func(context.Context) (site, error) {
	return func(context.Context) (site, error) {
		return &memorySite{store: spoil(evsourcing.NewMemoryStore())}, nil
	}
}

// A store in memory is linearizable, whatever the network between it and its clients
// does to their requests.
func TestMemory(t *testing.T) {
	prove(t, faulttest.Scale(10, 40, 1000), prepareMemory(sound), func() string {
		return "every ambiguous request, or the answer to it, was lost or late"
	})
}

// The same with stores that have one bug each.
func TestMemoryControl(t *testing.T) {
	disprove(t, faulttest.Scale(1, 3, 20), prepareMemory)
}
