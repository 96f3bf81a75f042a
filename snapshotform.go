package evsourcing

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
)

// errStateLost follows on the name of a field.
var errStateLost = errors.New("is not the same after it was encoded and decoded")

// A snapshotForm is how the state of one type of aggregate is encoded.
type snapshotForm struct {
	typ         reflect.Type // the struct
	encoder     Encoder      // nil if the aggregate is a Snapshotter
	contentType string
	fingerprint string
}

// newSnapshotForm returns the form for the struct t, or an error that names the
// part of it that no snapshot can keep, and the remedy.
func newSnapshotForm(t reflect.Type, encoder Encoder, version string) (*snapshotForm, error) {
	f := &snapshotForm{typ: t, encoder: encoder, contentType: encoder.ContentType()}
	var err error
	if reflect.PointerTo(t).Implements(reflect.TypeFor[Snapshotter]()) {
		f.encoder, f.contentType = nil, "application/octet-stream"
		err = checkPromoted(t, t.Name(), snapshotPair)
	} else {
		err = checkSnapshotType(t, encoder)
	}
	if err != nil {
		return nil, err
	}
	f.fingerprint = fingerprint(t, f.encoder == nil, f.contentType, version)
	return f, nil
}

// encode returns the state of the aggregate a, a *T. Data that does not decode
// to the same state is an error.
func (f *snapshotForm) encode(a Aggregate) (data []byte, err error) {
	defer errorOfPanic(&err)
	if s, ok := a.(Snapshotter); f.encoder == nil && ok {
		data, err = s.MarshalSnapshot()
	} else {
		data, err = f.encoder.Marshal(a)
	}
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	again := reflect.New(f.typ)
	decoded := again.Interface().(Aggregate)
	*decoded.base() = *a.base()
	if err := f.decode(data, decoded); err != nil {
		return nil, err
	}
	state := reflect.ValueOf(a).Elem()
	if !reflect.DeepEqual(a, decoded) {
		return nil, fmt.Errorf("%s %w", difference(state, again.Elem()), errStateLost)
	}
	if f.encoder != nil {
		if one, other, ok := shared(state, pairsOf(f.encoder)); ok {
			return nil, fmt.Errorf("the fields %s and %s have memory in common, which encoding separates", one, other)
		}
	}
	return data, nil
}

// decode sets the state of the aggregate a, a *T of which nothing is set but its
// Base. That is left as it was. It panics if a Snapshotter or encoder does.
func (f *snapshotForm) decode(data []byte, a Aggregate) (err error) {
	b := a.base()
	keep := *b
	if s, ok := a.(Snapshotter); f.encoder == nil && ok {
		err = s.UnmarshalSnapshot(data)
	} else {
		err = f.encoder.Unmarshal(data, a)
	}
	*b = keep
	if err != nil {
		return fmt.Errorf("decode the state: %w", err)
	}
	return nil
}

// errorOfPanic sets *err if there is a panic. It is to be deferred.
func errorOfPanic(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
	}
}

// difference names the first field in which two structs differ.
func difference(a, b reflect.Value) string {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if f.IsExported() && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return "the field " + f.Name
		}
	}
	return "an unexported field"
}
