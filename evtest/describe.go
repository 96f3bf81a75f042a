package evtest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evsourcing/evsourcing"
)

// describe returns what v is, as lines "path = value", one for each leaf, with
// unexported fields, and without [evsourcing.Base]. Values are equal, as this
// package understands it, if their descriptions are. That makes every
// difference one that can be shown.
//
// Pointers count for what they point to, times for their instant, and a nil
// slice or map as an empty one, unless strict. What an interface holds counts
// with its type.
func describe(v any, strict bool) []string {
	d := describer{strict: strict}
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return []string{"nil"}
	}
	for rv.Kind() == reflect.Pointer && !rv.IsNil() && rv.Elem().Kind() != reflect.Pointer {
		rv = rv.Elem()
	}
	d.walk("", rv)
	return d.lines
}

type describer struct {
	strict bool
	lines  []string
	above  []reflect.Value // pointers, maps and slices being described
}

func (d *describer) leaf(path, value string) {
	path = strings.TrimPrefix(path, ".")
	if path != "" {
		value = path + " = " + value
	}
	d.lines = append(d.lines, value)
}

func (d *describer) walk(path string, v reflect.Value) {
	v = addressable(v)
	text, ok := leafText(v)
	if !ok && !d.strict {
		text, ok = emptyJSON(v)
	}
	if ok {
		d.leaf(path, text)
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		switch {
		case v.IsNil():
			d.leaf(path, "nil")
		case v.Kind() == reflect.Interface:
			d.walk(fmt.Sprintf("%s.(%v)", path, v.Elem().Type()), v.Elem())
		default:
			d.within(path, v, func() { d.walk(path, v.Elem()) })
		}
	case reflect.Struct:
		d.fields(path, v)
	case reflect.Map:
		if d.empty(path, v, "{}") {
			return
		}
		d.within(path, v, func() { d.entries(path, v) })
	case reflect.Slice:
		if d.empty(path, v, "[]") {
			return
		}
		d.within(path, v, func() { d.elements(path, v) })
	case reflect.Array:
		d.elements(path, v)
	case reflect.String: // an empty json.Number
		d.leaf(path, `""`)
	default: // functions, channels and the like have no value to compare
		if v.IsZero() {
			d.leaf(path, "nil")
		} else {
			d.leaf(path, v.Type().String())
		}
	}
}

// empty describes a slice or map without elements.
func (d *describer) empty(path string, v reflect.Value, text string) bool {
	switch {
	case v.Len() > 0:
		return false
	case v.IsNil() && d.strict:
		d.leaf(path, "nil")
	default:
		d.leaf(path, text)
	}
	return true
}

// within describes what v refers to, unless that is what it is part of.
func (d *describer) within(path string, v reflect.Value, describe func()) {
	for _, a := range d.above {
		if a.Type() == v.Type() && a.UnsafePointer() == v.UnsafePointer() && (v.Kind() != reflect.Slice || a.Len() == v.Len()) {
			d.leaf(path, "(a cycle)")
			return
		}
	}
	d.above = append(d.above, v)
	describe()
	d.above = d.above[:len(d.above)-1]
}

func (d *describer) fields(path string, v reflect.Value) {
	t, n := v.Type(), 0
	for i := range t.NumField() {
		if t.Field(i).Type == reflect.TypeFor[evsourcing.Base]() {
			continue
		}
		n++
		d.walk(path+"."+t.Field(i).Name, field(v, i))
	}
	if n == 0 {
		d.leaf(path, "{}")
	}
}

func (d *describer) elements(path string, v reflect.Value) {
	for i := range v.Len() {
		d.walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
	}
}

func (d *describer) entries(path string, v reflect.Value) {
	type entry struct {
		key   string
		value reflect.Value
	}
	var entries []entry
	for k, value := range v.Seq2() {
		key := describer{strict: d.strict, above: d.above}
		key.walk("", k)
		entries = append(entries, entry{strings.Join(key.lines, ", "), value})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	for _, e := range entries {
		d.walk(path+"["+e.key+"]", e.value)
	}
}

// leafText returns the text of a value that is not looked into.
func leafText(v reflect.Value) (string, bool) {
	if t, ok := v.Interface().(time.Time); ok {
		return t.UTC().Format(time.RFC3339Nano), true
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if d, ok := v.Interface().(time.Duration); ok {
			return d.String(), true
		}
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(v.Uint(), 10), true
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()), true
	case reflect.Complex64, reflect.Complex128:
		return strconv.FormatComplex(v.Complex(), 'g', -1, v.Type().Bits()), true
	case reflect.String:
		if n, ok := v.Interface().(json.Number); ok {
			return string(n), n != ""
		}
		return strconv.Quote(v.String()), true
	case reflect.Slice:
		if v.Len() > 0 && v.Type().Elem().Kind() == reflect.Uint8 {
			return strconv.Quote(string(v.Bytes())), true
		}
	case reflect.Struct, reflect.Array:
		return opaqueText(v)
	}
	return "", false
}

// emptyJSON returns the text of an empty value that encoding/json does not write
// as empty.
func emptyJSON(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case json.RawMessage:
		return strconv.Quote("null"), len(x) == 0
	case json.Number:
		return "0", x == ""
	}
	return "", false
}

// opaqueText returns the text of a value whose type shows nothing else of
// itself: a decimal number, a UUID, an address.
func opaqueText(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Struct && hasExported(v.Type()) {
		return "", false
	}
	m, ok := v.Addr().Interface().(encoding.TextMarshaler)
	if !ok {
		return "", false
	}
	text, err := m.MarshalText()
	return string(text), err == nil
}
