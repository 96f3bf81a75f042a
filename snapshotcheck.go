package evsourcing

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// A codecPair is the two methods by which a type encodes itself.
type codecPair struct {
	name    string       // what follows on Marshal and Unmarshal
	in, out reflect.Type // interfaces with one of them each
	marshal func(v any) ([]byte, error)
}

func newCodecPair[In, Out any](name string, marshal func(In) ([]byte, error)) codecPair {
	return codecPair{name, reflect.TypeFor[In](), reflect.TypeFor[Out](), func(v any) (data []byte, err error) {
		defer errorOfPanic(&err)
		return marshal(v.(In))
	}}
}

type (
	gobEncoder          interface{ GobEncode() ([]byte, error) }
	gobDecoder          interface{ GobDecode([]byte) error }
	cborMarshaler       interface{ MarshalCBOR() ([]byte, error) }
	cborUnmarshaler     interface{ UnmarshalCBOR([]byte) error }
	msgpackMarshaler    interface{ MarshalMsgpack() ([]byte, error) }
	msgpackUnmarshaler  interface{ UnmarshalMsgpack([]byte) error }
	snapshotMarshaler   interface{ MarshalSnapshot() ([]byte, error) }
	snapshotUnmarshaler interface{ UnmarshalSnapshot([]byte) error }
)

// codecPairs are those that are looked for; the first two are encoding/json's,
// in the order in which it prefers them.
var codecPairs = [...]codecPair{
	newCodecPair[json.Marshaler, json.Unmarshaler]("JSON", json.Marshaler.MarshalJSON),
	newCodecPair[encoding.TextMarshaler, encoding.TextUnmarshaler]("Text", encoding.TextMarshaler.MarshalText),
	newCodecPair[encoding.BinaryMarshaler, encoding.BinaryUnmarshaler]("Binary", encoding.BinaryMarshaler.MarshalBinary),
	newCodecPair[gobEncoder, gobDecoder]("Gob", gobEncoder.GobEncode),
	newCodecPair[cborMarshaler, cborUnmarshaler]("CBOR", cborMarshaler.MarshalCBOR),
	newCodecPair[msgpackMarshaler, msgpackUnmarshaler]("Msgpack", msgpackMarshaler.MarshalMsgpack),
}

// snapshotPair is a Snapshotter's.
var snapshotPair = newCodecPair[snapshotMarshaler, snapshotUnmarshaler]("Snapshot", snapshotMarshaler.MarshalSnapshot)

// pairsOf returns the pairs that the encoder knows, or may know.
func pairsOf(e Encoder) []codecPair {
	if isJSON(e.ContentType()) {
		return codecPairs[:2]
	}
	return codecPairs[:]
}

// A typeCheck looks in a type for what its encoded values would lose.
type typeCheck struct {
	pairs []codecPair // that the encoder knows
	json  bool        // the rules of encoding/json are the encoder's
	seen  map[seenType]bool
}

type seenType struct {
	reflect.Type
	addressable bool
}

// checkSnapshotType returns an error that names the field of the struct t that
// the encoder would lose, and the remedy. Of an encoder that isn't for JSON it
// assumes no more than that it sees what reflection can set.
func checkSnapshotType(t reflect.Type, encoder Encoder) error {
	c := &typeCheck{pairs: pairsOf(encoder), json: isJSON(encoder.ContentType()), seen: map[seenType]bool{}}
	name := t.Name()
	done, err := c.encodesItself(t, name, true)
	if !done && err == nil { // not seen: within itself, it is another aggregate
		err = c.fields(t, name, true, &structCheck{names: map[string]string{}, root: true})
	}
	return err
}

// check looks into values of the type t that are found at path. Only what is
// addressable is encoded by the methods of pointers.
func (c *typeCheck) check(t reflect.Type, path string, addressable bool) error {
	key := seenType{t, addressable}
	if c.seen[key] {
		return nil
	}
	c.seen[key] = true
	switch t.Kind() {
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %v", path, t.Kind())
	case reflect.Pointer:
		return c.check(t.Elem(), path, true)
	case reflect.Interface:
		if c.json {
			return fmt.Errorf("%s is an interface, of which JSON does not keep the type inside", path)
		}
		return nil // it depends on the encoder
	case reflect.Complex64, reflect.Complex128:
		if c.json {
			return fmt.Errorf("%s is a complex number, which JSON does not have", path)
		}
		return nil
	}
	if done, err := c.encodesItself(t, path, addressable); done || err != nil {
		return err
	}
	switch t.Kind() {
	case reflect.Slice:
		return c.check(t.Elem(), path+"[]", true)
	case reflect.Array:
		return c.check(t.Elem(), path+"[]", addressable)
	case reflect.Map:
		if err := c.checkKey(t.Key(), path); err != nil {
			return err
		}
		return c.check(t.Elem(), path+"[]", false)
	case reflect.Struct:
		return c.fields(t, path, addressable, &structCheck{names: map[string]string{}})
	}
	return nil
}

// encodesItself reports whether the type's own methods encode and decode it.
func (c *typeCheck) encodesItself(t reflect.Type, path string, addressable bool) (bool, error) {
	for _, p := range c.pairs {
		in := t.Implements(p.in) || addressable && reflect.PointerTo(t).Implements(p.in)
		out := reflect.PointerTo(t).Implements(p.out)
		if in && out {
			return true, checkPromoted(t, path, p)
		}
		if c.json && in != out {
			if !addressable && reflect.PointerTo(t).Implements(p.in) {
				return false, fmt.Errorf("%s is a %v, whose Marshal%s needs a pointer that there is not in a map", path, t, p.name)
			}
			return false, fmt.Errorf("%s is a %v, which has only one of Marshal%[3]s and Unmarshal%[3]s", path, t, p.name)
		}
	}
	return false, nil
}

// checkPromoted finds methods that are those of an embedded field, and know
// nothing of the other fields. Reflection does not tell, but what they return
// does.
func checkPromoted(t reflect.Type, path string, p codecPair) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	state := 0
	for i := range t.NumField() {
		if f := t.Field(i); f.Type.Size() > 0 && f.Type != reflect.TypeFor[Base]() {
			state++
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		part := f.Type
		if part.Kind() == reflect.Pointer {
			part = part.Elem()
		}
		if !f.Anonymous || state < 2 || part.Kind() == reflect.Interface || !reflect.PointerTo(part).Implements(p.in) {
			continue
		}
		whole, alone := reflect.New(t), reflect.New(part)
		if f.Type.Kind() == reflect.Pointer && f.IsExported() {
			whole.Elem().Field(i).Set(alone)
		}
		one, err1 := p.marshal(whole.Interface())
		other, err2 := p.marshal(alone.Interface())
		if err1 == nil && err2 == nil && bytes.Equal(one, other) {
			return fmt.Errorf("%s is encoded as its field %s alone, whose methods it has by embedding", path, f.Name)
		}
	}
	return nil
}

func (c *typeCheck) checkKey(t reflect.Type, path string) error {
	if !c.json {
		return c.check(t, path+"[key]", false)
	}
	text := codecPairs[1]
	in, out := t.Implements(text.in), reflect.PointerTo(t).Implements(text.out)
	if in && out {
		return nil
	}
	switch t.Kind() {
	case reflect.String: // used as it is
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if !in && !out {
			return nil
		}
	}
	return fmt.Errorf("%s is a map whose keys, %v, JSON can't have", path, t)
}

// structCheck is what the check of a struct and of those embedded in it share.
type structCheck struct {
	names map[string]string // paths of fields by JSON name
	outer []reflect.Type    // structs in which the present one is embedded
	root  bool              // the outermost is the aggregate, whose Base is no state
}

// fields checks the fields of the struct t.
func (c *typeCheck) fields(t reflect.Type, path string, addressable bool, s *structCheck) error {
	s.outer = append(s.outer, t)
	defer func() { s.outer = s.outer[:len(s.outer)-1] }()
	for i := range t.NumField() {
		f := t.Field(i)
		path := path + "." + f.Name
		if f.Name == "_" || !f.IsExported() && f.Type.Size() == 0 || s.root && f.Anonymous && f.Type == reflect.TypeFor[Base]() {
			continue
		}
		name := f.Name
		tagged := false
		if c.json {
			tag := f.Tag.Get("json")
			if tag == "-" {
				return fmt.Errorf("%s has the tag %q", path, `json:"-"`)
			}
			if n, _, _ := strings.Cut(tag, ","); validTag(n) {
				name, tagged = n, true
			}
		}
		if f.Anonymous && !tagged {
			if done, err := c.embedded(&f, path, addressable, s); done || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		if !f.IsExported() {
			return fmt.Errorf("%s is unexported", path)
		}
		if other, ok := s.names[name]; ok && c.json {
			return fmt.Errorf("%s and %s have the same JSON name, %q", other, path, name)
		}
		s.names[name] = path
		if err := c.check(f.Type, path, addressable); err != nil {
			return err
		}
	}
	return nil
}

// embedded checks an embedded struct, whose fields are encoded as if they were
// those of the outer one. It returns false if the field is not one.
func (c *typeCheck) embedded(f *reflect.StructField, path string, addressable bool, s *structCheck) (bool, error) {
	t := f.Type
	pointer := t.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false, nil
	}
	if !c.json {
		if done, err := c.encodesItself(t, path, addressable); done || err != nil {
			return done, err
		}
	}
	if pointer && !f.IsExported() {
		return true, fmt.Errorf("%s is an embedded pointer to an unexported struct", path)
	}
	for _, outer := range s.outer {
		if outer == t {
			return true, fmt.Errorf("%s embeds its own type", path)
		}
	}
	return true, c.fields(t, path, addressable || pointer, s)
}

// validTag reports whether encoding/json takes the name in a tag.
func validTag(s string) bool {
	for _, r := range s {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return s != ""
}
