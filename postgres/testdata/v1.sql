--
-- PostgreSQL database dump
--


-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: evsourcing; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA evsourcing;


--
-- Name: advance(text, bigint, bigint, uuid, bigint); Type: FUNCTION; Schema: evsourcing; Owner: -
--

CREATE FUNCTION evsourcing.advance(subscription text, old_position bigint, new_position bigint, new_event_id uuid, new_token bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO "evsourcing".checkpoints AS c (name, position, event_id, token, saved, owner, until)
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


--
-- Name: append(boolean, boolean, integer[], bigint[], bigint[], bigint[], uuid[], text[], text[], text[], text[], bytea[], text[], text[]); Type: FUNCTION; Schema: evsourcing; Owner: -
--

CREATE FUNCTION evsourcing.append(strict boolean, numbering boolean, appends integer[], expected bigint[], versions bigint[], times bigint[], ids uuid[], types text[], streams text[], topics text[], content_types text[], datas bytea[], tags text[], metadata text[], OUT last_position bigint, OUT refused integer[], OUT new_versions bigint[]) RETURNS record
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    first_position bigint;
    stored         bigint;
BEGIN
    IF strict THEN -- should the client vanish before it commits, the lock must not be held for long
        PERFORM set_config('idle_in_transaction_session_timeout', '5000', true);
    END IF;
    PERFORM pg_advisory_xact_lock(1163088725, '"evsourcing"'::regnamespace::oid::int);
    -- Each statement from here on sees all that was stored before the lock was had.
    -- The subqueries have no other plan than one index probe.
    refused := ARRAY(
        SELECT e.append
        FROM unnest(appends, expected, types, streams, ids) AS e(append, expected, type, stream, id)
        WHERE e.expected >= 0 AND e.expected <> coalesce(
                (SELECT x.version FROM "evsourcing".events x WHERE x.stream = e.stream AND x.type = e.type ORDER BY x.version DESC LIMIT 1), 0)
            OR (SELECT x.position FROM "evsourcing".events x WHERE x.id = e.id LIMIT 1) IS NOT NULL);
    IF strict AND refused <> '{}' THEN
        RAISE EXCEPTION 'evsourcing: an append of the transaction can not be stored' USING ERRCODE = 'ES001';
    END IF;
    IF NOT numbering THEN
        WITH i AS (
            INSERT INTO "evsourcing".events (position, version, time, id, type, stream, topic, content_type, data, tags, metadata)
            SELECT nextval('"evsourcing".positions'), e.version, e.time, e.id, e.type, e.stream, e.topic, e.content_type, e.data,
                nullif(e.tags, ''), nullif(e.metadata, '')
            FROM unnest(appends, versions, times, ids, types, streams, topics, content_types, datas, tags, metadata)
                AS e(append, version, time, id, type, stream, topic, content_type, data, tags, metadata)
            WHERE e.append <> ALL (refused)
            RETURNING position
        )
        SELECT min(i.position), max(i.position), count(*) FROM i INTO first_position, last_position, stored;
    ELSE
        WITH i AS (
            INSERT INTO "evsourcing".events (position, version, time, id, type, stream, topic, content_type, data, tags, metadata)
            SELECT nextval('"evsourcing".positions'), e.version, e.time, e.id, e.type, e.stream, e.topic, e.content_type, e.data,
                nullif(e.tags, ''), nullif(e.metadata, '')
            FROM (
                SELECT u.n, u.time, u.id, u.type, u.stream, u.topic, u.content_type, u.data, u.tags, u.metadata,
                    CASE WHEN u.version > 0 THEN u.version
                    ELSE row_number() OVER (PARTITION BY u.stream, u.type ORDER BY u.n) + coalesce(
                        (SELECT x.version FROM "evsourcing".events x WHERE x.stream = u.stream AND x.type = u.type ORDER BY x.version DESC LIMIT 1), 0)
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


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: checkpoints; Type: TABLE; Schema: evsourcing; Owner: -
--

CREATE TABLE evsourcing.checkpoints (
    name text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    event_id uuid NOT NULL,
    token bigint NOT NULL,
    saved boolean NOT NULL,
    owner text NOT NULL COLLATE pg_catalog."C",
    until timestamp with time zone NOT NULL
)
WITH (fillfactor='50');


--
-- Name: events; Type: TABLE; Schema: evsourcing; Owner: -
--

CREATE TABLE evsourcing.events (
    "position" bigint NOT NULL,
    version bigint NOT NULL,
    "time" bigint NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    stream text NOT NULL COLLATE pg_catalog."C",
    topic text NOT NULL COLLATE pg_catalog."C",
    content_type text NOT NULL COLLATE pg_catalog."C",
    data bytea NOT NULL,
    tags text COLLATE pg_catalog."C",
    metadata text COLLATE pg_catalog."C"
);


--
-- Name: migrations; Type: TABLE; Schema: evsourcing; Owner: -
--

CREATE TABLE evsourcing.migrations (
    version integer NOT NULL,
    applied timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: positions; Type: SEQUENCE; Schema: evsourcing; Owner: -
--

CREATE SEQUENCE evsourcing.positions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: positions; Type: SEQUENCE OWNED BY; Schema: evsourcing; Owner: -
--

ALTER SEQUENCE evsourcing.positions OWNED BY evsourcing.events."position";


--
-- Name: snapshots; Type: TABLE; Schema: evsourcing; Owner: -
--

CREATE TABLE evsourcing.snapshots (
    type text NOT NULL COLLATE pg_catalog."C",
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    "position" bigint NOT NULL,
    event_id uuid NOT NULL,
    fingerprint text NOT NULL COLLATE pg_catalog."C",
    content_type text NOT NULL COLLATE pg_catalog."C",
    data bytea NOT NULL,
    "time" bigint NOT NULL
);


--
-- Data for Name: checkpoints; Type: TABLE DATA; Schema: evsourcing; Owner: -
--

INSERT INTO evsourcing.checkpoints VALUES ('board', 4, '01942c2e-0000-7000-8000-000000000004', 2, true, 'one', '2025-01-02 03:05:00+00');


--
-- Data for Name: events; Type: TABLE DATA; Schema: evsourcing; Owner: -
--

INSERT INTO evsourcing.events VALUES (1, 1, 1735787045123456, '01942c2e-0000-7000-8000-000000000001', 'flight', 'LH-1', 'flight.departed', 'application/json', '\x7b22746f223a2022434447227d', NULL, '{"user":"you"}');
INSERT INTO evsourcing.events VALUES (2, 2, 1735787046123456, '01942c2e-0000-7000-8000-000000000002', 'flight', 'LH-1', 'flight.landed', 'application/json', '\x7b226174223a2022434447227d', '["delay"]', NULL);
INSERT INTO evsourcing.events VALUES (3, 1, 1735787047123456, '01942c2e-0000-7000-8000-000000000003', 'flight', 'AF-2', 'flight.departed', 'application/octet-stream', '\x00ff', NULL, NULL);
INSERT INTO evsourcing.events VALUES (4, 3, 1735787048123456, '01942c2e-0000-7000-8000-000000000004', 'flight', 'LH-1', 'flight.departed', 'application/json', '\x7b22746f223a20224a464b227d', NULL, NULL);


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: evsourcing; Owner: -
--

INSERT INTO evsourcing.migrations VALUES (1, '2025-01-02 03:04:05+00');


--
-- Data for Name: snapshots; Type: TABLE DATA; Schema: evsourcing; Owner: -
--

INSERT INTO evsourcing.snapshots VALUES ('flight', 'LH-1', 2, 2, '01942c2e-0000-7000-8000-000000000002', 'print', 'application/json', '\x7b7d', 1735787046123456);


--
-- Name: positions; Type: SEQUENCE SET; Schema: evsourcing; Owner: -
--

SELECT pg_catalog.setval('evsourcing.positions', 4, true);


--
-- Name: checkpoints checkpoints_name; Type: CONSTRAINT; Schema: evsourcing; Owner: -
--

ALTER TABLE ONLY evsourcing.checkpoints
    ADD CONSTRAINT checkpoints_name PRIMARY KEY (name);


--
-- Name: events events_id; Type: CONSTRAINT; Schema: evsourcing; Owner: -
--

ALTER TABLE ONLY evsourcing.events
    ADD CONSTRAINT events_id UNIQUE (id);


--
-- Name: events events_position; Type: CONSTRAINT; Schema: evsourcing; Owner: -
--

ALTER TABLE ONLY evsourcing.events
    ADD CONSTRAINT events_position PRIMARY KEY ("position");


--
-- Name: events events_version; Type: CONSTRAINT; Schema: evsourcing; Owner: -
--

ALTER TABLE ONLY evsourcing.events
    ADD CONSTRAINT events_version UNIQUE (stream, type, version);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: evsourcing; Owner: -
--

ALTER TABLE ONLY evsourcing.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);


--
-- Name: snapshots snapshots_stream; Type: CONSTRAINT; Schema: evsourcing; Owner: -
--

ALTER TABLE ONLY evsourcing.snapshots
    ADD CONSTRAINT snapshots_stream PRIMARY KEY (stream, type);


--
-- PostgreSQL database dump complete
--


