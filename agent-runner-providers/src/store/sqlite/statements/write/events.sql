-- $4 events
WITH new AS MATERIALIZED (SELECT value FROM json_each($4))
INSERT INTO event (run_id, seq, epoch, kind, step, payload, blob, at)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6, value ->> 7
FROM new;
