package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/evsourcing/evsourcing"
)

func fidelityCases() []testCase {
	return []testCase{
		{"data comes back byte for byte", ruleBytes, nil, checkData},
		{"a megabyte of data comes back", ruleBytes, nil, checkMegabyte},
		{"time comes back to the microsecond in UTC", ruleTime, nil, checkTime},
		{"tags and metadata come back", ruleNames, nil, checkTagsAndMetadata},
		{"an event without extras comes back", ruleNames, nil, checkBareEvent},
	}
}

// checkData stores data that a store may take for text, for JSON or for a
// number, and improve.
func checkData(s *suite) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	list := [][]byte{
		nil,
		{},
		{0},
		{0xff},
		{0, 0, 0, 0},
		all,
		[]byte("\xef\xbb\xbfafter a byte order mark"),
		[]byte("\xff\xfe\x00\xd8 not UTF-8 \xc3\x28"),
		[]byte(" spaces at both ends "),
		[]byte("lines\r\nof\nall\rkinds\n"),
		[]byte("\ttrailing NUL\x00"),
		[]byte(""),
		[]byte("0"),
		[]byte("007"),
		[]byte("1e400"),
		[]byte("null"),
		[]byte(`"text"`),
		[]byte(`'; DROP TABLE events; --`),
		[]byte(`\x00\u0000\\`),
		[]byte(`{"b":1, "a" : 2,"b":3}`),
		[]byte("{\n\t\"big\": 12345678901234567890.10,\n\t\"small\": 1.0e-7\n}\n"),
		[]byte(`{"escaped":"\u00e9\/\ud83d\ude00","raw":"é/😀"}`),
		[]byte(`{"nul":"\u0000"}`),
		[]byte(`{"truncated":`),
		[]byte(`[]`),
		[]byte("\x1f\x8b\x08\x00 like gzip"),
	}
	for _, contentType := range []string{"application/json", "application/octet-stream", ""} {
		id := stream("data as " + contentType)
		for i, data := range list {
			e := newEvent()
			e.ContentType, e.Data = contentType, data
			s.put(batchOf(id, uint64(i), e))
		}
	}
	s.verify()
}

func checkMegabyte(s *suite) {
	id := stream("large")
	random := rand.New(rand.NewPCG(1, 2))
	version := uint64(0)
	for _, size := range []int{1, 4 << 10, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1 << 20, 1<<20 + 1} {
		a, b, c := newEvent(), newEvent(), newEvent()
		a.Data = make([]byte, size)
		for i := range a.Data {
			a.Data[i] = byte(random.Uint32())
		}
		b.Data = bytes.Repeat([]byte{'x'}, size)
		c.Data = []byte{}
		s.put(batchOf(id, version, a, c, b))
		version += 3
	}
	s.verify()
}

func checkTime(s *suite) {
	id := stream("times")
	east, west := time.FixedZone("east", 5*3600+1800), time.FixedZone("west", -8*3600)
	list := []time.Time{
		time.Now(),
		time.Now().In(east),
		time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.UTC),
		time.Date(2024, 2, 29, 23, 59, 59, 999999499, west),
		time.Date(2024, 12, 31, 23, 59, 59, 123456789, west),
		time.Date(2024, 1, 1, 0, 0, 0, 1, east),
		time.Date(2024, 1, 1, 0, 0, 0, 999, time.UTC),
		time.Date(2024, 1, 1, 0, 0, 0, 1000, time.UTC),
		time.Date(2024, 10, 27, 0, 30, 0, 500, time.UTC),
		time.Unix(0, 0),
		time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Date(1900, 1, 1, 1, 2, 3, 4005006, time.UTC),
		time.Date(2200, 1, 1, 1, 2, 3, 4005006, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
		{},
	}
	for i, t := range list {
		e := newEvent()
		e.Time = t
		s.put(batchOf(id, uint64(i), e))
	}
	s.verify()
}

func checkTagsAndMetadata(s *suite) {
	id := stream("extras")
	many := evsourcing.Metadata{}
	var tags []string
	for i := range 200 {
		many[fmt.Sprint("key-", i)] = fmt.Sprint("value-", i)
		tags = append(tags, fmt.Sprint("tag-", i))
	}
	for i, test := range []struct {
		tags     []string
		metadata evsourcing.Metadata
	}{
		{[]string{"one"}, nil},
		{nil, evsourcing.Metadata{"key": "value"}},
		{[]string{"z", "a", "m"}, evsourcing.Metadata{"z": "1", "a": "2"}},
		{[]string{"twice", "once", "twice"}, evsourcing.Metadata{"empty": ""}},
		{[]string{"a,b", "c d", `"e"`, "{f}", "\\"}, evsourcing.Metadata{"a=b": "c;d", `"`: `"`, "{": "}", `\`: `\`}},
		{[]string{"Case", "case", "case "}, evsourcing.Metadata{"Case": "1", "case": "2", "case ": "3"}},
		{[]string{"NULL", "0", "007"}, evsourcing.Metadata{"null": "null", "0": "007", "true": "1.0"}},
		{[]string{"é", "e\u0301"}, evsourcing.Metadata{"é": "1", "e\u0301": "2", "line": "a\r\nb\n"}},
		{tags, many},
		{nil, evsourcing.Metadata{"long": strings.Repeat("0123456789abcdef", 1<<12)}},
		{[]string{}, evsourcing.Metadata{}},
	} {
		e := newEvent()
		e.Tags, e.Metadata = test.tags, test.metadata
		s.put(batchOf(id, uint64(i), e))
	}
	s.verify()
}

// checkBareEvent stores events that have nothing but what they must have, next
// to some that have all, so that nothing of one is taken for the other's.
func checkBareEvent(s *suite) {
	id := stream("bare")
	for i := range uint64(6) {
		e := newEvent()
		if i%2 == 0 {
			e.Tags, e.Metadata = []string{"tag"}, evsourcing.Metadata{"key": "value"}
		} else {
			e.ContentType, e.Data, e.Time = "", nil, time.Time{}
		}
		s.put(batchOf(id, i, e))
	}
	s.verify()
}
