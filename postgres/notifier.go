package postgres

import (
	"context"
	"sync"
	"time"
)

// notifyEvery is the time between two notifications. Notifying is a transaction of
// its own, because it serialises the commits of all that do, and many appends have
// one in common.
const notifyEvery = 10 * time.Millisecond

// A notifier tells other processes that there are new events. That may fail: they
// look by themselves, if later.
type notifier struct {
	store *Store
	start sync.Once
	news  chan struct{} // has an element if there is something to tell
}

func newNotifier(s *Store) *notifier {
	return &notifier{store: s, news: make(chan struct{}, 1)}
}

// notify makes the others know soon. It does not wait.
func (n *notifier) notify() {
	n.start.Do(func() { n.store.spawn(n.loop) })
	select {
	case n.news <- struct{}{}:
	default:
	}
}

func (n *notifier) loop() {
	ctx := n.store.ctx
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		select {
		case <-n.news:
		case <-ctx.Done():
			return
		}
		if err := n.send(ctx); err != nil && ctx.Err() == nil {
			n.store.opts.Logger.DebugContext(ctx, "evsourcing: postgres: could not notify other processes, which will look by themselves", "error", err)
		}
		pause.Reset(notifyEvery)
	}
}

// send notifies, without a wait for the disk, since nothing is stored.
func (n *notifier) send(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	conn, err := n.store.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	// The channel's name is the schema's, which was checked.
	_, err = conn.Conn().PgConn().Exec(ctx, "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY \""+n.store.channel()+"\"; COMMIT").ReadAll()
	return err
}
