// Package postgres is the event store for many processes: an
// [evsourcing.EventStore] in a PostgreSQL database, of version 15 or later, with
// every capability.
//
//	store, err := postgres.Open(ctx, "postgres://app@localhost/shop", nil)
//	if err != nil { ... }
//	defer store.Close(ctx)
//
// # Order
//
// Whoever stores events takes a lock immediately before positions are drawn, and
// commits at once. So the order of positions is the order of commits, and a
// checkpoint is one integer: no reader ever skips an event that becomes visible
// late. Gaps between positions mean nothing. The lock costs little, because all
// appends of a process that wait are stored together, by one call of a function
// in one round trip (group commit). Each is still judged on its own.
//
// # Durability
//
// An append is acknowledged after PostgreSQL has acknowledged its commit, as
// durable as the server's settings make it: fsync and synchronous_commit have to
// be on, as they are by default. If the connection breaks before the answer has
// come, the store connects again and finds out. [evsourcing.ErrUncertain] is left
// for when the database can't be reached, or the caller does not wait.
//
// # Transactions
//
// [Store.InTx] runs a function in a transaction that appends events and does
// whatever else. [Store.Handler] makes a subscription's handler that does its work
// in the transaction that saves the checkpoint: exactly once.
//
// # Proxies
//
// The store needs no session state, so it works behind a proxy that pools
// transactions, such as PgBouncer. Such a proxy does not know pgx's prepared
// statements unless it says so: add default_query_exec_mode=cache_describe to the
// connection string. Name a direct connection in Options.ListenDSN, or set
// NoListen, because notifications do not pass.
package postgres
