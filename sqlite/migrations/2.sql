-- Version 2: a view for people.

CREATE VIEW events_readable AS
SELECT
  position,
  lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' ||
    substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
  type,
  stream,
  version,
  topic,
  content_type,
  strftime('%Y-%m-%dT%H:%M:%S', (time - (time % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') ||
    printf('.%06dZ', (time % 1000000 + 1000000) % 1000000) AS time,
  CASE
    WHEN content_type LIKE 'application/json%' OR content_type LIKE '%+json%' THEN CAST(data AS TEXT)
    ELSE hex(data)
  END AS data,
  nullif(substr(header, 1, instr(header, char(10)) - 1), '') AS tags,
  nullif(substr(header, instr(header, char(10)) + 1), '') AS metadata
FROM events JOIN kinds USING (kind);

INSERT INTO events_schema (version) VALUES (2);
