-- $7 [run, moment or null] of runs whose listing changes
DELETE FROM ready WHERE run_id IN (SELECT unhex(value ->> 0, '-') FROM json_each($7));
INSERT INTO ready (run_id, priority, runnable_at)
SELECT run.id, run.priority, wanted.value ->> 1
FROM json_each($7) AS wanted CROSS JOIN run ON run.id = unhex(wanted.value ->> 0, '-')
WHERE wanted.value ->> 1 IS NOT NULL;
