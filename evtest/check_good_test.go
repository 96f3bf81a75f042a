package evtest_test

import (
	"encoding/json"
	"maps"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
)

// rich is an aggregate and an event with something of everything that survives
// JSON.
type rich struct {
	evsourcing.Base
	last    everything
	updates map[string][]time.Time
	sum     *big.Int
	money   money
	parent  *rich
}

func (r *rich) Init() { r.sum, r.parent, r.updates = new(big.Int), r, map[string][]time.Time{} }

type part struct {
	Name  string
	Parts []part `json:",omitempty"`
	Next  *part
}

type everything struct {
	part
	ID      uuid.UUID
	Bytes   []byte
	Raw     json.RawMessage
	Number  json.Number
	Any     any
	Floats  [2]float32
	Times   map[string][]time.Time
	When    *time.Time `json:",omitempty"`
	For     time.Duration
	Numbers map[int8]uint64
	Big     *big.Int
	Addr    netip.Addr
	Money   money
	Shop    method
	Empty   struct{}
}

// money may be shared, like the decimal numbers of other modules: it has a
// pointer to memory, to which nobody writes.
type money struct{ cents []byte }

func (m money) MarshalText() ([]byte, error) { return append([]byte("EUR"), m.cents...), nil }
func (m *money) UnmarshalText(text []byte) error {
	m.cents = slices.Clone(text[3:])
	return nil
}

// method is an interface that a type of its own decodes.
type method struct{ pay interface{ Pay() } }

type card struct{}

func (card) Pay() {}

func (m method) MarshalJSON() ([]byte, error) { return json.Marshal(m.pay != nil) }
func (m *method) UnmarshalJSON(data []byte) error {
	if string(data) == "true" {
		m.pay = card{}
	}
	return nil
}

func (everything) Topic() string { return "rich.everything" }

func (e everything) ApplyTo(r *rich) {
	r.money = e.Money
	r.last.part.Name, r.last.ID, r.last.Any, r.last.For = e.Name, e.ID, e.Any, e.For
	r.last.Floats, r.last.Addr, r.last.When = e.Floats, e.Addr, e.When
	r.last.Bytes = append(r.last.Bytes[:0], e.Bytes...)
	r.last.Numbers = maps.Clone(e.Numbers)
	for k, times := range e.Times {
		r.updates[k] = append(r.updates[k], times...)
	}
	if e.Big != nil {
		r.sum.Add(r.sum, e.Big)
	}
}

// renamed is an event that is no struct, and a pointer as prototype.
type renamed string

func (*renamed) Topic() string     { return "rich.renamed" }
func (e *renamed) ApplyTo(r *rich) { r.last.Name = string(*e) }

func TestCheckPasses(t *testing.T) {
	t.Parallel()
	passes(t, func(t testing.TB) {
		codec := evsourcing.NewRegistry(everything{}, new(renamed))
		evtest.Check[rich](t, codec, nil, everything{}, new(renamed))
		evtest.Check(t, codec, &evtest.CheckOptions[rich]{Values: []any{
			func(r *rand.Rand) money { return money{[]byte{byte('0' + r.IntN(10))}} },
		}}, everything{}) // whose state has the event's money
		evtest.Check[rich](t, codec, nil, &everything{}, (*renamed)(nil))
		evtest.Check(t, codec, &evtest.CheckOptions[rich]{Runs: 10, Events: 40}, everything{})
		evtest.Check[Account](t, accounts(), nil, Opened{}, Withdrawn{}, &Limited{})
		evtest.Check[Counter](t, evsourcing.NewRegistry(Counted{}), &evtest.CheckOptions[Counter]{DistinguishNil: true}, Counted{})
	})
}

// tier is a value that its decoder restricts.
type tier string

func (t *tier) UnmarshalText(text []byte) error {
	if len(text) != 1 {
		return errFunds
	}
	*t = tier(text)
	return nil
}

// picky has rules: it counts down, and can't fall below zero.
type picky struct {
	evsourcing.Base
	left int
	tier tier
}

func (p *picky) Init() { p.left = 3 }

type picked struct {
	Tier tier
	Left int
}

func (picked) Topic() string { return "picky.picked" }
func (e picked) ApplyTo(p *picky) {
	if p.left == 0 || e.Left != p.left-1 {
		panic("this can't happen")
	}
	p.left, p.tier = e.Left, e.Tier
}

// Values and sequences may be the user's to choose.
func TestCheckOptions(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry(picked{})
	opts := &evtest.CheckOptions[picky]{
		Next: func(r *rand.Rand, p *picky) evsourcing.EventOf[*picky] {
			if p.left == 0 {
				return nil
			}
			return picked{tier([]byte{"ABC"[r.IntN(3)]}), p.left - 1}
		},
	}
	passes(t, func(t testing.TB) { evtest.Check(t, codec, opts) })
	fails(t, func(t testing.TB) {
		opts := *opts
		next := opts.Next
		opts.Seed = 7
		opts.Next = func(r *rand.Rand, p *picky) evsourcing.EventOf[*picky] {
			if e := next(r, p); e != nil {
				return e
			}
			return &picked{Tier: "D", Left: -1}
		}
		evtest.Check(t, codec, &opts)
	}, `ApplyTo of "picky.picked" panics, but what has happened can't fail`, "this can't happen", "found with Seed 7 by:", `"Left":2}
    picky.picked  {"Tier":`, `"Left":0}
    picky.picked  {"Tier":"D","Left":-1}`)

	calls := 0
	free := &evtest.CheckOptions[Counter]{Values: []any{func(r *rand.Rand) Counted { calls++; return Counted{r.IntN(3)} }}}
	passes(t, func(t testing.TB) {
		evtest.Check(t, evsourcing.NewRegistry(Counted{}), free, Counted{})
	})
	if calls < 100 {
		t.Errorf("Values made %d events", calls)
	}
}
