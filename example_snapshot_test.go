package evsourcing_test

import (
	"context"
	"fmt"

	"github.com/evsourcing/evsourcing"
)

// A repository with snapshots loads an aggregate from the newest one and the
// events behind it. They may be kept in the event store or, as a cache that
// lasts as long as the process, in a MemoryStore beside it.
func ExampleRepositoryOptions_snapshots() {
	ctx := context.Background()
	store := evsourcing.NewMemoryStore() // or one on disk
	snapshots := evsourcing.NewMemoryStore()
	vessels := evsourcing.NewRepository[Vessel]("vessel", store, vesselCodec(), &evsourcing.RepositoryOptions{
		Snapshots:       snapshots,
		SnapshotEvery:   100,
		SnapshotVersion: "1", // to be changed when ApplyTo is
	})
	_, err := vessels.Create(ctx, "Rickmer", func(v *Vessel) error {
		for range 60 {
			evsourcing.Record(v, Sailed{}, Moored{Port: "Hamburg"})
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Snapshots are taken in the background, and Close waits for them.
	if err := vessels.Close(ctx); err != nil {
		panic(err)
	}

	s, ok, err := snapshots.LoadSnapshot(ctx, evsourcing.StreamID{Type: "vessel", ID: "Rickmer"})
	if err != nil {
		panic(err)
	}
	fmt.Println(ok, s.Version, string(s.Data))
	v, err := vessels.Load(ctx, "Rickmer") // reads one event of 120
	if err != nil {
		panic(err)
	}
	fmt.Println(v.Version(), v.Port)
	// Output:
	// true 120 {"Sailing":false,"Port":"Hamburg"}
	// 120 Hamburg
}

// Basket keeps its state to itself, so it has to encode it for snapshots.
type Basket struct {
	evsourcing.Base
	fruit map[string]bool
}

func (b *Basket) Init() { b.fruit = map[string]bool{} }

// MarshalSnapshot implements evsourcing.Snapshotter.
func (b *Basket) MarshalSnapshot() ([]byte, error) { return evsourcing.JSON{}.Marshal(b.fruit) }

// UnmarshalSnapshot implements evsourcing.Snapshotter.
func (b *Basket) UnmarshalSnapshot(data []byte) error {
	return evsourcing.JSON{}.Unmarshal(data, &b.fruit)
}

type Picked struct {
	Fruit string `json:"fruit"`
}

func (Picked) Topic() string       { return "basket.picked" }
func (e Picked) ApplyTo(b *Basket) { b.fruit[e.Fruit] = true }

func ExampleSnapshotter() {
	ctx := context.Background()
	store := evsourcing.NewMemoryStore()
	baskets := evsourcing.NewRepository[Basket]("basket", store, evsourcing.NewRegistry(Picked{}), &evsourcing.RepositoryOptions{
		Snapshots: store,
		// Take one whenever the newest is two events behind.
		SnapshotPolicy: func(s evsourcing.SnapshotStatus) bool { return s.Version >= s.Snapshot+2 },
	})
	_, err := baskets.Create(ctx, "mine", func(b *Basket) error {
		evsourcing.Record(b, Picked{Fruit: "apple"}, Picked{Fruit: "pear"})
		return nil
	})
	if err != nil {
		panic(err)
	}
	if err := baskets.Close(ctx); err != nil {
		panic(err)
	}
	s, _, err := store.LoadSnapshot(ctx, evsourcing.StreamID{Type: "basket", ID: "mine"})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(s.Data))
	// Output: {"apple":true,"pear":true}
}
