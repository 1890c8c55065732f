-- $1 the runs, $2 now. What changed since they were picked is left alone.
DELETE FROM ready WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($1))
    AND NOT EXISTS (SELECT 1 FROM claimable WHERE id = run_id)
RETURNING run_id AS id;
INSERT INTO ready (run_id, priority, runnable_at)
SELECT id, priority, coalesce(park_wake_at, $2) FROM claimable
WHERE id IN (SELECT unhex(value, '-') FROM json_each($1))
    AND NOT EXISTS (SELECT 1 FROM ready WHERE run_id = claimable.id)
RETURNING run_id AS id;
