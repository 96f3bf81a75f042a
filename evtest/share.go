package evtest

import (
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"

	"github.com/evsourcing/evsourcing"
)

// region is the memory of a slice, as far as its capacity goes, or of a map.
type region struct {
	path       string
	what       string
	start, end uintptr
}

// shared returns a sentence about a slice or map that state and event have in
// common, or "". Writing to it in one of them would change the other.
//
// Comparing addresses sees more than changing the event and looking at the state
// would: the room behind a slice's end too, into which append writes. And it
// changes nothing that either may share with the rest of the program.
func shared(state, event any) string {
	events := regionsOf(event)
	if len(events) == 0 {
		return ""
	}
	for _, s := range regionsOf(state) {
		for _, e := range events {
			if s.start < e.end && e.start < s.end {
				return fmt.Sprintf("the state's %s is the event's %s %s, not a copy of it", s.path, e.what, e.path)
			}
		}
	}
	return ""
}

func regionsOf(v any) []region {
	w := regionWalker{seen: map[visit]bool{}}
	rv := reflect.ValueOf(v)
	if rv.IsValid() {
		w.walk("", rv)
	}
	return w.regions
}

type regionWalker struct {
	regions []region
	seen    map[visit]bool
}

// visit is a pointer, slice or map that was looked into.
type visit struct {
	t      reflect.Type
	at     uintptr
	length int
}

func (w *regionWalker) first(v reflect.Value, length int) bool {
	k := visit{v.Type(), v.Pointer(), length}
	if w.seen[k] {
		return false
	}
	w.seen[k] = true
	return true
}

func (w *regionWalker) add(path, what string, start, size uintptr) {
	if path = strings.TrimPrefix(path, "."); path == "" {
		path = "itself"
	}
	w.regions = append(w.regions, region{path, what, start, start + size})
}

func (w *regionWalker) walk(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && (v.Kind() == reflect.Interface || w.first(v, 0)) {
			w.walk(path, v.Elem())
		}
	case reflect.Slice:
		if size := uintptr(v.Cap()) * v.Type().Elem().Size(); size > 0 && w.first(v, v.Len()) {
			w.add(path, "slice", v.Pointer(), size)
			w.elements(path, v)
		}
	case reflect.Array:
		w.elements(path, v)
	case reflect.Map:
		if !v.IsNil() && w.first(v, 0) {
			w.add(path, "map", v.Pointer(), 1)
			for key, value := range v.Seq2() {
				w.walk(fmt.Sprintf("%s[%v]", path, key), value)
			}
		}
	case reflect.Struct:
		if v = addressable(v); immutable(v) {
			return
		}
		for i := range v.NumField() {
			w.walk(path+"."+v.Type().Field(i).Name, field(v, i))
		}
	default: // has no memory of its own
	}
}

// elements looks into the elements of a slice or array that can refer to
// anything.
func (w *regionWalker) elements(path string, v reflect.Value) {
	switch v.Type().Elem().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		for i := range v.Len() {
			w.walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	default:
	}
}

// immutable reports whether values of the struct's type may be shared: times,
// decimal numbers, addresses, which show nothing of themselves that could be
// written to. The numbers of math/big are not among them.
func immutable(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case *big.Int, *big.Float, *big.Rat:
		return false
	case *time.Time, *evsourcing.Base:
		return true
	}
	_, ok := opaqueText(v)
	return ok
}
