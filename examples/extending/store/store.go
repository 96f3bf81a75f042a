// Package store is an event store in one file: an example for docs/extending.md
// of how a store is written, and small enough to be read at once. It keeps every
// promise of [evsourcing.EventStore].
//
// The file has one line of JSON for each append, and is only ever appended to.
// An append is durable when it returns: the line has been synced to the disk.
//
// Its limits: all events are in memory, too, and opening reads the whole file;
// every append is a sync of its own, and appends wait for each other. Nothing
// keeps a second process from opening the file, which would be the end of it.
package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A Store is an event store in a file. It is an [evsourcing.Log] and an
// [evsourcing.Finder].
type Store struct {
	file   *os.File
	turn   chan struct{} // has room for one value, which is whose turn it is to append
	failed error         // why appending is over; read and written in turn

	mu      sync.RWMutex                  // guards what follows; written in turn, too
	log     []evsourcing.StoredEvent      // the event of position p is at p-1
	streams map[evsourcing.StreamID][]int // a stream's version v is at v-1: an index into log
	ids     map[uuid.UUID]int             // where in log an event is
}

// errClosed is why a closed store appends nothing.
var errClosed = errors.New("store: closed")

// Open opens the store in the file, which is created if it does not exist.
func Open(name string) (*Store, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s := &Store{
		file:    file,
		turn:    make(chan struct{}, 1),
		streams: map[evsourcing.StreamID][]int{},
		ids:     map[uuid.UUID]int{},
	}
	size, err := s.replay(file)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name)) // else a new file may be gone after a power failure
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", name, err), file.Close())
	}
	return s, nil
}

// replay reads appends, and returns the length of the file up to the last whole
// one. What follows that is of an append that was never acknowledged.
func (s *Store) replay(r io.Reader) (size int64, err error) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return 0, err
		}
		var events []evsourcing.StoredEvent
		if err := json.Unmarshal(line, &events); err != nil {
			return 0, fmt.Errorf("the line at byte %d is damaged: %w", size, err)
		}
		s.show(events)
		size += int64(len(line))
	}
}

// Append implements [evsourcing.EventStore].
func (s *Store) Append(ctx context.Context, batches ...evsourcing.Batch) (evsourcing.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return evsourcing.AppendResult{}, err
	}
	if err := evsourcing.Validate(batches...); err != nil {
		return evsourcing.AppendResult{}, err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return evsourcing.AppendResult{}, ctx.Err()
	}
	if s.failed != nil {
		return evsourcing.AppendResult{}, s.failed
	}
	if result, err := s.repetition(batches); err != nil || result.Repeated {
		return result, err
	}
	if err := s.conflict(batches); err != nil {
		return evsourcing.AppendResult{}, err
	}
	events, result := s.number(batches)
	if err := s.write(events); err != nil {
		return evsourcing.AppendResult{}, err
	}
	s.show(events)
	return result, nil
}

// write makes an append durable. If that fails nobody knows what is in the file
// until it is read again: not of this append, nor of its repetition.
func (s *Store) write(events []evsourcing.StoredEvent) error {
	line, err := json.Marshal(events)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = s.file.Write(append(line, '\n'))
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.failed = fmt.Errorf("%w: the store must be opened again: %w", evsourcing.ErrUncertain, err)
	}
	return s.failed
}

// show makes durable events visible, all at once.
func (s *Store) show(events []evsourcing.StoredEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.ids[e.ID] = len(s.log)
		s.streams[e.Stream] = append(s.streams[e.Stream], len(s.log))
		s.log = append(s.log, e)
	}
}

// Close closes the file, after the append under way. Reading goes on working.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.failed == nil {
		s.failed = errClosed
	}
	if err := s.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil // it was closed before
}

// syncDir makes the entries of a directory durable.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
