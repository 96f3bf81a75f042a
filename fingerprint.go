package evsourcing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"reflect"
)

// fingerprint returns a name for the way in which the struct t is encoded: all
// that can be seen of its type, how it is encoded, and a version of what can't
// be seen. It is the same in every process and in every build of the same code.
func fingerprint(t reflect.Type, itself bool, contentType, version string) string {
	// The number in front is for changes in this library that make snapshots void.
	w := typeWriter{sha256.New(), map[reflect.Type]int{}}
	fmt.Fprintf(w.to, "1 %t %q %q ", itself, contentType, version)
	w.write(t)
	return hex.EncodeToString(w.to.Sum(nil)[:16])
}

// A typeWriter writes what types are made of, each type once.
type typeWriter struct {
	to   hash.Hash // whose writes don't fail
	seen map[reflect.Type]int
}

func (w *typeWriter) write(t reflect.Type) {
	if n, ok := w.seen[t]; ok {
		fmt.Fprintf(w.to, "#%d ", n)
		return
	}
	w.seen[t] = len(w.seen)
	fmt.Fprintf(w.to, "%q %q %v ", t.PkgPath(), t.Name(), t.Kind())
	if t == reflect.TypeFor[Base]() {
		return // not the aggregate's state
	}
	for i := range codecPairs {
		if p := &codecPairs[i]; reflect.PointerTo(t).Implements(p.in) || reflect.PointerTo(t).Implements(p.out) {
			fmt.Fprintf(w.to, "%s ", p.name)
		}
	}
	switch t.Kind() {
	case reflect.Array:
		fmt.Fprintf(w.to, "%d ", t.Len())
		w.write(t.Elem())
	case reflect.Pointer, reflect.Slice:
		w.write(t.Elem())
	case reflect.Map:
		w.write(t.Key())
		w.write(t.Elem())
	case reflect.Struct:
		fmt.Fprintf(w.to, "%d ", t.NumField())
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprintf(w.to, "%q %t %q ", f.Name, f.Anonymous, f.Tag)
			w.write(f.Type)
		}
	case reflect.Interface, reflect.Func, reflect.Chan:
		fmt.Fprintf(w.to, "%q ", t.String())
	}
}
