package sqlite

// A statement is one that connections keep prepared.
type statement int

const (
	beginImmediate statement = iota
	commitWork
	rollbackWork
	dataVersion

	lastPosition
	streamNumber
	insertStreamRow
	streamVersion
	insertEvent
	deleteEvents
	findEvent
	headEvent
	nextPosition

	loadForward
	loadBackward
	scanForward
	scanBackward
	scanTopicsForward
	scanTopicsBackward
	scanTypesForward
	scanTypesBackward
	scanBothForward
	scanBothBackward

	readSnapshot
	writeSnapshot
	readCheckpoint
	writeCheckpoint
	deleteCheckpoint

	statements
)

// Parameters of insertEvent, and of the statements that read events.
const (
	insertPosition = iota + 1
	insertVersion
	insertTime
	insertChecksum
	insertID
	insertType
	insertStream
	insertTopic
	insertContentType
	insertTags
	insertMetadata
	insertData
	insertNumber
	insertGuard // the version that the stream must have reached; 0: not asked
)

const (
	scanAfter = iota + 1
	scanUntil
	scanLimit
	scanTopics
	scanTypes
	loadType   = scanTopics
	loadStream = scanTypes
)

// What a scan and a load select.
const (
	scanColumns = "SELECT position, version, time, checksum, id, topic, content_type, tags, metadata, data, type, stream FROM events "
	loadColumns = "SELECT position, version, time, checksum, id, topic, content_type, tags, metadata, data FROM events "
	scanRange   = "WHERE position > ?1 AND position <= ?2 "
	loadRange   = "WHERE number = (SELECT number FROM streams WHERE type = ?4 AND stream = ?5) AND version > ?1 AND version <= ?2 "
	topicsOnly  = "AND topic IN (SELECT value FROM json_each(?4)) "
	typesOnly   = "AND type IN (SELECT value FROM json_each(?5)) "
)

var queries = [statements]string{
	beginImmediate: "BEGIN IMMEDIATE",
	commitWork:     "COMMIT",
	rollbackWork:   "ROLLBACK",
	dataVersion:    "PRAGMA data_version",

	lastPosition:    "SELECT coalesce(max(position), 0) FROM events",
	streamNumber:    "SELECT number FROM streams WHERE type = ?1 AND stream = ?2",
	insertStreamRow: "INSERT INTO streams (type, stream) VALUES (?1, ?2)",
	streamVersion:   "SELECT coalesce(max(version), 0) FROM events WHERE number = ?1",
	// A version of NULL is refused: that is how a wrong version is found without
	// a statement of its own.
	insertEvent: `INSERT INTO events (position, number, version, time, checksum, id, type, stream, topic, content_type, tags, metadata, data)
		VALUES (?1, ?13, CASE WHEN ?14 = 0 OR EXISTS (SELECT 1 FROM events WHERE number = ?13 AND version = ?14) THEN ?2 END,
			?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)`,
	deleteEvents: "DELETE FROM events WHERE position >= ?1",
	findEvent:    "SELECT type, stream, version, position FROM events WHERE id = ?1",
	headEvent:    "SELECT position, id FROM events ORDER BY position DESC LIMIT 1",
	nextPosition: "SELECT coalesce(min(position), 0) FROM events WHERE position > ?1",

	loadForward:        loadColumns + loadRange + "ORDER BY version LIMIT ?3",
	loadBackward:       loadColumns + loadRange + "ORDER BY version DESC LIMIT ?3",
	scanForward:        scanColumns + scanRange + "ORDER BY position LIMIT ?3",
	scanBackward:       scanColumns + scanRange + "ORDER BY position DESC LIMIT ?3",
	scanTopicsForward:  scanColumns + scanRange + topicsOnly + "ORDER BY position LIMIT ?3",
	scanTopicsBackward: scanColumns + scanRange + topicsOnly + "ORDER BY position DESC LIMIT ?3",
	scanTypesForward:   scanColumns + scanRange + typesOnly + "ORDER BY position LIMIT ?3",
	scanTypesBackward:  scanColumns + scanRange + typesOnly + "ORDER BY position DESC LIMIT ?3",
	scanBothForward:    scanColumns + scanRange + topicsOnly + typesOnly + "ORDER BY position LIMIT ?3",
	scanBothBackward:   scanColumns + scanRange + topicsOnly + typesOnly + "ORDER BY position DESC LIMIT ?3",

	readSnapshot: "SELECT version, position, event_id, fingerprint, content_type, time, data FROM snapshots WHERE type = ?1 AND stream = ?2",
	writeSnapshot: `INSERT INTO snapshots (type, stream, version, position, event_id, fingerprint, content_type, time, data)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (stream, type) DO UPDATE SET version = excluded.version, position = excluded.position, event_id = excluded.event_id,
			fingerprint = excluded.fingerprint, content_type = excluded.content_type, time = excluded.time, data = excluded.data
		WHERE fingerprint <> excluded.fingerprint OR version <= excluded.version`,
	readCheckpoint: `SELECT position, event_id, token, saved, owner, lease, CAST(round(unixepoch('subsec') * 1000) AS INTEGER)
		FROM checkpoints WHERE name = ?1
		UNION ALL SELECT 0, x'', 0, 0, '', 0, CAST(round(unixepoch('subsec') * 1000) AS INTEGER) LIMIT 1`,
	writeCheckpoint: `INSERT INTO checkpoints (name, position, event_id, token, saved, owner, lease) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (name) DO UPDATE SET position = excluded.position, event_id = excluded.event_id, token = excluded.token,
			saved = excluded.saved, owner = excluded.owner, lease = excluded.lease`,
	deleteCheckpoint: "DELETE FROM checkpoints WHERE name = ?1",
}
