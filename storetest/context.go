package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

func contextCases() []testCase {
	return []testCase{
		{"a context cancelled before it is read ends an iteration", ruleCancelled, nil, checkCancelledBefore},
		{"a context cancelled in the loop body ends an iteration", ruleCancelled, nil, checkCancelledWithin},
		{"a context cancelled before ends every other call", ruleCancelled, nil, checkCancelledCalls},
	}
}

func checkCancelledBefore(s *suite) {
	id := stream("a")
	s.put(newBatch(id, 0, 3))
	expired, cancel := context.WithTimeout(s.ctx, -time.Second)
	defer cancel()
	for _, test := range []struct {
		ctx  context.Context
		want error
	}{
		{s.cancelledContext(), context.Canceled},
		{expired, context.DeadlineExceeded},
	} {
		for _, r := range s.readings(id) {
			list, err := s.collect(r.seq(test.ctx))
			if !errors.Is(err, test.want) || len(list) > 0 {
				s.errorf("%s under a context that had ended yields %d events and the error %v, want only one that is %v", r.name, len(list), err, test.want)
			}
		}
	}
	// The context counts that is alive, or not, when the loop begins.
	for _, r := range s.readings(id) {
		ctx, cancel := context.WithCancel(s.ctx)
		seq := r.seq(ctx)
		cancel()
		if list, err := s.collect(seq); !errors.Is(err, context.Canceled) || len(list) > 0 {
			s.errorf("%s, whose context was cancelled before the loop, yields %d events and the error %v", r.name, len(list), err)
		}
	}
}

func checkCancelledWithin(s *suite) {
	const n = 3000
	id := stream("a")
	for version := uint64(0); version < n; version += 1000 {
		s.put(newBatch(id, version, 1000))
	}
	for _, r := range s.readings(id) {
		for _, at := range []int{1, 2, 300} {
			ctx, cancel := context.WithCancel(s.ctx)
			count := 0
			var last error
			for _, err := range r.seq(ctx) {
				if last != nil {
					s.errorf("%s went on after it had yielded the error %v", r.name, last)
					break
				}
				if err != nil {
					last = err
					continue
				}
				if count++; count == at {
					cancel()
				}
			}
			cancel()
			switch {
			case last == nil:
				s.errorf("%s ended without an error after %d of %d events, though its context was cancelled at event %d", r.name, count, n, at)
			case !errors.Is(last, context.Canceled):
				s.errorf("%s, cancelled at event %d, ended with %v, want an error that is context.Canceled", r.name, at, last)
			}
		}
	}
	s.verify()
}

// checkCancelledCalls makes each call that the store can do, on data that would
// let it succeed.
func checkCancelledCalls(s *suite) {
	ctx := s.cancelledContext()
	id := stream("a")
	batch := newBatch(id, 0, 2)
	head := s.put(batch).Position
	call := func(what string, f func() error) {
		c := s.begin(ctx, what, nil)
		defer s.end(c)
		s.wantCancelled(what, f())
	}
	if log, ok := s.log(); ok {
		call("Head", func() error { _, err := log.Head(ctx); return err })
	}
	if waiter, ok := evsourcing.Capability[evsourcing.Waiter](s.store); ok {
		call("Wait", func() error { return waiter.Wait(ctx, head) })
	}
	if finder, ok := evsourcing.Capability[evsourcing.Finder](s.store); ok {
		call("Find", func() error { _, _, err := finder.Find(ctx, id, batch.Events[0].ID); return err })
	}
	if snapshots, ok := evsourcing.Capability[evsourcing.SnapshotStore](s.store); ok {
		call("SaveSnapshot", func() error { return snapshots.SaveSnapshot(ctx, newSnapshot(id, 2)) })
		call("LoadSnapshot", func() error { _, _, err := snapshots.LoadSnapshot(ctx, id); return err })
		if _, ok := s.loadSnapshot(id); ok {
			s.errorf("SaveSnapshot under a cancelled context saved the snapshot")
		}
	}
	if checkpoints, ok := evsourcing.Capability[evsourcing.CheckpointStore](s.store); ok {
		c := evsourcing.Checkpoint{Position: 1, EventID: uuid.New()}
		call("SaveCheckpoint", func() error { return checkpoints.SaveCheckpoint(ctx, "name", c) })
		call("Checkpoint", func() error { _, _, err := checkpoints.Checkpoint(ctx, "name"); return err })
		if _, ok := s.checkpoint("name"); ok {
			s.errorf("SaveCheckpoint under a cancelled context saved the checkpoint")
		}
	}
	if claimer, ok := evsourcing.Capability[evsourcing.Claimer](s.store); ok {
		call("Claim", func() error { _, err := claimer.Claim(ctx, "name", "owner", time.Hour); return err })
		if _, err := s.claim("name", "another", time.Hour); err != nil {
			s.errorf("Claim failed, after a Claim under a cancelled context: %v", err)
		}
	}
}
