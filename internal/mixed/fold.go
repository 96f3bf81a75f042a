package mixed

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/evsourcing/evsourcing"
)

// A Row is what a projection knows of an account.
type Row struct{ Events, Total int64 }

// A Fold is a projection in memory, and what every other one has to agree with. It is a
// [evsourcing.Handler] that may be used concurrently. The zero Fold is empty.
type Fold struct {
	mu   sync.Mutex // guards what follows
	rows map[string]Row
	by   map[string]int64
}

// Handle adds messages.
func (f *Fold) Handle(_ context.Context, msgs []evsourcing.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rows == nil {
		f.rows, f.by = map[string]Row{}, map[string]int64{}
	}
	for i := range msgs {
		e, ok := msgs[i].Event.(Posted)
		if !ok {
			return fmt.Errorf("an event of topic %q", msgs[i].Topic)
		}
		r := f.rows[msgs[i].Stream.ID]
		r.Events++
		r.Total += e.Amount
		f.rows[msgs[i].Stream.ID] = r
		f.by[e.By]++
	}
	return nil
}

// By returns how many events the service with the name has stored.
func (f *Fold) By(name string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by[name]
}

// Read folds a whole log.
func Read(ctx context.Context, log evsourcing.Log) (*Fold, error) {
	codec := NewRegistry()
	f := &Fold{}
	for e, err := range log.Events(ctx, evsourcing.Range{}, evsourcing.Filter{}) {
		if err != nil {
			return nil, err
		}
		m := evsourcing.Message{StoredEvent: e}
		if m.Event, err = codec.Decode(ctx, &e); err != nil {
			return nil, err
		}
		if err := f.Handle(ctx, []evsourcing.Message{m}); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Differ returns in how many accounts a projection differs from the fold.
func (f *Fold) Differ(projection map[string]Row) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, row := range f.rows {
		if projection[id] != row {
			n++
		}
	}
	for id := range projection {
		if _, ok := f.rows[id]; !ok {
			n++
		}
	}
	return n
}

// Rows returns a projection that the caller may keep.
func (f *Fold) Rows() map[string]Row {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.rows)
}

// A projection in a table is made by these statements; the name of the table stands for
// %s, which fmt.Sprintf replaces. Those that add take one parameter, of [Deltas].
const (
	CreateTable = `CREATE TABLE %s (id TEXT PRIMARY KEY, events BIGINT NOT NULL, total BIGINT NOT NULL)`
	ReadTable   = `SELECT id, events, total FROM %s`
	AddSQLite   = `INSERT INTO %s AS t (id, events, total)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
ON CONFLICT (id) DO UPDATE SET events = t.events + excluded.events, total = t.total + excluded.total`
	AddPostgres = `INSERT INTO %s AS t (id, events, total)
SELECT v ->> 0, (v ->> 1)::bigint, (v ->> 2)::bigint FROM jsonb_array_elements($1::text::jsonb) AS v
ON CONFLICT (id) DO UPDATE SET events = t.events + excluded.events, total = t.total + excluded.total`
)

// Deltas returns what messages add to each account, as JSON.
func Deltas(msgs []evsourcing.Message) (string, error) {
	var f Fold
	if err := f.Handle(context.Background(), msgs); err != nil {
		return "", err
	}
	list := make([][3]any, 0, len(f.rows))
	for id, r := range f.rows {
		list = append(list, [3]any{id, r.Events, r.Total})
	}
	text, err := json.Marshal(list)
	return string(text), err
}
