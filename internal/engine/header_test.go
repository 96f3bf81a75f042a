package engine_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "a", `"`, `\`, "a,b", `":"`, "\x01", "\u2028é", `{`, `]`} {
		f.Add(s, "b"+s, "c")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) || !utf8.ValidString(c) {
			return
		}
		tags := []string{a, b, c}
		text := engine.FormatTags(tags)
		if !json.Valid([]byte(text)) {
			t.Fatalf("not JSON: %s", text)
		}
		got, err := engine.ParseTags(text)
		if err != nil || !slices.Equal(got, tags) {
			t.Errorf("%q came back as %q, %v", tags, got, err)
		}
		m := evsourcing.Metadata{a: b, b: c, c: a}
		text = engine.FormatMetadata(m)
		if !json.Valid([]byte(text)) {
			t.Fatalf("not JSON: %s", text)
		}
		gotm, err := engine.ParseMetadata(text)
		if err != nil || !maps.Equal(gotm, m) {
			t.Errorf("%q came back as %q, %v", m, gotm, err)
		}
		_, _ = engine.ParseTags(a)
		_, _ = engine.ParseMetadata(b)
	})
}

func TestDamagedHeadersAreErrors(t *testing.T) {
	for _, s := range []string{"x", "[", "{", "null", `["a"`, `["a"}`, `{"a":"b"`, `{"a"}`, `{"a":1}`, `[1]`, `{"a":"b"]`} {
		if _, err := engine.ParseMetadata(s); err == nil {
			t.Errorf("ParseMetadata(%s) has no error", s)
		}
		if _, err := engine.ParseTags(s); err == nil && s != "null" {
			t.Errorf("ParseTags(%s) has no error", s)
		}
	}
}
