package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/postgres"
)

// hostile are names that mean something to a database, a shell, a formatter or a log.
func hostile() []string {
	return []string{
		`'; DROP TABLE events; --`, `"; DROP TABLE events; --`, `a' OR '1'='1`, `x'); DELETE FROM events WHERE ('1'='1`, "`; DROP TABLE events",
		`$1`, `?1`, `:name`, `@p`, `{schema}`, `$$; DROP SCHEMA evsourcing CASCADE; $$`, `E'\047'`, `\'; DROP TABLE events; --`,
		`%`, `_`, `%%`, `a%`, `%s%d%n%!v`, `[a-z]*`, `NULL`, `null`, `true`, `0`, `-1`, `1e400`, `""`, `[]`, `{}`, `["a"]`, "a\nb", "a\r\nb: c", "\t", " ", "a ",
		`../../etc/passwd`, `file:events.db?mode=memory`, `http://[::1]/`, `$(rm -rf .)`, "`id`", `<script>`, "\x01\x1b[31m", "\x7f",
		"é", "e\u0301", "É", "ß", "SS", "\u202e\u200b", "\ufeff", "\ufffd", "\U0010ffff", "日本語", "a", "A",
		strings.Repeat("n", evsourcing.MaxNameSize), strings.Repeat("é", evsourcing.MaxNameSize/2), strings.Repeat("'", evsourcing.MaxNameSize), strings.Repeat("%", evsourcing.MaxNameSize),
	}
}

// Names are names. A stream, topic, tag, checkpoint or owner that is SQL, a pattern or
// a format is stored as it is and found by no other name; NUL bytes, invalid UTF-8,
// empty names and those over 512 bytes are refused.
func TestHostileNames(t *testing.T) {
	each(t, func(t *testing.T, s store) {
		names := hostile()
		for i, name := range names {
			if err := storeUnder(t.Context(), s, name, fmt.Append(nil, i)); err != nil {
				t.Errorf("%.40q: %v", name, err)
			}
		}
		for i, name := range names {
			if err := foundUnder(t.Context(), s, name, fmt.Append(nil, i)); err != nil {
				t.Errorf("%.40q: %v", name, err)
			}
		}
		bad := []string{"", "\x00", "a\x00'; DROP TABLE events; --", "\xff", "\xed\xa0\x80", strings.Repeat("n", evsourcing.MaxNameSize+1), strings.Repeat("'", 16*mib)}
		for _, name := range bad {
			if err := storeUnder(t.Context(), s, name, nil); err == nil || len(err.Error()) > 2000 {
				t.Errorf("%.40q: the error is %.100v", name, err)
			}
			for _, err := range s.Load(t.Context(), evsourcing.StreamID{Type: "x", ID: name}, evsourcing.Range{}) {
				if !errors.Is(err, evsourcing.ErrInvalidStream) {
					t.Errorf("Load of %.40q: %.100v", name, err)
				}
			}
		}
		if n := len(collect(t, s.Events(t.Context(), evsourcing.Range{}, evsourcing.Filter{}))); n != len(names) {
			t.Errorf("there are %d events, want %d", n, len(names))
		}
		t.Attr("figure", fmt.Sprintf("%d hostile names, each as type, stream, topic, content type, tag, metadata, checkpoint and owner: all come back, none finds another; %d bad ones: refused", len(names), len(bad)))
	})
}

// storeUnder stores an event and whatever else has a name under one name.
func storeUnder(ctx context.Context, s store, name string, data []byte) error {
	id := evsourcing.StreamID{Type: name, ID: name}
	e := newEvent(name, data)
	e.ContentType, e.Tags, e.Metadata = name, []string{name, "b"}, evsourcing.Metadata{name: name}
	_, err := s.Append(ctx, batch(id, e))
	if err == nil {
		err = s.SaveSnapshot(ctx, evsourcing.Snapshot{Stream: id, Version: 1, Position: 1, EventID: e.ID, Fingerprint: name, ContentType: name, Data: data, Time: e.Time})
	}
	c, cerr := s.Claim(ctx, name, name, time.Minute)
	if cerr == nil {
		c.Position, c.EventID = uint64(len(data)), uuid.NewSHA1(uuid.NameSpaceOID, data)
		cerr = s.SaveCheckpoint(ctx, name, c)
	}
	if (err == nil) != (cerr == nil) {
		return fmt.Errorf("the event: %w; the checkpoint: %w", errors.Join(err), errors.Join(cerr))
	}
	return err
}

// foundUnder checks that just that is found again.
func foundUnder(ctx context.Context, s store, name string, data []byte) error {
	id := evsourcing.StreamID{Type: name, ID: name}
	ok := func(e evsourcing.StoredEvent) bool {
		return e.Stream == id && e.Topic == name && e.ContentType == name && slices.Equal(e.Tags, []string{name, "b"}) && e.Metadata[name] == name && string(e.Data) == string(data)
	}
	n := 0
	for e, err := range s.Load(ctx, id, evsourcing.Range{}) {
		if n++; err != nil || !ok(e) {
			return fmt.Errorf("Load yields %+v: %w", e, errors.Join(err))
		}
	}
	m := 0
	for e, err := range s.Events(ctx, evsourcing.Range{}, evsourcing.Filter{Topics: []string{name}, Types: []string{name}}) {
		if m++; err != nil || !ok(e) {
			return fmt.Errorf("Events yields %+v: %w", e, errors.Join(err))
		}
	}
	if n != 1 || m != 1 {
		return fmt.Errorf("%d events are loaded, and %d pass the filter", n, m)
	}
	snapshot, has, err := s.LoadSnapshot(ctx, id)
	if err != nil || !has || string(snapshot.Data) != string(data) || snapshot.Fingerprint != name {
		return fmt.Errorf("the snapshot is %+v, %t: %w", snapshot, has, errors.Join(err))
	}
	c, has, err := s.Checkpoint(ctx, name)
	if err != nil || !has || c.EventID != uuid.NewSHA1(uuid.NameSpaceOID, data) {
		return fmt.Errorf("the checkpoint is %+v, %t: %w", c, has, errors.Join(err))
	}
	return nil
}

// A store that pastes names into SQL, as the control: some of the names break it.
func TestHostileNamesControl(t *testing.T) {
	c, err := zsqlite.OpenConn(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	script := func(sql string) error { return sqlitex.ExecuteScript(c, sql, nil) }
	broken := 0
	for _, name := range hostile() {
		if err := script("CREATE TABLE IF NOT EXISTS events (stream TEXT NOT NULL)"); err != nil {
			t.Fatal(err)
		}
		found := 0
		err := script("INSERT INTO events VALUES ('" + name + "')")
		if err == nil {
			err = sqlitex.Execute(c, "SELECT count(*) FROM events WHERE stream LIKE ?", &sqlitex.ExecOptions{Args: []any{name}, ResultFunc: func(stmt *zsqlite.Stmt) error {
				found = stmt.ColumnInt(0)
				return nil
			}})
		}
		if err != nil || found != 1 {
			broken++
		}
	}
	t.Attr("figure", fmt.Sprintf("pasted into SQL, %d of %d names break a statement, the table, or find others", broken, len(hostile())))
	if broken == 0 {
		t.Error("no name does any harm, so they prove nothing")
	}
}

// The name of a schema is pasted into SQL, so it has to consist of letters, digits and
// underscores.
func TestHostileSchemas(t *testing.T) {
	_, pool, _ := newPostgres(t)
	refused := 0
	for _, name := range hostile() {
		switch name {
		case "a", "A", "SS", "NULL", "null", "true", "_":
			continue // are names like others, for they are quoted
		}
		s, err := postgres.New(t.Context(), pool, &postgres.Options{Schema: name, Logger: quiet, NoMigrate: true})
		if err == nil {
			_ = s.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "letters, digits and underscores") {
			t.Errorf("%.40q: %v", name, err)
			continue
		}
		refused++
	}
	t.Attr("figure", fmt.Sprintf("%d of %d hostile names of a schema: refused", refused, refused))
}
