package evsourcing

import (
	"cmp"
	"reflect"
	"slices"
)

// A memorySpan is a part of the memory that a state reaches.
type memorySpan struct {
	from, to uintptr
	field    string // of the struct, by which it is reached
}

// shared finds memory that the struct v reaches in two ways: two pointers to one
// thing, say, or two slices of one array. A change by one way is then seen by
// the other, which is so no longer in a copy, although the two are deeply equal.
// It returns the names of the fields through which the ways lead. v is
// addressable; what one of the pairs encodes is not looked into.
func shared(v reflect.Value, pairs []codecPair) (one, other string, ok bool) {
	w := &memoryWalk{pairs: pairs, seen: map[memorySpan]bool{}, opaque: map[reflect.Type]bool{}}
	w.field = v.Type().Name()
	w.add(v.Addr().Pointer(), v.Type().Size())
	for i := range v.NumField() {
		w.field = v.Type().Field(i).Name
		if v.Type().Field(i).Type != reflect.TypeFor[Base]() {
			w.walk(v.Field(i))
		}
	}
	slices.SortFunc(w.spans, func(a, b memorySpan) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(w.spans); i++ {
		if a, b := w.spans[i-1], w.spans[i]; b.from < a.to {
			return a.field, b.field, true
		}
	}
	return "", "", false
}

// A memoryWalk collects the memory behind pointers, maps and slices.
type memoryWalk struct {
	field  string
	pairs  []codecPair
	spans  []memorySpan
	seen   map[memorySpan]bool   // without field
	opaque map[reflect.Type]bool // whether a type encodes itself
}

// add returns false if the walk has been there, and must not go round in circles.
func (w *memoryWalk) add(at, size uintptr) bool {
	if size == 0 {
		return true
	}
	span := memorySpan{from: at, to: at + size}
	again := w.seen[span]
	w.seen[span] = true
	span.field = w.field
	w.spans = append(w.spans, span)
	return !again
}

func (w *memoryWalk) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Pointer && !w.add(v.Pointer(), v.Type().Elem().Size()) {
			return
		}
		w.walk(v.Elem())
	case reflect.Map:
		if v.IsNil() || !w.add(v.Pointer(), 1) {
			return
		}
		for it := v.MapRange(); it.Next(); {
			w.walk(it.Key())
			w.walk(it.Value())
		}
	case reflect.Slice:
		if w.add(v.Pointer(), uintptr(v.Cap())*v.Type().Elem().Size()) {
			w.elements(v)
		}
	case reflect.Array:
		w.elements(v)
	case reflect.Struct:
		if w.encodesItself(v.Type()) {
			return // what it has inside, such as a time's location, is its own business
		}
		for i := range v.NumField() {
			w.walk(v.Field(i))
		}
	}
}

func (w *memoryWalk) elements(v reflect.Value) {
	if k := v.Type().Elem().Kind(); k <= reflect.Complex128 || k == reflect.String {
		return
	}
	for i := range v.Len() {
		w.walk(v.Index(i))
	}
}

func (w *memoryWalk) encodesItself(t reflect.Type) bool {
	is, ok := w.opaque[t]
	if !ok {
		for _, p := range w.pairs {
			is = is || reflect.PointerTo(t).Implements(p.in) && reflect.PointerTo(t).Implements(p.out)
		}
		w.opaque[t] = is
	}
	return is
}
