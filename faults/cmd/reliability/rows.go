package main

// The sections of the document.
const (
	atStore         = "The store"
	atDurability    = "Durability"
	atBus           = "The bus"
	atSubscriptions = "Subscriptions and projections"
	atLimits        = "Limits"
)

// rows are all promises that have a suite, in the order of the document.
var rows = []row{
	{
		ID: "linear-memory", Section: atStore,
		Promise: "All calls on a store in memory take effect at one moment each, as if they were made one after the other.",
		Package: "./faults/linear", Test: "TestMemory", Control: "TestMemoryControl",
	},
	{
		ID: "linear-sqlite", Section: atStore,
		Promise: "The same holds for SQLite, over all processes that use a file, while some of them are killed and contexts end during commits.",
		Package: "./faults/linear", Test: "TestSQLite", Control: "TestSQLiteControl",
	},
	{
		ID: "linear-postgres", Section: atStore,
		Promise: "The same holds for PostgreSQL, while requests and answers get lost, contexts end during commits, and the server is killed.",
		Package: "./faults/linear", Test: "TestPostgres", Control: "TestPostgresControl",
	},
	{
		ID: "linear-checker", Section: atStore,
		Promise: "The checker of these histories judges as porcupine does without advice.",
		Package: "./faults/linear", Test: "TestGuide", Control: "TestGuideControl",
	},
	{
		ID: "model", Section: atStore,
		Promise: "Random calls on two stores with the same data, racing appends among them, do what a plain model does: in memory, on SQLite and on PostgreSQL.",
		Package: "./faults", Test: "TestModel", Control: "TestBrokenStores",
	},
	{
		ID: "kill-clients", Section: atDurability,
		Promise: "A program that is killed by SIGKILL at any moment loses nothing that was acknowledged, leaves no append by half, and its projection is exact.",
		Package: "./faults/kill", Test: "TestKilledClients", Control: "TestKilledClientsControl",
	},
	{
		ID: "kill-server", Section: atDurability,
		Promise: "PostgreSQL's server that is killed under writers, whole or in part, loses nothing that was acknowledged, stores nothing twice, and a projection that goes on is exact.",
		Package: "./faults/kill", Test: "TestKilledServer", Control: "TestKilledServerControl",
	},
	{
		ID: "power-sqlite", Section: atDurability,
		Promise: "What SQLite has acknowledged survives the loss of power at any moment.",
		Package: "./faults/powerloss", Test: "TestSQLiteLosesNothingWithoutPower", Control: "TestSQLiteLosesNothingWithoutPowerControl",
		Note: "The disk is a file system in memory that forgets what was not synced, data and names. The control has Durability Normal.",
	},
	{
		ID: "power-postgres", Section: atDurability,
		Promise: "What PostgreSQL has acknowledged survives the loss of power at any moment.",
		Package: "./faults/powerloss", Test: "TestPostgresLosesNothingWithoutPower", Control: "TestPostgresLosesNothingWithoutPowerControl",
		Note: "This disk keeps the name of a file that is synced, as journaled file systems do: PostgreSQL needs that. The control has synchronous_commit off.",
	},
	{
		ID: "corrupt-sqlite", Section: atDurability,
		Promise: "A flipped bit of an SQLite store's file, or a file that is cut off, is harmless or reported.",
		Package: "./faults/corrupt", Test: "TestSQLiteFile", Control: "TestSQLiteFileControl",
	},
	{
		ID: "corrupt-sqlite-log", Section: atDurability,
		Promise: "A flipped bit of the write-ahead log that a killed process leaves is harmless or reported, but for one in the last commit, which looks as if a crash had cut it short.",
		Package: "./faults/corrupt", Test: "TestSQLiteLog", Control: "TestSQLiteLogControl",
		Note: "A log that is cut off at the end of a commit can't be told from one that ended there.",
	},
	{
		ID: "corrupt-postgres", Section: atDurability,
		Promise: "A flipped bit of PostgreSQL's files, or a file that is cut off, is harmless or reported, with the cluster's data checksums.",
		Package: "./faults/corrupt", Test: "TestPostgresFiles", Control: "TestPostgresFilesControl",
		Note: "The control has no data checksums, and finds what is silent then: turn them on.",
	},
	{
		ID: "soak", Section: atDurability,
		Promise: "Nothing that is used grows with time, while handlers fail, connections are cut and processes are killed; and all is there in the end.",
		Package: "./faults/soak", Test: "TestSoak", Control: "TestSoakControl",
	},
	{
		ID: "bus-close", Section: atBus,
		Promise: "Close hands every message over or counts it, whatever goes on meanwhile.",
		Package: ".", Test: "TestBusManyCloseRounds", Control: "TestBusManyCloseRoundsControl",
	},
	{
		ID: "bus-deadlock", Section: atBus,
		Promise: "Reactors that publish to themselves and to each other, at any depth and with any buffer, do not deadlock.",
		Package: ".", Test: "TestBusRandomPrograms", Control: "TestBusRandomProgramsControl",
	},
	{
		ID: "follow", Section: atSubscriptions,
		Promise: "Subscriptions are complete, in order and never back in time, and exact in a read model of the store, while their processes are killed, paused and replaced, and the server is stopped.",
		Package: "./faults/follow", Test: "TestFollow", Control: "TestFollowControl",
	},
	{
		ID: "projections", Section: atSubscriptions,
		Promise: "Projections with a transaction have each event once, in order, while runs end at any moment, handlers fail, and others race for the name.",
		Package: "./faults", Test: "TestProjectionsAreExact", Control: "./faults/follow TestFollowControl",
	},
	{
		ID: "large-event", Section: atLimits,
		Promise: "An event of 64 MiB is refused before anything is done with it.",
		Package: "./faults/attack", Test: "TestLargeEvent", Control: "TestLargeEventControl",
	},
	{
		ID: "hostile-names", Section: atLimits,
		Promise: "Names that are SQL, patterns or formats are stored as they are, and found by no other.",
		Package: "./faults/attack", Test: "TestHostileNames", Control: "TestHostileNamesControl",
	},
	{
		ID: "large-append", Section: atLimits,
		Promise: "Events that are too large together are refused, and what is allowed takes a small multiple of its size.",
		Package: "./faults/attack", Test: "TestLargeAppend",
	},
	{
		ID: "large-transaction", Section: atLimits,
		Promise: "So are the appends of one transaction of PostgreSQL.",
		Package: "./faults/attack", Test: "TestLargeTransaction",
	},
	{
		ID: "metadata-bomb", Section: atLimits,
		Promise: "Tags and metadata are bounded together.",
		Package: "./faults/attack", Test: "TestMetadataBomb",
	},
	{
		ID: "many-topics", Section: atLimits,
		Promise: "A million topics take time and memory by their number, and not by its square.",
		Package: "./faults/attack", Test: "TestManyTopics",
	},
	{
		ID: "many-stored-topics", Section: atLimits,
		Promise: "Events of a million topics: what an engine remembers of them is bounded.",
		Package: "./faults/attack", Test: "TestManyStoredTopics",
	},
	{
		ID: "many-streams", Section: atLimits,
		Promise: "A million streams: a durable store remembers the latest ones only.",
		Package: "./faults/attack", Test: "TestManyStreams",
	},
	{
		ID: "many-batches", Section: atLimits,
		Promise: "An append to 100,000 streams is stored whole, and recognised when it comes again.",
		Package: "./faults/attack", Test: "TestManyBatches",
	},
	{
		ID: "many-partitions", Section: atLimits,
		Promise: "A subscription with a million partitions has a bounded number of lanes.",
		Package: "./faults/attack", Test: "TestManyPartitions",
	},
	{
		ID: "stuck-reactor", Section: atLimits,
		Promise: "A reactor that never returns holds up no other subscription, what waits for it is bounded, and Close returns when its context ends.",
		Package: "./faults/attack", Test: "TestStuckReactor",
	},
	{
		ID: "stuck-handler", Section: atLimits,
		Promise: "A handler that never returns holds up no other subscription.",
		Package: "./faults/attack", Test: "TestStuckHandler",
	},
	{
		ID: "stuck-transaction", Section: atLimits,
		Promise: "The function of a transaction of SQLite that never returns makes other writers fail in bounded time, and readers go on.",
		Package: "./faults/attack", Test: "TestStuckTransaction",
	},
	{
		ID: "slow-iterators", Section: atLimits,
		Promise: "An iterator that is held open holds up nobody, and the write-ahead log does not grow.",
		Package: "./faults/attack", Test: "TestSlowIterators",
	},
	{
		ID: "json-bomb", Section: atLimits,
		Promise: "A payload that explodes is an error that names the event, in bounded memory.",
		Package: "./faults/attack", Test: "TestJSONBomb",
	},
	{
		ID: "stored-bomb", Section: atLimits,
		Promise: "A stored bomb is an error and no crash, and the views show all else.",
		Package: "./faults/attack", Test: "TestStoredJSONBomb",
	},
	{
		ID: "cloudevents-bomb", Section: atLimits,
		Promise: "A CloudEvents message from outside is decoded or refused, in bounded memory.",
		Package: "./faults/attack", Test: "TestCloudEventsBomb",
	},
	{
		ID: "snapshot-bomb", Section: atLimits,
		Promise: "A snapshot that is a bomb counts as none.",
		Package: "./faults/attack", Test: "TestSnapshotBomb",
	},
}
