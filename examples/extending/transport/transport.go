// Package transport is a transport through files: an example for
// docs/extending.md of how a transport is written. What is sent lies in a
// directory until it is settled, so that it outlives the process.
//
//	spool/office.group/topics                      the group's topics, a JSON array
//	spool/office.group/00000000000000000007.json   an envelope that waits
//
// Its limits: a directory belongs to one process at a time; Send writes and
// syncs a file for each group, one after the other, and looking for the next
// delivery passes through all that wait; the name of a group must do for a
// directory. It knows the IDs of what waits, and of the last 4,096 envelopes that
// were settled since it was opened.
package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/evsourcing/evsourcing"
)

// A Spool is a transport through the files of a directory.
type Spool struct {
	dir string

	mu     sync.Mutex // guards what follows, groups and messages included
	groups map[string]*group
	last   uint64 // of the numbers that files are named by
	closed bool
}

// memory is how many settled IDs a group remembers.
const memory = 4096

var errClosed = errors.New("transport: closed")

// group is the messages that wait for one group.
type group struct {
	evsourcing.Group
	dir     string
	queue   []*message          // in the order in which they were sent
	known   map[string]struct{} // the IDs of queue and of settled
	settled []string            // IDs, the oldest first
	wake    chan struct{}       // closed when something has changed
}

// message is an envelope that waits in a group.
type message struct {
	evsourcing.Envelope
	file string
	lease
}

// Open opens the directory, which is created if it does not exist, with all
// groups and messages in it.
func Open(dir string) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	t := &Spool{dir: dir, groups: map[string]*group{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		g, err := t.load(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("transport: open %s: %w", dir, err)
		}
		t.groups[g.Name] = g
	}
	return t, nil
}

// load reads a group's directory.
func (t *Spool) load(dir string) (*group, error) {
	name, err := url.PathUnescape(strings.TrimSuffix(filepath.Base(dir), ".group"))
	if err != nil {
		return nil, err
	}
	g := &group{Group: evsourcing.Group{Name: name}, dir: dir, known: map[string]struct{}{}, wake: make(chan struct{})}
	if err := readJSON(filepath.Join(dir, "topics"), &g.Topics); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries { // in the order of their names
		if !strings.HasSuffix(entry.Name(), ".json") {
			continue
		}
		m := &message{file: filepath.Join(dir, entry.Name())}
		if err := readJSON(m.file, &m.Envelope); err != nil {
			return nil, err
		}
		var number uint64
		if _, err := fmt.Sscanf(entry.Name(), "%d.json", &number); err != nil {
			return nil, err
		}
		t.last = max(t.last, number)
		g.add(m)
	}
	return g, nil
}

func (g *group) add(m *message) {
	g.queue = append(g.queue, m)
	g.known[m.ID] = struct{}{}
}

// changed wakes all who wait for something to receive.
func (g *group) changed() {
	close(g.wake)
	g.wake = make(chan struct{})
}

// Join implements [evsourcing.Transport].
func (t *Spool) Join(ctx context.Context, want evsourcing.Group) (evsourcing.Receiver, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	g := t.groups[want.Name]
	if g == nil {
		dir := filepath.Join(t.dir, url.PathEscape(want.Name)+".group")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		var err error
		if g, err = t.load(dir); err != nil {
			return nil, err
		}
	}
	if !slices.Equal(g.Topics, want.Topics) {
		if err := writeJSON(filepath.Join(g.dir, "topics"), want.Topics); err != nil {
			return nil, err
		}
	}
	g.Group = want
	t.groups[want.Name] = g
	return &receiver{spool: t, group: g}, nil
}

// Send implements [evsourcing.Transport]. If it fails, some groups may have some
// of the envelopes; sending them again adds the others.
func (t *Spool) Send(ctx context.Context, envelopes ...evsourcing.Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	for _, g := range t.groups {
		for _, e := range envelopes {
			if _, ok := g.known[e.ID]; ok || !slices.Contains(g.Topics, e.Topic) {
				continue
			}
			t.last++
			m := &message{Envelope: e, file: filepath.Join(g.dir, fmt.Sprintf("%020d.json", t.last))}
			if err := writeJSON(m.file, e); err != nil {
				return fmt.Errorf("transport: send to group %q: %w", g.Name, err)
			}
			g.add(m)
		}
		g.changed()
	}
	return nil
}

// remove forgets a message that is settled, but for its ID.
func (g *group) remove(m *message) error {
	if err := os.Remove(m.file); err != nil {
		return err
	}
	m.holder = nil
	g.queue = slices.DeleteFunc(g.queue, func(other *message) bool { return other == m })
	if g.settled = append(g.settled, m.ID); len(g.settled) > memory {
		delete(g.known, g.settled[0])
		g.settled = g.settled[1:]
	}
	return nil
}

// Close implements [evsourcing.Transport]. What is not settled stays in the
// directory.
func (t *Spool) Close(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, g := range t.groups {
		g.changed()
	}
	return nil
}

// readJSON reads a file that writeJSON has written.
func readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// writeJSON makes a file durable, and whole from the moment in which it has its
// name.
func writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	file, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
