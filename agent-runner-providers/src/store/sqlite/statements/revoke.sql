-- $1 the runs, $2 now. What changed since they were picked is left alone.
UPDATE run SET owner = NULL, epoch = epoch + 1, control = control + 1, recoveries = recoveries + 1
WHERE id IN (SELECT unhex(value, '-') FROM json_each($1))
    AND owner IS NOT NULL AND owner NOT IN (SELECT id FROM worker WHERE expires_at > $2)
RETURNING id;
DELETE FROM ready WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($1))
    AND EXISTS (SELECT 1 FROM claimable WHERE id = run_id AND park_wake_at IS NULL);
INSERT INTO ready (run_id, priority, runnable_at)
SELECT id, priority, $2 FROM claimable
WHERE id IN (SELECT unhex(value, '-') FROM json_each($1)) AND park_wake_at IS NULL;
DELETE FROM worker WHERE expires_at <= $2;
