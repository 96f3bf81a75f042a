// Package sqlite keeps events in one SQLite file: the durable store for a
// service that runs on one machine. A [Store] has every capability that
// evsourcing knows, and runs projections exactly once.
//
//	store, err := sqlite.Open("flights.db", nil)
//
// The file is read and written by one process or several, on one machine: its
// locks do not work on a network file system. Writers never wait for a timer.
// What waits while one transaction is committed goes into the next one
// together, so that many writers share the cost of making it durable.
//
// Tables of the application may live in the same file, under other names than
// events, events_schema, events_readable, streams, kinds, snapshots and
// checkpoints. With
// [Store.Handler] a subscription writes them and its checkpoint in one
// transaction. The view events_readable shows events to people:
//
//	sqlite3 flights.db "SELECT stream, topic, data ->> 'airport' FROM events_readable"
//
// Never copy, move or open the file other than through SQLite while a process
// uses it: [Store.Backup] makes a copy.
package sqlite
