// Package mixed puts a load like a service's on an event store: clients that update and
// load aggregates, a few of which are in much demand, while a projection follows the
// log and a reactor the bus. It is for tests and benchmarks only.
//
// [Service.Closed] finds out how much a store can take: each client goes on as soon as
// it has its answer. [Service.Open] finds out how long callers wait at a given rate:
// operations are due at times that were fixed beforehand, and each one's latency counts
// from when it was due. So what piles up behind a slow one counts as slow too, as it
// would for callers who don't know of one another. (A closed loop stops asking while
// the store stands still, and so misses most of what its callers would have seen: this
// is called coordinated omission.)
//
//	service, err := mixed.Start(ctx, store, &mixed.Options{Handler: handler, Observe: observe})
//	most := service.Closed(ctx, 5*time.Second)
//	result := service.Open(ctx, 0.6*most.Rate(), 10*time.Second)
//	err = service.Stop(ctx)
package mixed
