package evtest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"
)

// A generator fills values of any type with random content, as far as that
// survives being stored: strings are valid UTF-8, numbers finite.
type generator struct {
	rand   *rand.Rand
	values map[reflect.Type]reflect.Value // func(*rand.Rand) X, by X
	full   bool                           // for samples: nothing is empty, and no field's value depends on another field
	pkg    string                         // whose unexported fields are filled
	depth  int
	cannot []string // fields for which there are no values
}

// deepest is how far recursive types are followed.
const deepest = 6

// makers returns functions of the form func(*rand.Rand) X by their X.
func makers(funcs []any) (map[reflect.Type]reflect.Value, error) {
	m := map[reflect.Type]reflect.Value{}
	for _, f := range funcs {
		v := reflect.ValueOf(f)
		t := reflect.TypeOf(f)
		if f == nil || t.Kind() != reflect.Func || v.IsNil() || t.NumIn() != 1 || t.NumOut() != 1 || t.In(0) != reflect.TypeFor[*rand.Rand]() || t.IsVariadic() {
			return nil, fmt.Errorf("evtest: Values has a %T, want a func(*rand.Rand) X of math/rand/v2", f)
		}
		m[t.Out(0)] = v
	}
	return m, nil
}

// fill sets an addressable value.
func (g *generator) fill(path string, v reflect.Value) {
	t := v.Type()
	if g.full {
		h := fnv.New64a()
		_, _ = h.Write([]byte(path))
		g.rand = rand.New(rand.NewPCG(h.Sum64(), 0))
	}
	if f, ok := g.values[t]; ok {
		v.Set(f.Call([]reflect.Value{reflect.ValueOf(g.rand)})[0])
		return
	}
	if g.known(v) {
		return
	}
	g.depth++
	defer func() { g.depth-- }()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(g.full || g.rand.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if g.full {
			v.SetInt(1 + g.rand.Int64N(100))
			return
		}
		v.SetInt(g.integer() >> (64 - t.Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if g.full {
			v.SetUint(1 + g.rand.Uint64N(100))
			return
		}
		v.SetUint(uint64(g.integer()) >> (64 - t.Bits()))
	case reflect.Float32:
		v.SetFloat(float64(float32(g.rand.NormFloat64() * 1000)))
	case reflect.Float64:
		v.SetFloat(g.rand.NormFloat64() * 1000)
	case reflect.Complex64, reflect.Complex128:
		v.SetComplex(complex(float64(float32(g.rand.NormFloat64())), 1))
	case reflect.String:
		v.SetString(g.text())
	case reflect.Pointer:
		if g.more() {
			p := reflect.New(t.Elem())
			g.fill(path, p.Elem())
			v.Set(p)
		}
	case reflect.Slice:
		g.slice(path, v)
	case reflect.Array:
		for i := range t.Len() {
			g.fill(path+"[]", v.Index(i))
		}
	case reflect.Map:
		g.entries(path, v)
	case reflect.Struct:
		g.fields(path, v)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			g.cannot = append(g.cannot, fmt.Sprintf("%s, of interface type %v", strings.TrimPrefix(path, "."), t))
			return
		}
		v.Set(reflect.ValueOf([]any{true, 1.5, g.text()}[g.rand.IntN(3)]))
	default: // functions and channels can't be stored; the codec says so
	}
}

// known fills the types of the standard library that would not fill themselves
// by their structure.
func (g *generator) known(v reflect.Value) bool {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(g.rand.Int64N(4_000_000_000), 0).UTC()
		if !g.full {
			*p = p.Add(time.Duration(g.rand.IntN(1e9)))
		}
		if !g.full && g.rand.IntN(2) == 0 {
			*p = p.In(time.FixedZone("", (g.rand.IntN(27)-13)*3600))
		}
	case *json.RawMessage:
		*p = json.RawMessage([]string{`{"a":1}`, `[1,2]`, `"x"`, `17`}[g.rand.IntN(4)])
	case *json.Number:
		*p = json.Number(fmt.Sprint(g.rand.IntN(1000)))
	case *big.Int:
		p.SetInt64(g.integer())
	case *big.Rat:
		p.SetFrac64(g.integer(), 1+g.rand.Int64N(1000))
	case *big.Float:
		p.SetInt64(int64(g.rand.IntN(1000)))
	default:
		return false
	}
	return true
}

// integer returns a number of 64 bits, whose upper ones are what smaller types
// take. One in eight is zero.
func (g *generator) integer() int64 {
	if g.rand.IntN(8) == 0 {
		return 0
	}
	return int64(g.rand.Uint64())
}

// text returns a string of up to 8 letters, among them some that encodings
// treat specially.
func (g *generator) text() string {
	const letters = "abcdefghijkl ABC 0123 <&>\"'\\\n\u0000\u2028é世😀"
	runes := []rune(letters)
	var b strings.Builder
	for range g.length(8) {
		b.WriteRune(runes[g.rand.IntN(len(runes))])
	}
	if g.full {
		return "text " + fmt.Sprint(g.rand.IntN(1000))
	}
	return b.String()
}

// more reports whether to go deeper.
func (g *generator) more() bool {
	return g.depth < deepest && (g.full || g.rand.IntN(5) > 0)
}

func (g *generator) length(most int) int {
	if g.full {
		return 1 + g.rand.IntN(most)
	}
	return g.rand.IntN(most + 1)
}

// slice makes a slice, which may have more capacity than length.
func (g *generator) slice(path string, v reflect.Value) {
	if !g.more() {
		return
	}
	n := g.length(3)
	room := n
	if n > 0 {
		room += g.rand.IntN(3)
	}
	v.Set(reflect.MakeSlice(v.Type(), n, room))
	for i := range n {
		g.fill(path+"[]", v.Index(i))
	}
}

func (g *generator) entries(path string, v reflect.Value) {
	if !g.more() {
		return
	}
	t := v.Type()
	v.Set(reflect.MakeMap(t))
	for range g.length(3) {
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		g.fill(path+"[key]", key)
		g.fill(path+"[]", value)
		if key.Comparable() {
			v.SetMapIndex(key, value)
		}
	}
}

// fields fills a struct. Unexported fields are filled in the package of the
// event, where they show that they get lost; elsewhere, and in types that encode
// themselves, they are somebody else's business.
func (g *generator) fields(path string, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "_":
		case f.IsExported():
			g.fill(path+"."+f.Name, v.Field(i))
		case f.PkgPath == g.pkg && !encodesItself(v):
			g.fill(path+"."+f.Name, field(v, i))
		}
	}
}

// encodesItself reports whether the type has methods that encode or decode it.
func encodesItself(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler, encoding.BinaryMarshaler, interface{ GobEncode() ([]byte, error) }:
		return true
	}
	return false
}
