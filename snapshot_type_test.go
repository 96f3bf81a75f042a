package evsourcing_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// Which types a repository with snapshots accepts, and what tells them apart.

type (
	hidden  struct{ Name string }
	hiddenP struct{ Name string }
	Part    struct {
		Name   string
		serial int
	}
	Deep     struct{ Parts map[string][]*Part }
	OneWay   int
	OtherWay int
	ByRef    struct{ n int }
	Status   string
	Money    struct {
		big.Int
		Currency string
	}
	Price struct {
		big.Int
		Currency string
	}
	Node struct {
		Value       int
		Left, Right *Node
	}
	Point  struct{ X, Y int }
	Coords [2]float64
	empty  struct{}
)

func (OneWay) MarshalJSON() ([]byte, error) { return []byte("1"), nil }
func (*OtherWay) UnmarshalText([]byte) error {
	return nil
}
func (r *ByRef) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d", r.n), nil }
func (r *ByRef) UnmarshalText(text []byte) error {
	_, err := fmt.Sscan(string(text), &r.n)
	return err
}
func (s Status) MarshalText() ([]byte, error)     { return []byte(s), nil }
func (s *Status) UnmarshalText(text []byte) error { *s = Status(text); return nil }

// Price has methods of its own, in the place of those that it embeds.
func (p Price) MarshalJSON() ([]byte, error) {
	return json.Marshal(p.String() + " " + p.Currency)
}

func (p *Price) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	amount, currency, _ := strings.Cut(s, " ")
	p.Currency = currency
	_, ok := p.SetString(amount, 10)
	if !ok {
		return fmt.Errorf("no amount: %q", amount)
	}
	return nil
}

var (
	_ = Part{}.serial
	_ = unsafe.Pointer(nil)
)

// aggregates around one field each.
type (
	aFunc struct {
		evsourcing.Base
		F func()
	}
	aChan struct {
		evsourcing.Base
		F []chan int
	}
	aUnsafe struct {
		evsourcing.Base
		F unsafe.Pointer
	}
	aComplex struct {
		evsourcing.Base
		F *complex128
	}
	anAny struct {
		evsourcing.Base
		F any
	}
	anError struct {
		evsourcing.Base
		F map[string]error
	}
	unexported struct {
		evsourcing.Base
		name string
	}
	dashed struct {
		evsourcing.Base
		F int `json:"-"`
	}
	deep struct {
		evsourcing.Base
		F []Deep
	}
	oneWay struct {
		evsourcing.Base
		F OneWay
	}
	otherWay struct {
		evsourcing.Base
		F []OtherWay
	}
	refInMap struct {
		evsourcing.Base
		F map[string]ByRef
	}
	refAsKey struct {
		evsourcing.Base
		F map[ByRef]int
	}
	structKey struct {
		evsourcing.Base
		F map[Point]int
	}
	floatKey struct {
		evsourcing.Base
		F map[float64]int
	}
	oneWayKey struct {
		evsourcing.Base
		F map[OtherWay]int
	}
	sameName struct {
		evsourcing.Base
		F int `json:"G"`
		G int
	}
	shadowed struct {
		evsourcing.Base
		Point
		X string
	}
	ambiguous struct {
		evsourcing.Base
		Point
		Node2
	}
	Node2      struct{ Y int }
	embedsTime struct {
		evsourcing.Base
		time.Time
		Note string
	}
	twoTimes struct {
		evsourcing.Base
		F struct {
			Stamp
			Stamp2
		}
	}
	Stamp      struct{ time.Time }
	Stamp2     struct{ time.Time }
	ledgerPlus struct {
		Ledger
		More int
	}
	ledgerAlone struct{ Ledger }
	pointerTo   struct {
		evsourcing.Base
		F []struct {
			*big.Int
			N int
		}
	}
	stamped struct {
		evsourcing.Base
		F struct {
			unexportedTime
			N int
		}
	}
	unexportedTime struct{ time.Time }
	gobbing        struct {
		evsourcing.Base
		F struct {
			big.Int
			N int
		}
	}
	promoted struct {
		evsourcing.Base
		F Money
	}
	pointsTo struct {
		evsourcing.Base
		*hiddenP
	}
	itself struct {
		evsourcing.Base
		Next *itself
	}
	another struct {
		evsourcing.Base
		F []Hangar
	}
	emptyMap struct {
		evsourcing.Base
		F map[string]int `json:",omitempty"`
	}
	raw struct {
		evsourcing.Base
		F json.RawMessage
	}
	location struct {
		evsourcing.Base
		F *time.Location
	}
	recursing struct {
		evsourcing.Base
		F struct{ *recursed }
	}
	recursed struct{ *recursed }
	badTag   struct {
		evsourcing.Base
		//lint:ignore SA5008 a name that encoding/json does not take
		F int `json:"a'b"`
		G int `json:"F"`
	}
	everything struct {
		evsourcing.Base `json:"base"`
		hidden
		_ [0]func()
		//lint:ignore U1000 a field without state
		nothing empty
		A       int `json:"a,string"`
		//lint:ignore SA5008 a field with the name -
		B []byte `json:"-,"`
		C map[string][]map[int]*Point
		D time.Time
		E uuid.UUID
		F map[uuid.UUID]Coords
		G *Node
		H map[Status]Status
		I []ByRef
		J struct{ K, L *bool }
		M *big.Int
		N Price `json:",omitzero"`
		O [3]float32
		P map[string]*ByRef
		Q time.Duration
		R json.Number `json:",omitempty"`
		Deepest
	}
	Deepest struct{ Deeper }
	Deeper  struct{ Z string }
)

func (e *emptyMap) Init() { e.F = map[string]int{} }

// panicOf returns what a repository of T with snapshots panics with.
func panicOf[T any, P interface {
	*T
	evsourcing.Aggregate
}](encoder evsourcing.Encoder) (says string) {
	defer func() {
		if v := recover(); v != nil {
			says = fmt.Sprint(v)
		}
	}()
	store := evsourcing.NewMemoryStore()
	evsourcing.NewRepository[T, P]("aircraft", store, newCodec(), &evsourcing.RepositoryOptions{Snapshots: store, SnapshotEncoder: encoder})
	evsourcing.NewRepository[T, P]("aircraft", store, newCodec(), nil)
	return ""
}

func TestTypesWhoseStateNoSnapshotKeepsAreRefused(t *testing.T) {
	t.Parallel()
	var asJSON evsourcing.Encoder
	for _, test := range []struct{ name, got, says string }{
		{"a function", panicOf[aFunc](asJSON), "aFunc.F is a func"},
		{"a channel", panicOf[aChan](asJSON), "aChan.F[] is a chan"},
		{"an unsafe pointer", panicOf[aUnsafe](asJSON), "aUnsafe.F is a unsafe.Pointer"},
		{"a complex number", panicOf[aComplex](asJSON), "aComplex.F is a complex number"},
		{"an any", panicOf[anAny](asJSON), "anAny.F is an interface"},
		{"an interface in a map", panicOf[anError](asJSON), "anError.F[] is an interface"},
		{"an unexported field", panicOf[unexported](asJSON), "unexported.name is unexported"},
		{"a field that JSON is told to leave out", panicOf[dashed](asJSON), `dashed.F has the tag "json:\"-\""`},
		{"an unexported field far down", panicOf[deep](asJSON), "deep.F[].Parts[][].serial is unexported"},
		{"a type that encodes itself but does not decode", panicOf[oneWay](asJSON), "oneWay.F is a evsourcing_test.OneWay, which has only one of MarshalJSON and UnmarshalJSON"},
		{"a type that decodes itself but does not encode", panicOf[otherWay](asJSON), "otherWay.F[] is a evsourcing_test.OtherWay, which has only one of MarshalText and UnmarshalText"},
		{"a method of a pointer, in a map", panicOf[refInMap](asJSON), "refInMap.F[] is a evsourcing_test.ByRef, whose MarshalText needs a pointer that there is not in a map"},
		{"a method of a pointer, as a map's key", panicOf[refAsKey](asJSON), "refAsKey.F is a map whose keys, evsourcing_test.ByRef, JSON can't have"},
		{"a struct as a map's key", panicOf[structKey](asJSON), "structKey.F is a map whose keys, evsourcing_test.Point, JSON can't have"},
		{"a float as a map's key", panicOf[floatKey](asJSON), "floatKey.F is a map whose keys, float64, JSON can't have"},
		{"a map's key that decodes itself only", panicOf[oneWayKey](asJSON), "oneWayKey.F is a map whose keys"},
		{"one name for two fields", panicOf[sameName](asJSON), `sameName.F and sameName.G have the same JSON name, "G"`},
		{"a field that hides an embedded one", panicOf[shadowed](asJSON), `shadowed.Point.X and shadowed.X have the same JSON name, "X"`},
		{"two embedded fields of one name", panicOf[ambiguous](asJSON), `ambiguous.Point.Y and ambiguous.Node2.Y have the same JSON name, "Y"`},
		{"a name that is not one", panicOf[badTag](asJSON), `badTag.F and badTag.G have the same JSON name, "F"`},
		{"the methods of an embedded time", panicOf[embedsTime](asJSON), "embedsTime is encoded as its field Time alone"},
		{"the methods of an embedded number", panicOf[promoted](asJSON), "promoted.F is encoded as its field Int alone"},
		{"two embedded types that encode themselves", panicOf[twoTimes](asJSON), "twoTimes.F.Stamp.Time.wall is unexported"},
		{"an embedded pointer that JSON can't set", panicOf[pointsTo](asJSON), "pointsTo.hiddenP is an embedded pointer to an unexported struct"},
		{"the aggregate in itself", panicOf[itself](asJSON), "itself.Next.Base.id is unexported"},
		{"another aggregate", panicOf[another](asJSON), "another.F[].Base.id is unexported"},
		{"an initial map that is left out", panicOf[emptyMap](asJSON), "the initial state, the field F is not the same after it was encoded and decoded"},
		{"nil that becomes null", panicOf[raw](asJSON), "the initial state, the field F is not the same"},
		{"a type with nothing to see", panicOf[location](asJSON), "location.F.name is unexported"},
		{"a struct that embeds itself", panicOf[recursing](asJSON), "recursing.F.recursed is an embedded pointer"},
		{"a function, whatever the encoder", panicOf[aFunc](gobEncoder{}), "aFunc.F is a func"},
		{"an unexported field, whatever the encoder", panicOf[unexported](gobEncoder{}), "unexported.name is unexported"},
		{"the methods of an embedded number, whatever the encoder", panicOf[gobbing](gobEncoder{}), "gobbing.F is encoded as its field Int alone"},
		{"the methods of an embedded pointer", panicOf[pointerTo](asJSON), "pointerTo.F[] is encoded as its field Int alone"},
		{"the methods of an unexported embedded struct", panicOf[stamped](asJSON), "stamped.F is encoded as its field unexportedTime alone"},
		{"a Snapshotter by what it embeds", panicOf[ledgerPlus](nil), "ledgerPlus is encoded as its field Ledger alone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, test.got, test.says)
			assert.True(t, strings.HasPrefix(test.got, "evsourcing: NewRepository[evsourcing_test."), test.got)
			assert.Contains(t, test.got, "a Snapshotter", "the remedy")
		})
	}
	_, _ = hiddenP{}, unexported{}.name
}

// gobEncoder encodes without the aggregate's Base, which gob refuses.
type gobEncoder struct{ evsourcing.JSON }

func (gobEncoder) ContentType() string { return "application/x-gob" }

func (gobEncoder) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobEncoder) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func TestTypesWhoseStateSurvivesAreAccepted(t *testing.T) {
	t.Parallel()
	assert.Empty(t, panicOf[everything](nil))
	assert.Empty(t, panicOf[Aircraft](nil))
	assert.Empty(t, panicOf[nestedDeeper](nil))
	assert.Empty(t, panicOf[Ledger](nil), "a Snapshotter may have anything")
	assert.Empty(t, panicOf[ledgerAlone](nil), "it has nothing else")
	assert.Empty(t, panicOf[anAny](gobEncoder{}), "it depends on the encoder")
	assert.Empty(t, panicOf[aComplex](gobEncoder{}))
	assert.Empty(t, panicOf[structKey](gobEncoder{}))
	assert.Empty(t, panicOf[dashed](gobEncoder{}), "a tag for JSON")
}

// touched is an event of any aggregate.
type touched[A any] struct{}

func (touched[A]) Topic() string { return "touched" }
func (touched[A]) ApplyTo(A)     {}

// fingerprintOf returns the fingerprint of T's snapshots.
func fingerprintOf[T any, P interface {
	*T
	evsourcing.Aggregate
}](t *testing.T, opts evsourcing.RepositoryOptions) string {
	t.Helper()
	store := evsourcing.NewMemoryStore()
	opts.Snapshots, opts.SnapshotEvery, opts.Logger = store, 1, quiet
	repo := evsourcing.NewRepository[T, P]("aircraft", store, evsourcing.NewRegistry(touched[P]{}), &opts)
	_, err := repo.Create(t.Context(), "X", func(a *T) error {
		evsourcing.Record(P(a), touched[P]{})
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, repo.Close(t.Context()))
	s, ok, err := store.LoadSnapshot(t.Context(), aircraftStream("X"))
	require.NoError(t, err)
	require.True(t, ok)
	return s.Fingerprint
}

func TestFingerprintChangesWithTheType(t *testing.T) {
	t.Parallel()
	none := evsourcing.RepositoryOptions{}
	seen := map[string]string{}
	add := func(name, fingerprint string) {
		t.Helper()
		assert.Len(t, fingerprint, 32)
		assert.Empty(t, seen[fingerprint], "%s has the same", name)
		seen[fingerprint] = name
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F inner
		}
		add("the type", fingerprintOf[agg](t, none))
		add("another content type", fingerprintOf[agg](t, evsourcing.RepositoryOptions{SnapshotEncoder: otherJSON{}}))
		add("a version", fingerprintOf[agg](t, evsourcing.RepositoryOptions{SnapshotVersion: "2"}))
		add("another version", fingerprintOf[agg](t, evsourcing.RepositoryOptions{SnapshotVersion: "3"}))
	}
	{
		type inner struct{ B int }
		type agg struct {
			evsourcing.Base
			F inner
		}
		add("another field name further in", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int32 }
		type agg struct {
			evsourcing.Base
			F inner
		}
		add("another type further in", fingerprintOf[agg](t, none))
	}
	{
		type inner struct {
			A int `json:"a"`
		}
		type agg struct {
			evsourcing.Base
			F inner
		}
		add("a tag further in", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F *inner
		}
		add("a pointer", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F []inner
		}
		add("a slice", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F [2]inner
		}
		add("an array", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F [3]inner
		}
		add("a longer array", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F map[int]inner
		}
		add("a map", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F map[string]inner
		}
		add("a map with another key", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ A int }
		type agg struct {
			evsourcing.Base
			F, G inner
		}
		add("one more field", fingerprintOf[agg](t, none))
	}
	{
		type agg struct {
			evsourcing.Base
			F time.Time
		}
		add("a named type", fingerprintOf[agg](t, none))
	}
	{
		type inner struct{ Next *inner }
		type agg struct {
			evsourcing.Base
			F inner
		}
		add("a type in a circle", fingerprintOf[agg](t, none))
	}
	add("a type that encodes itself", fingerprintOf[withStatus](t, none))
	add("one that does not", fingerprintOf[withPlain](t, none))
}

// Two types that differ in nothing but the methods of what is inside.
type (
	withStatus struct {
		evsourcing.Base
		F Status
	}
	withPlain struct {
		evsourcing.Base
		F string
	}
)

// otherJSON is JSON by another name.
type otherJSON struct{ evsourcing.JSON }

func (otherJSON) ContentType() string { return "application/other+json" }

// A snapshot outlives its process, and the build that it was made by.
func TestFingerprintIsTheSameInEveryProcess(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "15db5bf417951e691e9c106debce683b", fingerprintOf[Aircraft](t, evsourcing.RepositoryOptions{}))
	assert.Equal(t, "773e3400a36007e54b48c466354cfdd1", fingerprintOf[tree](t, evsourcing.RepositoryOptions{SnapshotVersion: "v"}))
	assert.Equal(t, fingerprintOf[everything](t, evsourcing.RepositoryOptions{}), fingerprintOf[everything](t, evsourcing.RepositoryOptions{}))
}

type tree struct {
	evsourcing.Base
	Root  *Node
	Names map[Status][]Coords
}

// A changed struct ignores the snapshots of the old one, and its own take their
// place.
func TestSnapshotsOfAnotherFormAreIgnoredAndReplaced(t *testing.T) {
	t.Parallel()
	store, on := evsourcing.NewMemoryStore(), newShelf()
	given(t, store, "DM2018", hours(7)...)
	old := snapshotOf(t, store, on, "DM2018")
	on.save = func(_ context.Context, s evsourcing.Snapshot, next func() error) error {
		assert.NotEqual(t, old.Fingerprint, s.Fingerprint)
		return next()
	}
	given(t, store, "DM2018", hours(1)...)
	lines := &logLines{}
	read := &readStore{EventStore: store}
	opts := &evsourcing.RepositoryOptions{Snapshots: on, SnapshotEvery: 8, SnapshotVersion: "2", Logger: lines.logger()}
	repo := newAircraft(read, opts)
	for range 2 {
		a, err := repo.Load(t.Context(), "DM2018")
		require.NoError(t, err)
		assert.Equal(t, 29, a.Hours)
		require.NoError(t, repo.Close(t.Context()))
	}
	taken, _ := on.on(t, "DM2018")
	assert.Equal(t, uint64(8), taken.Version, "a load asks for a snapshot, too, if there is none")
	read.take()
	_, err := newAircraft(read, opts).Load(t.Context(), "DM2018")
	require.NoError(t, err)
	assert.Equal(t, []uint64{8}, read.take())
	assert.Empty(t, lines.lines(t), "it is not worth a warning")
}
