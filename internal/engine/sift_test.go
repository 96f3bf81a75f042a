package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

func TestSift(t *testing.T) {
	store := evsourcing.NewMemoryStore()
	var long evsourcing.Filter
	for i := range 300 {
		topic := fmt.Sprint("topic ", i)
		b := newAppend(topic).Batches[0]
		b.Events[0].Topic, b.Stream.Type, b.Events[0].Stream = topic, fmt.Sprint("type ", i%2), evsourcing.StreamID{}
		if _, err := store.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		long.Topics = append(long.Topics, fmt.Sprint("topic ", 3*i))
	}
	long.Types = []string{"type 0", "type 7"}
	if engine.Long(evsourcing.Filter{Topics: long.Topics[:256]}) || !engine.Long(long) {
		t.Error("Long is wrong")
	}
	read := func(r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
		return store.Events(t.Context(), r, evsourcing.Filter{})
	}
	for _, f := range []evsourcing.Filter{long, {Topics: long.Topics}, {Types: long.Types}, {}} {
		for _, r := range []evsourcing.Range{{}, {Limit: 7}, {After: 20, Limit: 1}, {Backward: true, Limit: 7}, {After: 20, Until: 100}} {
			want, seq := positions(store.Events(t.Context(), r, f)), engine.Sift(r, f, read)
			for range 2 {
				if got := positions(seq); !slices.Equal(got, want) {
					t.Errorf("%+v: %v, want %v", r, got, want)
				}
			}
			for range seq {
				break
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range engine.Sift(evsourcing.Range{}, long, func(r evsourcing.Range) iter.Seq2[evsourcing.StoredEvent, error] {
		return store.Events(ended, r, evsourcing.Filter{})
	}) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func positions(seq iter.Seq2[evsourcing.StoredEvent, error]) (list []uint64) {
	for e := range seq {
		list = append(list, e.Position)
	}
	return list
}
