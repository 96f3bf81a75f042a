package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// Store is an event store in a schema of a PostgreSQL database. It has every
// capability: [evsourcing.Log], [evsourcing.Waiter], [evsourcing.Finder],
// [evsourcing.SnapshotStore], [evsourcing.CheckpointStore] and
// [evsourcing.Claimer]. All methods may be called concurrently, by many processes.
type Store struct {
	opts      Options
	pool      *pgxpool.Pool
	ownPool   bool
	sql       statements
	committer *engine.Committer
	conns     chan *pgxpool.Conn // of committers about to write
	watch     *watch
	notifier  *notifier

	ctx    context.Context // of what the store does by itself; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // the store's goroutines, but for the committer's
	begin  sync.Mutex     // guards work against beginning once ctx has ended
}

var _ interface {
	evsourcing.EventStore
	evsourcing.Log
	evsourcing.Waiter
	evsourcing.Finder
	evsourcing.SnapshotStore
	evsourcing.CheckpointStore
	evsourcing.Claimer
} = (*Store)(nil)

// Open connects to a database and returns the store in it, which is made or
// migrated first unless the options say otherwise. Processes may do so at the same
// time. Another default isolation level than READ COMMITTED is refused, and a sequence of
// positions that is behind the log is advanced. The connection string is as for [pgxpool.ParseConfig].
//
// The context is for opening only. [Store.Close] has to be called.
func Open(ctx context.Context, dsn string, opts *Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("evsourcing: postgres: open: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("evsourcing: postgres: open: %w", err)
	}
	s, err := New(ctx, pool, opts)
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.ownPool = true
	return s, nil
}

// New is [Open] with a pool of the caller's, who closes it after the store. Beside
// what the caller does, the store takes Options.Committers connections and one for
// each reader and each transaction under way; it listens on one that is not the
// pool's.
func New(ctx context.Context, pool *pgxpool.Pool, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkIsolation(ctx, pool); err != nil {
		return nil, err
	}
	if err := migrate(ctx, pool, o.Schema, !o.NoMigrate); err != nil {
		return nil, err
	}
	if err := advanceSequence(ctx, pool, o.Schema); err != nil {
		return nil, err
	}
	s := &Store{opts: o, pool: pool, sql: newStatements(o.Schema), conns: make(chan *pgxpool.Conn, o.Committers)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.watch = &watch{store: s}
	s.notifier = newNotifier(s)
	s.committer = engine.NewCommitter(engine.CommitterOptions{
		Events: o.GroupEvents, Bytes: o.GroupBytes, Writers: o.Committers, Begin: s.connect,
	}, s.write)
	return s, nil
}

// Close refuses new appends and transactions, waits for appends under way, and ends
// all that the store does by itself. When ctx ends first, it breaks off what is
// under way and returns the context's error. Whoever waits in Wait gets
// [evsourcing.ErrClosed]. A second Close does no harm.
func (s *Store) Close(ctx context.Context) error {
	err := s.committer.Close(ctx)
	s.begin.Lock()
	s.cancel()
	s.begin.Unlock()
	s.work.Wait()
	s.watch.close()
	if s.ownPool {
		closed := make(chan struct{})
		go func() { // it waits for every connection that somebody has
			s.pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
		}
	}
	if err != nil {
		return fmt.Errorf("evsourcing: postgres: close: %w", err)
	}
	return nil
}

// spawn starts a goroutine that ends with s.ctx, unless that has ended.
func (s *Store) spawn(f func()) {
	s.begin.Lock()
	defer s.begin.Unlock()
	if s.ctx.Err() == nil {
		s.work.Go(f)
	}
}

// isClosed returns an error after Close.
func (s *Store) isClosed() error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: the store", evsourcing.ErrClosed)
	}
	return nil
}

// statements are the texts of what a store says often, with its schema's name.
type statements struct {
	appendOne, appendGroup, lookup, lookupIn string
	load, loadBackward                       string
	events, eventsBackward                   string
	filtered, filteredBackward               string
	head, find                               string
}

func newStatements(schema string) statements {
	var st statements
	for _, t := range []struct {
		to   *string
		text string
	}{
		{&st.appendOne, appendOneSQL}, {&st.appendGroup, appendGroupSQL}, {&st.lookup, lookupSQL}, {&st.lookupIn, lookupInSQL},
		{&st.load, loadSQL}, {&st.loadBackward, loadBackwardSQL},
		{&st.events, eventsSQL}, {&st.eventsBackward, eventsBackwardSQL},
		{&st.filtered, filteredSQL}, {&st.filteredBackward, filteredBackwardSQL},
		{&st.head, headSQL}, {&st.find, findSQL},
	} {
		*t.to = inSchema(schema, t.text)
	}
	return st
}

// inSchema puts the name of a schema, which has been checked, into a statement.
func inSchema(schema, text string) string {
	return strings.ReplaceAll(text, "{schema}", pgx.Identifier{schema}.Sanitize())
}
