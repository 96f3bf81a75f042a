-- The events, in one table. Nothing ever updates or deletes a row of it.
--
-- The position lock is the advisory lock of the two numbers below: 1163088725
-- ('ESEU') and the schema's oid. Whoever draws from positions takes it before,
-- and commits at once; so the order of positions is the order of commits.

CREATE SEQUENCE {schema}.positions AS bigint CACHE 1;

CREATE TABLE {schema}.events (
    position     bigint NOT NULL,
    version      bigint NOT NULL,
    time         bigint NOT NULL, -- microseconds since 1970, UTC
    id           uuid NOT NULL,
    type         text COLLATE "C" NOT NULL,
    stream       text COLLATE "C" NOT NULL,
    topic        text COLLATE "C" NOT NULL,
    content_type text COLLATE "C" NOT NULL,
    data         bytea NOT NULL,
    tags         text COLLATE "C", -- a JSON array; NULL if there are none
    metadata     text COLLATE "C", -- a JSON object; NULL if it is empty
    CONSTRAINT events_position PRIMARY KEY (position),
    CONSTRAINT events_version UNIQUE (stream, type, version),
    CONSTRAINT events_id UNIQUE (id)
);

ALTER SEQUENCE {schema}.positions OWNED BY {schema}.events.position;

CREATE TABLE {schema}.checkpoints (
    name     text COLLATE "C" NOT NULL CONSTRAINT checkpoints_name PRIMARY KEY,
    position bigint NOT NULL,
    event_id uuid NOT NULL,
    token    bigint NOT NULL,
    saved    boolean NOT NULL, -- false if the name was claimed, and no more
    owner    text COLLATE "C" NOT NULL,
    until    timestamptz NOT NULL -- the owner's lease ends
) WITH (fillfactor = 50);

CREATE TABLE {schema}.snapshots (
    type         text COLLATE "C" NOT NULL,
    stream       text COLLATE "C" NOT NULL,
    version      bigint NOT NULL,
    position     bigint NOT NULL,
    event_id     uuid NOT NULL,
    fingerprint  text COLLATE "C" NOT NULL,
    content_type text COLLATE "C" NOT NULL,
    data         bytea NOT NULL,
    time         bigint NOT NULL, -- microseconds since 1970, UTC
    CONSTRAINT snapshots_stream PRIMARY KEY (stream, type)
);

-- append stores a group of appends, each of them whole or not at all, and says
-- which were refused: those that expect another version, or have an event ID that
-- is stored. An element of the arrays is an event. expected is set for the first
-- event of a batch that expects a version, and -1 otherwise; versions is 0 for an
-- event that goes to the end of its stream, wherever that is.
--
-- If strict, one that is refused makes all fail, with the SQLSTATE ES001.
CREATE FUNCTION {schema}.append(
    strict boolean, numbering boolean,
    appends int[], expected bigint[], versions bigint[], times bigint[], ids uuid[], types text[], streams text[],
    topics text[], content_types text[], datas bytea[], tags text[], metadata text[],
    OUT last_position bigint, OUT refused int[], OUT new_versions bigint[])
LANGUAGE plpgsql
SET enable_seqscan = off -- a plan made for a small table must do for a large one
AS $$
DECLARE
    first_position bigint;
    stored         bigint;
BEGIN
    IF strict THEN -- should the client vanish before it commits, the lock must not be held for long
        PERFORM set_config('idle_in_transaction_session_timeout', '5000', true);
    END IF;
    PERFORM pg_advisory_xact_lock(1163088725, '{schema}'::regnamespace::oid::int);
    -- Each statement from here on sees all that was stored before the lock was had.
    -- The subqueries have no other plan than one index probe.
    refused := ARRAY(
        SELECT e.append
        FROM unnest(appends, expected, types, streams, ids) AS e(append, expected, type, stream, id)
        WHERE e.expected >= 0 AND e.expected <> coalesce(
                (SELECT x.version FROM {schema}.events x WHERE x.stream = e.stream AND x.type = e.type ORDER BY x.version DESC LIMIT 1), 0)
            OR (SELECT x.position FROM {schema}.events x WHERE x.id = e.id LIMIT 1) IS NOT NULL);
    IF strict AND refused <> '{}' THEN
        RAISE EXCEPTION 'evsourcing: an append of the transaction can not be stored' USING ERRCODE = 'ES001';
    END IF;
    IF NOT numbering THEN
        WITH i AS (
            INSERT INTO {schema}.events (position, version, time, id, type, stream, topic, content_type, data, tags, metadata)
            SELECT nextval('{schema}.positions'), e.version, e.time, e.id, e.type, e.stream, e.topic, e.content_type, e.data,
                nullif(e.tags, ''), nullif(e.metadata, '')
            FROM unnest(appends, versions, times, ids, types, streams, topics, content_types, datas, tags, metadata)
                AS e(append, version, time, id, type, stream, topic, content_type, data, tags, metadata)
            WHERE e.append <> ALL (refused)
            RETURNING position
        )
        SELECT min(i.position), max(i.position), count(*) FROM i INTO first_position, last_position, stored;
    ELSE
        WITH i AS (
            INSERT INTO {schema}.events (position, version, time, id, type, stream, topic, content_type, data, tags, metadata)
            SELECT nextval('{schema}.positions'), e.version, e.time, e.id, e.type, e.stream, e.topic, e.content_type, e.data,
                nullif(e.tags, ''), nullif(e.metadata, '')
            FROM (
                SELECT u.n, u.time, u.id, u.type, u.stream, u.topic, u.content_type, u.data, u.tags, u.metadata,
                    CASE WHEN u.version > 0 THEN u.version
                    ELSE row_number() OVER (PARTITION BY u.stream, u.type ORDER BY u.n) + coalesce(
                        (SELECT x.version FROM {schema}.events x WHERE x.stream = u.stream AND x.type = u.type ORDER BY x.version DESC LIMIT 1), 0)
                    END AS version
                FROM unnest(appends, versions, times, ids, types, streams, topics, content_types, datas, tags, metadata)
                    WITH ORDINALITY AS u(append, version, time, id, type, stream, topic, content_type, data, tags, metadata, n)
                WHERE u.append <> ALL (refused)
                ORDER BY u.n
            ) AS e
            RETURNING position, version
        )
        SELECT min(i.position), max(i.position), count(*), array_agg(i.version ORDER BY i.position) FROM i
        INTO first_position, last_position, stored, new_versions;
    END IF;
    IF last_position - first_position + 1 <> stored THEN -- or callers would get wrong positions
        RAISE EXCEPTION 'evsourcing: somebody draws from the sequence of positions without the position lock' USING ERRCODE = '40001';
    END IF;
END
$$;

-- advance saves a checkpoint if the one before is still what its owner thinks, and
-- fails with the SQLSTATE ES002 otherwise.
CREATE FUNCTION {schema}.advance(
    subscription text, old_position bigint, new_position bigint, new_event_id uuid, new_token bigint)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.checkpoints AS c (name, position, event_id, token, saved, owner, until)
    VALUES (subscription, new_position, new_event_id, new_token, true, '', '-infinity')
    ON CONFLICT ON CONSTRAINT checkpoints_name DO UPDATE
    SET position = excluded.position, event_id = excluded.event_id, token = excluded.token, saved = true
    WHERE c.token <= excluded.token AND c.until <> 'infinity' -- as of a name that was replaced
        AND (NOT c.saved OR c.position = old_position);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'evsourcing: the checkpoint is another owner''s' USING ERRCODE = 'ES002';
    END IF;
END
$$;
