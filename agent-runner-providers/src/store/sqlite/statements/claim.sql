-- $1 the runs, in order, $2 the worker
DELETE FROM ready WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($1));
UPDATE run SET owner = $2, epoch = epoch + 1, control = control + 1,
    park_reason = NULL, park_wake_at = NULL, park_waiting_on = NULL
WHERE id IN (SELECT unhex(value, '-') FROM json_each($1));
SELECT run.*, request.*
FROM json_each($1) AS wanted CROSS JOIN run ON run.id = unhex(wanted.value, '-')
    CROSS JOIN request ON request.run_id = run.id
ORDER BY wanted.key;
