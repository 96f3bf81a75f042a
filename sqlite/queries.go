package sqlite

// A statement is one that connections keep prepared.
type statement int

const (
	beginImmediate statement = iota
	commitWork
	rollbackWork
	dataVersion

	lastPosition
	findStream
	insertStream
	findKind
	insertKind
	readKind
	streamVersion
	insertEvent
	deleteEvents
	findEvent
	headEvent

	loadForward
	loadBackward
	scanForward
	scanBackward
	scanSomeForward
	scanSomeBackward

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
	insertKindNumber
	insertNumber
	insertVersion
	insertTime
	insertChecksum
	insertID
	insertStreamText
	insertHeader
	insertData
	insertGuard // the version that the stream must have reached; 0: not asked
)

const (
	scanAfter = iota + 1
	scanUntil
	scanLimit
	scanTopics // a JSON array; NULL: all
	scanTypes  // likewise
	loadType   = scanTopics
	loadStream = scanTypes
)

// Parts of the statements that read events.
const (
	loadColumns = "SELECT position, kind, version, time, checksum, id, header, data FROM events "
	scanColumns = "SELECT position, kind, version, time, checksum, id, header, data, stream FROM events "
	loadRange   = "WHERE number = (SELECT number FROM streams WHERE type = ?4 AND stream = ?5) AND version > ?1 AND version <= ?2 "
	scanRange   = "WHERE position > ?1 AND position <= ?2 "
	scanSome    = `AND kind IN (SELECT kind FROM kinds
		WHERE (?4 IS NULL OR topic IN (SELECT value FROM json_each(?4))) AND (?5 IS NULL OR type IN (SELECT value FROM json_each(?5)))) `
)

var queries = [statements]string{
	beginImmediate: "BEGIN IMMEDIATE",
	commitWork:     "COMMIT",
	rollbackWork:   "ROLLBACK",
	dataVersion:    "PRAGMA data_version",

	lastPosition:  "SELECT coalesce(max(position), 0) FROM events",
	findStream:    "SELECT number FROM streams WHERE type = ?1 AND stream = ?2",
	insertStream:  "INSERT INTO streams (type, stream) VALUES (?1, ?2)",
	findKind:      "SELECT kind FROM kinds WHERE type = ?1 AND topic = ?2 AND content_type = ?3",
	insertKind:    "INSERT INTO kinds (type, topic, content_type) VALUES (?1, ?2, ?3)",
	readKind:      "SELECT type, topic, content_type FROM kinds WHERE kind = ?1",
	streamVersion: "SELECT coalesce(max(version), 0) FROM events WHERE number = ?1",
	// A version of NULL is refused: that is how a wrong version is found without
	// a statement of its own.
	insertEvent: `INSERT INTO events (position, kind, number, version, time, checksum, id, stream, header, data)
		VALUES (?1, ?2, ?3, CASE WHEN ?11 = 0 OR EXISTS (SELECT 1 FROM events WHERE number = ?3 AND version = ?11) THEN ?4 END,
			?5, ?6, ?7, ?8, ?9, ?10)`,
	deleteEvents: "DELETE FROM events WHERE position >= ?1",
	findEvent:    "SELECT type, events.stream, version, position FROM events JOIN streams USING (number) WHERE id = ?1",
	headEvent:    "SELECT position, id FROM events ORDER BY position DESC LIMIT 1",

	loadForward:  loadColumns + loadRange + "ORDER BY version LIMIT ?3",
	loadBackward: loadColumns + loadRange + "ORDER BY version DESC LIMIT ?3",
	// The other bound is the reader's to check: here it would cost more.
	scanForward:      scanColumns + "WHERE position > ?1 ORDER BY position LIMIT ?3",
	scanBackward:     scanColumns + "WHERE position <= ?2 ORDER BY position DESC LIMIT ?3",
	scanSomeForward:  scanColumns + scanRange + scanSome + "ORDER BY position LIMIT ?3",
	scanSomeBackward: scanColumns + scanRange + scanSome + "ORDER BY position DESC LIMIT ?3",

	readSnapshot: "SELECT version, position, event_id, fingerprint, content_type, time, checksum, data FROM snapshots WHERE type = ?1 AND stream = ?2",
	writeSnapshot: `INSERT INTO snapshots (type, stream, version, position, event_id, fingerprint, content_type, time, checksum, data)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
		ON CONFLICT (stream, type) DO UPDATE SET version = excluded.version, position = excluded.position, event_id = excluded.event_id,
			fingerprint = excluded.fingerprint, content_type = excluded.content_type, time = excluded.time, checksum = excluded.checksum, data = excluded.data
		WHERE fingerprint <> excluded.fingerprint OR version <= excluded.version`,
	readCheckpoint: `SELECT position, event_id, token, saved, owner, lease, CAST(round(unixepoch('subsec') * 1000) AS INTEGER)
		FROM checkpoints WHERE name = ?1
		UNION ALL SELECT 0, x'', 0, 0, '', 0, CAST(round(unixepoch('subsec') * 1000) AS INTEGER) LIMIT 1`,
	writeCheckpoint: `INSERT INTO checkpoints (name, position, event_id, token, saved, owner, lease) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (name) DO UPDATE SET position = excluded.position, event_id = excluded.event_id, token = excluded.token,
			saved = excluded.saved, owner = excluded.owner, lease = excluded.lease`,
	deleteCheckpoint: "DELETE FROM checkpoints WHERE name = ?1",
}
