package storetest

import (
	"fmt"
	"strings"

	"github.com/evsourcing/evsourcing"
)

func limitCases() []testCase {
	return []testCase{
		{"names as long as may be are accepted", ruleLimits, nil, checkLongNames},
		{"tags and metadata as large as may be are accepted", ruleLimits, nil, checkLargeExtras},
		{"data as large as may be is accepted", ruleLimits, nil, checkLargeData},
	}
}

func checkLongNames(s *suite) {
	long := longName("é")
	e := newEvent()
	e.Topic, e.ContentType, e.Tags = long, long, []string{long, longName("x")}
	e.Metadata = evsourcing.Metadata{long: long, longName("x"): strings.Repeat("v", 10*evsourcing.MaxNameSize)}
	id := evsourcing.StreamID{Type: long, ID: long}
	result := s.put(batchOf(id, 0, e, newEvent()))
	s.put(newBatch(id, evsourcing.AnyVersion, 1))
	s.wantRepeated("an append to a stream with the longest name", result, batchOf(id, 0, e, s.model.stream(id)[1]))
	s.verify()
}

func checkLargeExtras(s *suite) {
	id := stream("a")
	size := s.size(evsourcing.MaxMetadataSize, evsourcing.MaxMetadataSize/8)
	metadata, tags := newEvent(), newEvent()
	metadata.Metadata = evsourcing.Metadata{"even": strings.Repeat("é", (size-4)/2)}
	for i := range size / evsourcing.MaxNameSize {
		tags.Tags = append(tags.Tags, fmt.Sprintf("%0*d", evsourcing.MaxNameSize, i))
	}
	s.put(batchOf(id, 0, metadata, tags))
	s.verify()
}

func checkLargeData(s *suite) {
	id := stream("a")
	e := newEvent()
	e.Data = make([]byte, s.size(evsourcing.MaxDataSize, evsourcing.MaxDataSize/16))
	for i := range e.Data {
		e.Data[i] = byte(i * 7 >> 3)
	}
	s.put(batchOf(id, 0, e))
	s.verify()
}
