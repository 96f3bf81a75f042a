package main

import (
	"fmt"
	"strings"
)

// A group of benchmarks is run together and has a file of results.
type group struct {
	name, title string
	about       string
	tables      []table
	plots       []plotSpec
	// pkg is where the benchmarks are; if empty, ./bench.
	pkg string
	// patterns are run in a process each, so that large stores are not in memory
	// together. If nil, one with all tables.
	patterns []string
}

// A table is a benchmark of a group.
type table struct {
	benchmark string // without "Benchmark"
	about     string
}

var groups = []group{
	{
		name: "save", title: "Saving in memory",
		tables: []table{
			{"Save", "One event, recorded and saved. Floor: encode the payload as JSON, a UUID, the clock, and an insertion into a map; " +
				"with a bus, a hop over a channel too; of a transaction, which loads a short stream first, to decode that."},
			{"SaveStream", "The same to a stream that has some events already."},
			{"ScaleStreams", "An append to a random one of many streams. Floor: a Go map of as many counters."},
		},
		plots: []plotSpec{{name: "save-stream", title: "Saving to a stream of so many events, in memory", bench: "SaveStream", x: "events", floor: true}},
	},
	{
		name: "load", title: "Loading an aggregate",
		tables: []table{{"Load", "By a repository; a figure is for one event of the stream. Floor: read the rows by the driver, and json.Unmarshal of each payload; " +
			"in memory, json.Unmarshal alone."}},
		plots: []plotSpec{{name: "load", title: "Loading a stream of so many events, an event", bench: "Load", x: "events", series: "engine", floor: true}},
	},
	{
		name: "read", title: "Reading a store",
		tables: []table{{"Read", "Without decoding payloads; a figure is for one event that is stored. Floor: the driver reads the same rows; of the filtered ones, all rows. " +
			"In memory, to copy what is in a map of slices. The stream has 1,000 events, together or among those of 100 streams."}},
	},
	{
		name: "publish", title: "Publishing",
		about: "Floor: a hop over a buffered channel to a goroutine, for each reactor. A peer is the in-process Pub/Sub of " +
			"[Watermill](https://github.com/ThreeDotsLabs/watermill), with the same payload and subscribers that acknowledge. " +
			"*Watermill* is as it comes: each message is carried by goroutines of its own, so that they arrive in any order, and a publisher never waits, " +
			"however many are on their way. *Watermill in order* publishes the next message when all subscribers have acknowledged the one before. " +
			"The bus keeps each stream in order, retries, and makes publishers wait when a buffer is full.",
		tables: []table{
			{"Publish", "One message, until all reactors are done. The messages are of one stream or spread over 64."},
			{"PublishSubscriptions", "To a bus with so many subscriptions, one of which matches."},
		},
	},
	{
		name: "catchup", title: "Subscriptions that catch up",
		tables: []table{{"CatchUp", "From the beginning of a log to its end, with a handler that counts: all events, each by a reactor, in 8 partitions, and with a filter that " +
			"leaves out 99 %. The figure is for one event of the log. Floor: read the log by the driver, and json.Unmarshal of what the handler gets; " +
			"in memory, json.Unmarshal alone."}},
	},
	{
		name: "projection", title: "Projections",
		tables: []table{{"Projection", "A subscription counts the events of each stream, 1,000 events a transaction, which saves the checkpoint too: exactly once. " +
			"Floor: the same by the driver, in transactions as large, and json.Unmarshal of each payload. In memory, a Go map."}},
	},
	{
		name: "snapshot", title: "Snapshots",
		tables: []table{
			{"Snapshot", "A load, in memory: with a snapshot every 1,000 events, of which the last 999 are in none, without (off), and with one at every version (each), which is " +
				"what a cache would be. Floor: json.Unmarshal of the snapshot, if there is one, and of each event after it."},
			{"SnapshotSave", "One event saved, with a snapshot taken in the background every so many events, or none (0)."},
		},
	},
	{
		name: "encoder", title: "Encoders",
		tables: []table{{"Encoder", "Saving an event and loading a stream of 1,000 (for one event), in memory, with different encoders: JSON of the standard library, CBOR by " +
			"[fxamacker/cbor](https://github.com/fxamacker/cbor), and JSON by [Sonic](https://github.com/bytedance/sonic). Floor: as above, with that encoder."}},
	},
	{
		name: "append", title: "Appending by many writers",
		about: "Each appends one event at a time, to streams of its own, and waits until it is durable.",
		tables: []table{{"Append", "Floor of sqlite: one writer inserts the same row by the driver, each in a transaction of its own (more writers are no faster). " +
			"Floor of postgres: as many writers, 90 at most, insert a row by a prepared statement each, which gives no order. In memory: a map under a lock."}},
		plots: []plotSpec{{name: "writers", title: "Appends by so many writers", bench: "Append", x: "writers", series: "engine", rate: true, floor: true}},
	},
	{
		name: "payload", title: "Payloads",
		tables: []table{{"Payload", "One writer appends events of so many bytes, and streams of ten are loaded (for one event). Floors as above; in memory, to encode and to decode as much JSON."}},
		plots: []plotSpec{
			{name: "payload-append", title: "Appending an event of so many bytes", bench: "Payload", x: "bytes", series: "engine", where: "op=append", floor: true},
			{name: "payload-load", title: "Loading an event of so many bytes", bench: "Payload", x: "bytes", series: "engine", where: "op=load", floor: true},
		},
	},
	{
		name: "scale", title: "Stores of different sizes",
		about: "What an operation costs must not depend on how much is stored. The streams have 20 events each, which lie far apart; a figure is for one event.",
		tables: []table{{"Scale", "Appends are by 64 writers, in memory by one. Floor of appending: one writer, the driver, an empty table; of loading and reading: " +
			"the driver, the same rows."}},
		plots: []plotSpec{
			{name: "scale-append", title: "Appending to a store of so many events", bench: "Scale", x: "events", series: "engine", where: "op=append"},
			{name: "scale-load", title: "Loading from a store of so many events, an event", bench: "Scale", x: "events", series: "engine", where: "op=load", floor: true},
			{name: "scale-read", title: "Reading a whole store of so many events, an event", bench: "Scale", x: "events", series: "engine", where: "op=read", floor: true},
		},
		patterns: scalePatterns(),
	},
	{
		name: "mixed", title: "Latency under a mixed load", pkg: "./bench/latency",
		about: "A load like a service's, from 64 clients: operations arrive at 60 % of what the store can take, whether those before are done or not, and latency counts from when " +
			"each was due. Streams are chosen by a Zipf distribution; 80 % of the operations update an aggregate and 20 % load one, with a reactor and a projection following. " +
			"Floor of sqlite: to write and sync 4 KiB on the same disk; of postgres: a bare prepared insertion of one row.",
		tables: []table{{"Mixed", ""}},
	},
}

// scalePatterns names a process for each engine and size.
func scalePatterns() (list []string) {
	for _, engine := range []string{"memory", "sqlite", "postgres"} {
		for size := 10_000; size <= 10_000_000; size *= 10 {
			list = append(list, fmt.Sprintf("^BenchmarkScale$/^engine=%s$/^events=%d$", engine, size))
		}
	}
	return list
}

// processes returns the patterns of the group.
func (g *group) processes() []string {
	if g.patterns != nil {
		return g.patterns
	}
	names := make([]string, len(g.tables))
	for i, t := range g.tables {
		names[i] = t.benchmark
	}
	return []string{"^Benchmark(" + strings.Join(names, "|") + ")$"}
}

func (g *group) dir() string {
	if g.pkg != "" {
		return g.pkg
	}
	return "./bench"
}
