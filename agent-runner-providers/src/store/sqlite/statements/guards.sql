-- What decides about a group of batches and creations. One lock, one round trip.
-- $1 runs, $2 [run, step], $3 [run, signal], $4 [project, idempotency key]
BEGIN IMMEDIATE;
PRAGMA data_version;
SELECT 'run' AS guard, run.id, status, owner, epoch, control, next_seq, pause_requested,
    cancel_requested, finished_at
FROM json_each($1) AS wanted CROSS JOIN run ON run.id = unhex(wanted.value, '-');
SELECT 'step' AS guard, run_id, step.key, status
FROM json_each($2) AS wanted CROSS JOIN step
    ON step.run_id = unhex(wanted.value ->> 0, '-') AND step.key = wanted.value ->> 1;
SELECT 'signal' AS guard, run_id, signal.id
FROM json_each($3) AS wanted CROSS JOIN signal
    ON signal.run_id = unhex(wanted.value ->> 0, '-') AND signal.id = wanted.value ->> 1;
SELECT 'key' AS guard, run_id, project_id, idempotency_key
FROM json_each($4) AS wanted CROSS JOIN request
    ON request.project_id = unhex(wanted.value ->> 0, '-')
    AND request.idempotency_key = wanted.value ->> 1;
