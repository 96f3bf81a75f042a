-- Version 1: the tables.

-- One row for each version of the schema that was applied.
CREATE TABLE events_schema (
  version INTEGER PRIMARY KEY,
  applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;

-- The streams, by numbers in the order of their first events. What is written
-- at about the same time then stands together in the index of their events too.
CREATE TABLE streams (
  number INTEGER PRIMARY KEY,
  type   TEXT NOT NULL,
  stream TEXT NOT NULL,
  UNIQUE (stream, type)
) STRICT;

-- The kinds of events, of which there are few.
CREATE TABLE kinds (
  kind         INTEGER PRIMARY KEY,
  type         TEXT NOT NULL,    -- of the stream
  topic        TEXT NOT NULL,
  content_type TEXT NOT NULL,
  UNIQUE (topic, type, content_type)
) STRICT;

-- The log. Its order is the order of the table itself. Data comes last, because
-- what stands behind a large value takes longer to read.
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  kind     INTEGER NOT NULL,
  number   INTEGER NOT NULL,     -- of the stream
  version  INTEGER NOT NULL,
  time     INTEGER NOT NULL,     -- microseconds since 1970
  checksum INTEGER NOT NULL,     -- CRC-32C of what the event is
  id       BLOB NOT NULL,
  stream   TEXT NOT NULL,        -- as in streams: a reader of the log need not look there
  header   TEXT,                 -- tags, a JSON array, a newline, and metadata, a JSON object; or NULL
  data     BLOB NOT NULL
) STRICT;

-- Loads a stream, and lets one of two racing writers win.
CREATE UNIQUE INDEX events_stream ON events (number, version);

-- Recognises an append that is repeated.
CREATE UNIQUE INDEX events_id ON events (id);

CREATE TABLE snapshots (
  stream       TEXT NOT NULL,
  type         TEXT NOT NULL,
  version      INTEGER NOT NULL,
  position     INTEGER NOT NULL,
  event_id     BLOB NOT NULL,
  fingerprint  TEXT NOT NULL,
  content_type TEXT NOT NULL,
  time         INTEGER NOT NULL, -- microseconds since 1970
  checksum     INTEGER NOT NULL, -- CRC-32C of the rest
  data         BLOB NOT NULL,
  PRIMARY KEY (stream, type)
) STRICT;

CREATE TABLE checkpoints (
  name     TEXT PRIMARY KEY NOT NULL,
  position INTEGER NOT NULL,
  event_id BLOB NOT NULL,
  token    INTEGER NOT NULL,
  saved    INTEGER NOT NULL,     -- 0: the name was claimed only
  owner    TEXT NOT NULL,
  lease    INTEGER NOT NULL      -- when the owner's lease ends: milliseconds since 1970
) STRICT;

INSERT INTO events_schema (version) VALUES (1);
