-- $1 [id, run, number, step, name, kind, media type, size, sha256, uri, moment] of new artifacts
INSERT INTO artifact (id, run_id, seq, step, name, kind, media_type, size, sha256, uri, created_at)
SELECT unhex(value ->> 0, '-'), unhex(value ->> 1, '-'), value ->> 2, value ->> 3, value ->> 4,
    value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10
FROM json_each($1);
