package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/evsourcing/evsourcing/faults/internal/durable"
)

// A moment is what a client is doing when it is killed.
type moment string

const (
	opening moment = "opening" // the store
	working moment = "working" // whatever it does
	inside  moment = "inside"  // in a transaction of the projection, which has written
	moving  moment = "moving"  // the write-ahead log into the database, over and over (SQLite)
)

// patience returns how long after the announcement of its moment a client is killed.
func (m moment) patience() time.Duration {
	switch m {
	case opening:
		return rand.N(8 * time.Millisecond)
	case working:
		return rand.N(100 * time.Millisecond)
	case moving:
		return rand.N(20 * time.Millisecond)
	}
	return 0
}

// client is what a process does that is to be killed: it opens the store, appends and runs
// the projection. It says when its moments come, and which appends were acknowledged.
func client(ctx context.Context, args []string) error {
	place, who, m, when := args[0], args[1], mode(args[2]), moment(args[3])
	fmt.Println(opening)
	s, err := durable.Open(ctx, place)
	if err != nil {
		return err
	}
	fmt.Println(working)
	ended := make(chan error)
	for i := range 8 {
		w := &writer{who: fmt.Sprintf("%s.%d", who, i), append: m.appending(ctx, s)}
		go func() {
			ended <- w.run(ctx, false, func(k ack) { fmt.Println("ack", k.id, k.position) })
		}()
	}
	if when == moving {
		go func() { ended <- moveLog(ctx, place) }()
	}
	transactions := rand.Int32N(5)
	var begun atomic.Int32
	go func() {
		ended <- project(ctx, s, m, func() {
			if when == inside && begun.Add(1) > transactions {
				fmt.Println(inside)
				<-ctx.Done()
			}
		})
	}()
	err = <-ended
	if ctx.Err() == nil {
		return errors.Join(errors.New("it ended by itself"), err)
	}
	return nil // the test is over, and nobody looks any more
}

// moveLog moves the write-ahead log into the database as another program would, without a
// pause.
func moveLog(ctx context.Context, place string) error {
	c, err := zsqlite.OpenConn(place)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	fmt.Println(moving)
	for ctx.Err() == nil {
		for _, how := range []string{"PASSIVE", "PASSIVE", "RESTART", "TRUNCATE"} {
			// One that is busy has moved what it could.
			if err := sqlitex.ExecuteTransient(c, "PRAGMA wal_checkpoint("+how+")", nil); err != nil && zsqlite.ErrCode(err) != zsqlite.ResultBusy {
				return err
			}
		}
	}
	return nil
}
