package evtest

import (
	"reflect"
	"unsafe"

	"github.com/evsourcing/evsourcing"
)

// addressable returns v, or a copy of it, so that its unexported fields can be
// exposed.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

// field returns the field i of an addressable struct as if it were exported.
// States keep most of what they are in unexported fields.
func field(v reflect.Value, i int) reflect.Value {
	f := v.Field(i)
	if !f.CanInterface() {
		f = reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
	}
	return f
}

// hasExported reports whether a struct type has an exported or embedded field.
func hasExported(t reflect.Type) bool {
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() || f.Anonymous {
			return true
		}
	}
	return false
}

// baseOf returns the Base in the struct that a points to. It is not found by
// the methods of Aggregate's Base, because the struct may have fields of their
// names.
func baseOf(a any) *evsourcing.Base {
	return findBase(reflect.ValueOf(a).Elem())
}

func findBase(v reflect.Value) *evsourcing.Base {
	if b, ok := v.Addr().Interface().(*evsourcing.Base); ok {
		return b
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if v.Type().Field(i).Anonymous {
				if b := findBase(field(v, i)); b != nil {
					return b
				}
			}
		}
	}
	return nil
}

// isNil reports whether the event is nil or a nil pointer.
func isNil(e evsourcing.Event) bool {
	if e == nil {
		return true
	}
	v := reflect.ValueOf(e)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// valueType returns the type of an event, or what it points to.
func valueType(e evsourcing.Event) reflect.Type {
	t := reflect.TypeOf(e)
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
