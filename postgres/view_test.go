package postgres_test

import (
	"testing"
	"time"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

func TestViewShowsEventsToPeople(t *testing.T) {
	dsn := serverDSN(t)
	schema := newSchema(t, dsn)
	s := open(t, dsn, &postgres.Options{Schema: schema})
	for i, e := range []struct {
		contentType, data string
		want              string // of the payload; "" for none
	}{
		{"application/json", `{"delay": 7}`, "7"},
		{"application/json; charset=utf-8", `{"delay": 8}`, "8"},
		{"application/vnd.flight+json", `{"delay": 9}`, "9"},
		{"text/plain", `{"delay": 7}`, ""},
		{"application/json", `{"delay"`, ""},
		{"application/json", "{\"delay\": \"\xff\"}", ""},
		{"application/json", `{"delay": "\u0000"}`, ""},
		{"application/json", "", ""},
		{"application/x-json-not", `{"delay": 7}`, ""},
		{"", `{"delay": 7}`, ""},
	} {
		b := batch(stream("a"), uint64(i), 1)
		b.Events[0].ContentType, b.Events[0].Data = e.contentType, []byte(e.data)
		b.Events[0].Tags, b.Events[0].Metadata = []string{"one", "t\x01"}, evsourcing.Metadata{"user": "you"}
		b.Events[0].Time = time.Date(1969, 12, 31, 23, 59, 58, 123456000, time.UTC)
		position := put(t, s, b).Position
		got := query[string](t, dsn, "SELECT coalesce(payload->>'delay', '')||' '||(tags->>0)||' '||(metadata->>'user')||' '||(time AT TIME ZONE 'UTC') FROM "+
			schema+".events_readable WHERE position = $1", int64(position))
		if want := e.want + " one you 1969-12-31 23:59:58.123456"; got != want {
			t.Errorf("%s %q shows as %q, want %q", e.contentType, e.data, got, want)
		}
	}
	if n := query[int](t, dsn, "SELECT count(*) FROM "+schema+".events_readable WHERE payload IS NULL AND data IS NOT NULL"); n != 7 {
		t.Errorf("%d events have no payload", n)
	}
}
