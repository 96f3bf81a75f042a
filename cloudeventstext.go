package evsourcing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

// What the specification of CloudEvents says about texts, and how names are
// made to fit.

// isLegalRune reports whether a string of CloudEvents may contain r.
func isLegalRune(r rune) bool {
	switch {
	case r < 0x20, 0x7F <= r && r <= 0x9F: // control characters
		return false
	case 0xFDD0 <= r && r <= 0xFDEF, r&0xFFFE == 0xFFFE: // noncharacters
		return false
	}
	return true
}

// isLegalText reports whether s can be the value of an attribute. The empty
// string can't, by the definition of most attributes.
func isLegalText(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !isLegalRune(r) }) < 0
}

// legalText returns s with U+FFFD in place of what may not be in a string.
func legalText(s string) string {
	return strings.Map(func(r rune) rune {
		if isLegalRune(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// escapeText returns the JSON text with escapes in place of characters that
// JSON may contain and a string of CloudEvents may not.
func escapeText(text string) string {
	if isLegalText(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case isLegalRune(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// hasLoneSurrogate reports whether a valid JSON string has half of a surrogate
// pair in it, which decoding would replace without a word.
func hasLoneSurrogate(quoted []byte) bool {
	high := false // the escape before this place is the first half of a pair
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			if high {
				return true
			}
			continue
		}
		i++
		isHigh, isLow := false, false
		if quoted[i] == 'u' {
			digits := bytes.ToLower(quoted[i+1 : i+5])
			isHigh = digits[0] == 'd' && '8' <= digits[1] && digits[1] <= 'b'
			isLow = digits[0] == 'd' && 'c' <= digits[1] && digits[1] <= 'f'
			i += 4
		}
		if high != isLow {
			return true
		}
		high = isHigh
	}
	return high
}

// isAttributeName reports whether s may name an attribute.
func isAttributeName(s string) bool {
	for i := range len(s) {
		if !('a' <= s[i] && s[i] <= 'z' || '0' <= s[i] && s[i] <= '9') {
			return false
		}
	}
	return s != "" && s != "data"
}

// isExtensionName reports whether metadata with the key s becomes an attribute
// of that name.
func isExtensionName(s string) bool {
	const recommended = 20 // the most characters that a name should have
	switch s {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema",
		ceCorrelation, ceCausation, ceVersion, cePosition, ceTopic, ceStream, ceContentType, ceTags, ceMetadata:
		return false
	}
	return len(s) <= recommended && isAttributeName(s)
}

// isURIReference reports whether s is a URI reference by RFC 3986, and not
// empty.
func isURIReference(s string) bool {
	_, ok := parseURI(s)
	return ok
}

// isURI reports whether s is a URI with a scheme.
func isURI(s string) bool {
	u, ok := parseURI(s)
	return ok && u.Scheme != ""
}

func parseURI(s string) (*url.URL, bool) {
	const legal = "-._~:/?#[]@!$&'()*+,;=%"
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(legal, c) >= 0) {
			return nil, false
		}
		if c == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return nil, false
		}
	}
	u, err := url.Parse(s)
	if s == "" || err != nil || strings.Count(s, "#") > 1 {
		return nil, false
	}
	if strings.ContainsAny(s, "[]") && strings.ContainsAny(strings.Replace(s, "["+u.Hostname()+"]", "", 1), "[]") {
		return nil, false // brackets are for the addresses of hosts
	}
	return u, true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isMediaType reports whether s is a media type, with or without parameters.
func isMediaType(s string) bool {
	t, _, err := mime.ParseMediaType(s)
	return err == nil && strings.Count(t, "/") == 1 && isLegalText(s) && strings.Trim(s, " ;") == s
}

// isJSON reports whether the media type declares data to be JSON.
func isJSON(mediaType string) bool {
	t := bareMediaType(mediaType)
	return strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}

// isBareJSON reports whether data is one JSON value and nothing else: as a
// member of an object, it comes back byte for byte.
func isBareJSON(data []byte) bool {
	return len(bytes.TrimSpace(data)) == len(data) && utf8.Valid(data) && json.Valid(data)
}

// subjectOf returns a stream's name as an attribute, and streamOf the stream of
// an attribute. The two are each other's inverse for what is in most streams'
// names.
func subjectOf(s StreamID) string {
	if s.Type == "" {
		return s.ID
	}
	return s.Type + "/" + s.ID
}

func streamOf(subject string) StreamID {
	typ, id, ok := strings.Cut(subject, "/")
	if !ok {
		return StreamID{ID: subject}
	}
	return StreamID{Type: typ, ID: id}
}
