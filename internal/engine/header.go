package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evsourcing/evsourcing"
)

// FormatTags returns tags as a JSON array, or nothing if there are none.
func FormatTags(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	var buf []byte
	for i, tag := range tags {
		buf = append(buf, "[,"[min(i, 1)])
		buf = appendText(buf, tag)
	}
	return string(append(buf, ']'))
}

// FormatMetadata returns m as a JSON object with sorted keys, or nothing if it
// is empty.
func FormatMetadata(m evsourcing.Metadata) string {
	if len(m) == 0 {
		return ""
	}
	var few [8]string
	keys := few[:0]
	size := 2
	for k, v := range m {
		keys = append(keys, k)
		size += len(k) + len(v) + len(`"":"",`)
	}
	slices.Sort(keys)
	buf := make([]byte, 0, size)
	for i, k := range keys {
		buf = append(buf, "{,"[min(i, 1)])
		buf = append(appendText(buf, k), ':')
		buf = appendText(buf, m[k])
	}
	return string(append(buf, '}'))
}

// appendText appends s, which is valid UTF-8, as a JSON string.
func appendText(buf []byte, s string) []byte {
	const hex = "0123456789abcdef"
	buf = append(buf, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		buf = append(buf, s[start:i]...)
		if c < ' ' {
			buf = append(buf, `\u00`...)
			buf = append(buf, hex[c>>4], hex[c&15])
		} else {
			buf = append(buf, '\\', c)
		}
		start = i + 1
	}
	return append(append(buf, s[start:]...), '"')
}

// ParseTags is the reverse of [FormatTags].
func ParseTags(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	var tags []string
	if strings.IndexByte(s, '\\') < 0 && len(s) >= 4 && s[0] == '[' {
		for rest := s; ; {
			tag, after, ok := cutText(rest[1:])
			if !ok {
				break
			}
			tags = append(tags, tag)
			if after == "]" {
				return tags, nil
			}
			if after == "" || after[0] != ',' {
				break
			}
			rest = after
		}
		tags = nil
	}
	if err := json.Unmarshal([]byte(s), &tags); err != nil {
		return nil, fmt.Errorf("the tags are damaged: %w", err)
	}
	return tags, nil
}

// ParseMetadata is the reverse of [FormatMetadata].
func ParseMetadata(s string) (evsourcing.Metadata, error) {
	if s == "" {
		return nil, nil
	}
	if m, ok := parsePlain(s); ok {
		return m, nil
	}
	var m evsourcing.Metadata
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		return nil, fmt.Errorf("the metadata is damaged: %w", err)
	}
	if m == nil {
		return nil, errors.New("the metadata is damaged: it is null")
	}
	return m, nil
}

// parsePlain parses an object without any escape, as nearly all are.
func parsePlain(s string) (evsourcing.Metadata, bool) {
	if s[0] != '{' || strings.IndexByte(s, '\\') >= 0 {
		return nil, false
	}
	m := make(evsourcing.Metadata, strings.Count(s, `":"`))
	for rest := s; ; {
		k, after, ok := cutText(rest[1:])
		if !ok || after == "" || after[0] != ':' {
			return nil, false
		}
		v, after, ok := cutText(after[1:])
		if !ok {
			return nil, false
		}
		m[k] = v
		if after == "}" {
			return m, true
		}
		if after == "" || after[0] != ',' {
			return nil, false
		}
		rest = after
	}
}

// cutText takes a JSON string without escapes off s.
func cutText(s string) (text, after string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	text, after, ok = strings.Cut(s[1:], `"`)
	return text, after, ok
}
