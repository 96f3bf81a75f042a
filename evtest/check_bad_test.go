package evtest_test

import (
	"context"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
)

// broken is an aggregate for events with one bug each.
type broken struct {
	evsourcing.Base
	list   []string
	bytes  json.RawMessage
	lists  map[string][]string
	counts map[string]int
	n      int
	text   string
	at     time.Time
	any    any
	number big.Int
	event  *pointed
	fn     func() string
}

type (
	keepsSlice   struct{ List []string }
	keepsBytes   struct{ Raw json.RawMessage }
	keepsRoom    struct{ List []string }
	keepsMap     struct{ Counts map[string]int }
	keepsInMap   struct{ Lists map[string][]string }
	keepsInAny   struct{ List []string }
	keepsNumber  struct{ Number *big.Int }
	keepsPointer struct{ Inner *struct{ List []string } }
	sorts        struct{ List []string }
	pointed      struct{ N int }
	later        struct{ N int }
	ignored      struct {
		N int `json:"-"`
	}
	unexported struct {
		N    int
		note string
	}
	embedsPrivate struct{ *private }
	private       struct{ N int }
	clashes       struct {
		First
		Second
	}
	First    struct{ N int }
	Second   struct{ N int }
	unixTime struct{ At seconds }
	seconds  struct{ time.Time }
	varies   struct{ Kind string }
	panics   struct{ List []string }
	clock    struct{ N int }
	chance   struct{ Counts map[string]int }
	nilness  struct {
		List []string `json:",omitempty"`
	}
	iface struct {
		Inner struct{ Pay interface{ Pay() } }
	}
	function struct {
		F func() `json:"f"`
	}
	unknown struct{ N int }
	strict  struct{ Tier tier }
)

func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(s.Unix()) }
func (s *seconds) UnmarshalJSON(data []byte) error {
	var n int64
	err := json.Unmarshal(data, &n)
	s.Time = time.Unix(n, 0)
	return err
}

func (keepsSlice) Topic() string    { return "slice" }
func (keepsBytes) Topic() string    { return "bytes" }
func (keepsRoom) Topic() string     { return "room" }
func (keepsMap) Topic() string      { return "map" }
func (keepsInMap) Topic() string    { return "in map" }
func (keepsInAny) Topic() string    { return "in any" }
func (keepsNumber) Topic() string   { return "number" }
func (keepsPointer) Topic() string  { return "pointer" }
func (sorts) Topic() string         { return "sorts" }
func (*pointed) Topic() string      { return "pointed" }
func (later) Topic() string         { return "later" }
func (ignored) Topic() string       { return "ignored" }
func (unexported) Topic() string    { return "unexported" }
func (embedsPrivate) Topic() string { return "private" }
func (clashes) Topic() string       { return "clashes" }
func (unixTime) Topic() string      { return "time" }
func (e varies) Topic() string      { return "varies" + e.Kind[:min(1, len(e.Kind))] }
func (panics) Topic() string        { return "panics" }
func (clock) Topic() string         { return "clock" }
func (chance) Topic() string        { return "chance" }
func (nilness) Topic() string       { return "nilness" }
func (iface) Topic() string         { return "iface" }
func (function) Topic() string      { return "function" }
func (unknown) Topic() string       { return "unknown" }
func (strict) Topic() string        { return "strict" }

func (e keepsSlice) ApplyTo(b *broken)   { b.list = e.List }
func (e keepsBytes) ApplyTo(b *broken)   { b.bytes = e.Raw }
func (e keepsRoom) ApplyTo(b *broken)    { b.list = e.List[:0] }
func (e keepsMap) ApplyTo(b *broken)     { b.counts = e.Counts }
func (e keepsInAny) ApplyTo(b *broken)   { b.any = [][]string{e.List} }
func (e keepsPointer) ApplyTo(b *broken) { b.any = e.Inner }
func (e sorts) ApplyTo(b *broken)        { slices.Sort(e.List); b.n = len(e.List) }
func (e *pointed) ApplyTo(b *broken)     { b.event = e }
func (ignored) ApplyTo(b *broken)        { b.n++ }
func (e unexported) ApplyTo(b *broken)   { b.text = e.note }
func (embedsPrivate) ApplyTo(b *broken)  { b.n++ }
func (clashes) ApplyTo(b *broken)        { b.n++ }
func (e unixTime) ApplyTo(b *broken)     { b.at = e.At.Time }
func (e varies) ApplyTo(b *broken)       { b.text = e.Kind }
func (e panics) ApplyTo(b *broken)       { b.text = e.List[1] }
func (e clock) ApplyTo(b *broken)        { b.at = time.Now() }
func (e nilness) ApplyTo(b *broken)      { b.fn, b.n = nil, map[bool]int{true: 1}[e.List != nil] }
func (iface) ApplyTo(b *broken)          { b.n++ }
func (function) ApplyTo(b *broken)       { b.n++ }
func (unknown) ApplyTo(b *broken)        { b.n++ }
func (e strict) ApplyTo(b *broken)       { b.text = string(e.Tier) }

func (e keepsInMap) ApplyTo(b *broken) {
	b.lists = map[string][]string{}
	for k, list := range e.Lists {
		b.lists[k] = list
	}
}

func (e keepsNumber) ApplyTo(b *broken) {
	if e.Number != nil {
		b.number = *e.Number
	}
}

func (e later) ApplyTo(b *broken) {
	if b.event != nil {
		b.event.N++
	}
}

func (e chance) ApplyTo(b *broken) {
	for k := range e.Counts {
		b.text = k
	}
}

// Each bug is found, and said so. A part of the text is enough here: where
// random values are shown, they differ.
func TestCheckFindsBugs(t *testing.T) {
	t.Parallel()
	type proto = evsourcing.EventOf[*broken]
	for _, tt := range []struct {
		protos []proto
		says   []string
	}{
		{[]proto{keepsSlice{}}, []string{`evtest: Check[evtest_test.broken]: ApplyTo of "slice" keeps memory of its event: the state's list is the event's slice List, not a copy of it`, "\n  found with Seed "}},
		{[]proto{keepsBytes{}}, []string{`the state's bytes is the event's slice Raw`}},
		{[]proto{keepsRoom{}}, []string{`the state's list is the event's slice List`}},
		{[]proto{keepsMap{}}, []string{`the state's counts is the event's map Counts`}},
		{[]proto{keepsInMap{}}, []string{`the state's lists[`, `is the event's slice Lists[`}},
		{[]proto{keepsInAny{}}, []string{`the state's any[0] is the event's slice List`}},
		{[]proto{keepsNumber{}}, []string{`the state's number.abs is the event's slice Number.abs`}},
		{[]proto{keepsPointer{}}, []string{`the state's any.List is the event's slice Inner.List`}},
		{[]proto{sorts{}}, []string{`ApplyTo of "sorts" changes its event (- before, + after):`, "\n    - List["}},
		{[]proto{&pointed{}, later{}}, []string{`ApplyTo of "later" changes an event applied before, "pointed"`, "\n    pointed  {\"N\":0}\n    later  {\"N\":0}"}},
		{[]proto{ignored{}}, []string{`"ignored" does not come back from the codec as it was (- before, + after):`, "\n    + N = 0\n", "\n    ignored  {}"}},
		{[]proto{unexported{}}, []string{`"unexported" does not come back`, "\n    + note = \"\"\n"}},
		{[]proto{embedsPrivate{}}, []string{`"private": once stored, it can't be read: `, "embedded pointer to unexported struct"}},
		{[]proto{clashes{}}, []string{`"clashes" does not come back`, ".N = 0\n"}},
		{[]proto{unixTime{}}, []string{`"time" does not come back`, "\n    + At.Time = "}},
		{[]proto{varies{}}, []string{`the topic of evtest_test.varies varies: "varies`, `"varies" for the zero value`}},
		{[]proto{panics{}}, []string{`ApplyTo of "panics" panics, but what has happened can't fail`, `CheckOptions.Next`, `index out of range [1] with length 0`, "check_bad_test.go:", "\n    panics  {\"List\":null}"}},
		{[]proto{clock{}}, []string{`replaying "clock" leads to another state than recording it did (- recorded, + replayed):`, "\n    - at = 20", "\n    clock  {\"N\":0}"}},
		{[]proto{chance{}}, []string{`replaying "chance" leads to another state`, "\n    - text = "}},
		{[]proto{nilness{}}, []string{`replaying "nilness" leads to another state`, "\n    - n = 1\n    + n = 0", "\n    nilness  {}"}},
		{[]proto{iface{}}, []string{"there are no values for the field Inner.Pay, of interface type interface { Pay() } of evtest_test.iface: give CheckOptions.Values a function that makes some", "(no event)"}},
		{[]proto{function{}}, []string{`"function": it can't be stored: `, "unsupported type: func()"}},
		{[]proto{strict{}}, []string{`"strict": once stored, it can't be read: `, errFunds.Error()}},
	} {
		t.Run(strings.Fields(tt.protos[len(tt.protos)-1].Topic())[0], func(t *testing.T) {
			t.Parallel()
			var protos []evsourcing.Event
			for _, p := range tt.protos {
				protos = append(protos, p)
			}
			fails(t, func(t testing.TB) { evtest.Check(t, evsourcing.NewRegistry(protos...), nil, tt.protos...) }, tt.says...)
		})
	}
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		fails(t, func(t testing.TB) { evtest.Check[broken](t, evsourcing.NewRegistry(), nil, unknown{}) },
			`"unknown": it can't be stored: evsourcing: unknown topic "unknown": register evtest_test.unknown`)
	})
	t.Run("nil and empty", func(t *testing.T) {
		t.Parallel()
		opts := &evtest.CheckOptions[Account]{DistinguishNil: true}
		fails(t, func(t testing.TB) { evtest.Check(t, accounts(), opts, &Limited{}) },
			`"account.limited" does not come back from the codec`, "\n    - Limits = {}\n    + Limits = nil\n")
	})
}

// Several bugs are several failures, each once.
func TestCheckGoesOn(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry(keepsSlice{}, keepsMap{}, ignored{}, panics{}, clock{})
	r := record(t, func(t testing.TB) {
		evtest.Check[broken](t, codec, nil, keepsSlice{}, keepsMap{}, ignored{}, panics{}, clock{})
	})
	if len(r.messages) != 5 {
		t.Errorf("%d failures:\n%s", len(r.messages), strings.Join(r.messages, "\n"))
	}
}

// A seed repeats what was found, in the text that was printed.
func TestCheckSeed(t *testing.T) {
	t.Parallel()
	find := func(seed uint64) (text string, drawn []int) {
		r := record(t, func(t testing.TB) {
			evtest.Check(t, evsourcing.NewRegistry(sorts{}), &evtest.CheckOptions[broken]{Seed: seed, Values: []any{
				func(r *rand.Rand) string {
					drawn = append(drawn, r.IntN(1000))
					return string(rune('a' + drawn[len(drawn)-1]%26))
				},
			}}, sorts{})
		})
		return strings.Join(r.messages, "\n"), drawn
	}
	text, drawn := find(5)
	if again, same := find(5); text != again || !slices.Equal(drawn, same) || !strings.Contains(text, "found with Seed 5 by:") {
		t.Errorf("%s\n\n%s", text, again)
	}
	for _, other := range []uint64{6, 0} {
		if _, others := find(other); slices.Equal(drawn, others) {
			t.Errorf("seed %d is no other seed", other)
		}
	}
	first, _ := find(0)
	if again, _ := find(0); first == again {
		t.Error("no seed is the same seed every time")
	}
}

// fussy panics where it comes first, unless it is zero, and changes an event
// applied before where it does not.
type fussy struct{ N int }

func (fussy) Topic() string { return "fussy" }
func (e fussy) ApplyTo(b *broken) {
	switch {
	case b.event != nil:
		b.event.N++
	case e.N != 0:
		panic("fussy")
	}
}

// A sequence that is made shorter still breaks the rule that it was found by.
func TestCheckShortensToTheSameRule(t *testing.T) {
	t.Parallel()
	rules := map[string]int{}
	for seed := range uint64(20) {
		r := record(t, func(t testing.TB) {
			evtest.Check(t, evsourcing.NewRegistry(&pointed{}, fussy{}), &evtest.CheckOptions[broken]{
				Seed: 1 + seed, Runs: 3, Values: []any{func(*rand.Rand) int { return 1 }},
			}, &pointed{}, fussy{})
		})
		for _, m := range r.messages {
			switch {
			case strings.Contains(m, `"fussy" panics`):
				rules["panics"]++
			case strings.Contains(m, `"fussy" changes an event applied before, "pointed"`):
				rules["changes"]++
			}
		}
	}
	if rules["panics"] == 0 || rules["changes"] == 0 {
		t.Errorf("found %v", rules)
	}
}

// What fails is made as short as it can be.
func TestCheckShortens(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		says(t, strings.ReplaceAll(`
evtest: Check[evtest_test.broken]: ApplyTo of "later" changes an event applied before, "pointed" (- before, + after):
    - N = 0
    + N = 1
  found with Seed SEED by:
    pointed  {"N":0}
    later  {"N":0}`, "SEED", string(rune('1'+seed))), func(t testing.TB) {
			evtest.Check(t, evsourcing.NewRegistry(unknown{}, &pointed{}, later{}),
				&evtest.CheckOptions[broken]{Seed: 1 + seed, Events: 30}, unknown{}, &pointed{}, later{})
		})
	}
}

// unsteady starts differently each time.
type unsteady struct {
	evsourcing.Base
	n int64
}

var starts atomic.Int64

func (u *unsteady) Init() { u.n = starts.Add(1) }

type nothing struct{}

func (nothing) Topic() string       { return "nothing" }
func (nothing) ApplyTo(u *unsteady) { u.n = 0 }

// renaming is a codec that decodes under another topic.
type renaming struct{ *evsourcing.Registry }

func (r renaming) Decode(ctx context.Context, src *evsourcing.StoredEvent) (evsourcing.Event, error) {
	e, err := r.Registry.Decode(ctx, src)
	src.Topic += "!"
	return e, err
}

// forgetful is a codec that returns no event.
type forgetful struct{ *evsourcing.Registry }

func (forgetful) Decode(context.Context, *evsourcing.StoredEvent) (evsourcing.Event, error) {
	return nil, nil
}

func TestCheckFindsBugsElsewhere(t *testing.T) {
	t.Parallel()
	fails(t, func(t testing.TB) { evtest.Check[unsteady](t, evsourcing.NewRegistry(nothing{}), nil, nothing{}) },
		"a new aggregate is not always the same: Init must do the same on every call (- one, + another):", "(no event)")
	fails(t, func(t testing.TB) {
		evtest.Check[Counter](t, renaming{evsourcing.NewRegistry(Counted{})}, nil, Counted{})
	}, `comes back from the codec under the topic "counter.counted!"`)
	fails(t, func(t testing.TB) {
		evtest.Check[Counter](t, forgetful{evsourcing.NewRegistry(Counted{})}, nil, Counted{})
	}, `once stored, it comes back as nil`)
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	codec := evsourcing.NewRegistry(Counted{})
	fails(t, func(t testing.TB) { evtest.Check[Counter](t, nil, nil, Counted{}) }, "the codec is nil")
	fails(t, func(t testing.TB) { evtest.Check[Counter](t, codec, nil) }, "no prototypes")
	fails(t, func(t testing.TB) { evtest.Check[Counter](t, codec, nil, nil) }, "prototype 0 is nil")
	for _, bad := range []any{nil, 5, func() int { return 1 }, func(int) int { return 1 }, (func(*rand.Rand) int)(nil), func(*rand.Rand) (int, error) { return 0, nil }} {
		fails(t, func(t testing.TB) {
			evtest.Check(t, codec, &evtest.CheckOptions[Counter]{Values: []any{bad}}, Counted{})
		}, "want a func(*rand.Rand) X")
	}
}
