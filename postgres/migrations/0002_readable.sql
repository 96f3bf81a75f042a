-- A view of the events for people: payloads of a JSON content type, tags and
-- metadata as jsonb, and times that read as such.

-- readable returns the payload as jsonb, and NULL if it is not JSON, or jsonb can't
-- hold it. It never fails.
CREATE FUNCTION {schema}.readable(content_type text, data bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF content_type !~* '^\s*(application/json|text/json|[^;\s]+\+json)\s*(;|$)' THEN
        RETURN NULL;
    END IF;
    RETURN convert_from(data, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

CREATE VIEW {schema}.events_readable AS
SELECT position, type, stream, version, topic,
    to_timestamp((time / 1000000)::double precision) + (time % 1000000) * interval '1 microsecond' AS time,
    {schema}.readable(content_type, data) AS payload,
    tags::jsonb AS tags,
    metadata::jsonb AS metadata,
    id, content_type, octet_length(data) AS size, data
FROM {schema}.events;
