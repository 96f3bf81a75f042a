package storetest

import (
	"slices"
	"strings"

	"github.com/evsourcing/evsourcing"
)

func nameCases() []testCase {
	return []testCase{
		{"streams with hostile and similar names are kept apart", ruleNames, nil, checkStreamNames},
		{"streams whose type and ID join to the same text are kept apart", ruleNames, nil, checkJoinedNames},
		{"hostile names of topics and other fields come back", ruleNames, nil, checkFieldNames},
		{"the log finds hostile topics and types", ruleNames, []capability{hasLog}, checkNameFilters},
	}
}

// hostileNames returns names that are valid and different from one another,
// and that a store may confuse, cut, fold, expand or execute.
func hostileNames() []string {
	return []string{
		// Equal to some collations, foldings and normal forms.
		"name", "Name", "NAME", "name ", " name", "name  ", "name\t", "name\n", "\u00a0name", "na\u200dme", "na\u00adme", "\ufeffname",
		"é", "e\u0301", "E\u0301", "É", "ñ", "n\u0303", "n",
		"straße", "strasse", "STRASSE", "ﬁn", "fin", "K", "\u212a", "Å", "\u212b", "A\u030a", "ａ", "a",
		"i", "I", "ı", "İ", "i\u0307", "ς", "σ", "Σ",
		// Equal as numbers or as words of SQL and JSON.
		"1", "01", "1.0", "1e0", "+1", "0x1", "-0", "0", "00", "null", "NULL", "nil", "true", "t", "NaN", "Infinity",
		// Quotes, comments, placeholders and wildcards.
		"'", "''", `"`, `""`, "`", "'; DROP TABLE events; --", `" OR 1=1 --`, "/* */", "--", ";", "$1", "?", ":id", "@p1", "{0}", "%s%n%d",
		"%", "_", "n_me", "n%", "*", "[a-z]", "[", "^n.*$", "(", "#{x}", "${x}", "$(x)", "<script>", "&amp;", "&",
		// Escapes and paths.
		`\`, `\\`, `\'`, `\0`, `\x00`, `\u0000`, `\n`, "/", "//", ".", "..", "../../etc/passwd", "a/b", "a/b/", `C:\temp`, "a:b", "a|b", "a,b", "a-b", "a.b", "a b", "a+b", "a%20b", "a=b",
		// Control characters and the ends of Unicode.
		"\n", "\r\n", "\r", "\t", " ", "\x01", "\x1f", "\x7f", "\u0085", "\u2028", "\u200b", "\u202eright", "\ufffd", "\ufffe", "\uffff", "\U0001f600", "\U0010ffff",
		"日本語", "עברית", "العربية", "🏳️‍🌈", "🏳️", "z̶̢a̷l̸g̵o̴",
		// As long as a name may be, and different at the end only.
		longName(""), longName("x"), longName("y"), longName(" "), longName("é"), longName("\U0001f600"),
	}
}

// longName returns a name of the greatest length that ends with the suffix.
func longName(suffix string) string {
	return strings.Repeat("n", evsourcing.MaxNameSize-len(suffix)) + suffix
}

func checkStreamNames(s *suite) {
	names := hostileNames()
	for i, name := range names {
		id := evsourcing.StreamID{Type: "storetest", ID: name}
		if i%2 == 0 {
			s.put(newBatch(id, 0, 1+i%3))
		} else {
			s.put(newBatch(id, evsourcing.AnyVersion, 1+i%3))
		}
	}
	for _, name := range names {
		s.put(newBatch(evsourcing.StreamID{Type: name, ID: "an ID"}, 0, 1), newBatch(evsourcing.StreamID{Type: name, ID: name}, 0, 1))
	}
	s.verify()
}

func checkJoinedNames(s *suite) {
	for _, pair := range []evsourcing.StreamID{
		{Type: "a", ID: "bc"}, {Type: "ab", ID: "c"},
		{Type: "a", ID: "b/c"}, {Type: "a/b", ID: "c"}, {Type: "a/", ID: "b/c"}, {Type: "a", ID: "/b/c"},
		{Type: "a", ID: "b-c"}, {Type: "a-b", ID: "c"}, {Type: "a-", ID: "b-c"}, {Type: "a", ID: "-b-c"},
		{Type: "a", ID: "b:c"}, {Type: "a:b", ID: "c"}, {Type: "a|b", ID: "c"}, {Type: "a", ID: "b|c"},
		{Type: "a\n", ID: "b"}, {Type: "a", ID: "\nb"}, {Type: "a\x1f", ID: "b"}, {Type: "a", ID: "\x1fb"},
		{Type: `a","b`, ID: "c"}, {Type: "a", ID: `b","c`}, {Type: "c", ID: `a","b`},
		{Type: "a b", ID: "c"}, {Type: "a", ID: "b c"}, {Type: "bc", ID: "a"}, {Type: "c", ID: "ab"},
		{Type: "aa", ID: "a"}, {Type: "a", ID: "aa"}, {Type: "a%2Fb", ID: "c"}, {Type: "a", ID: "b%2Fc"},
	} {
		s.put(newBatch(pair, 0, 1))
		s.put(newBatch(pair, 1, 2))
	}
	s.verify()
}

// namedEvents stores, for each name, an event whose every other name it is.
func (s *suite) namedEvents(names []string) {
	for _, name := range names {
		e := newEvent()
		e.Topic, e.ContentType, e.Tags = name, name, []string{name, "tag"}
		e.Metadata = evsourcing.Metadata{name: name, "the key": name + name}
		s.put(batchOf(evsourcing.StreamID{Type: name, ID: "1"}, 0, e))
	}
}

func checkFieldNames(s *suite) {
	s.namedEvents(hostileNames())
	s.verify()
}

func checkNameFilters(s *suite) {
	names := hostileNames()
	s.namedEvents(names)
	log := s.model.log()
	for _, name := range names {
		s.checkFilter(log, evsourcing.Range{}, evsourcing.Filter{Topics: []string{name}})
		s.checkFilter(log, evsourcing.Range{}, evsourcing.Filter{Types: []string{name}})
	}
	s.checkFilter(log, evsourcing.Range{}, evsourcing.Filter{Topics: slices.Clone(names), Types: names})
}
