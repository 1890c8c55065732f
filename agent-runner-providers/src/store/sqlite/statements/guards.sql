-- What decides about a group of batches and creations. One lock, one round trip, and one row,
-- because each row on its own costs a switch between threads.
-- $1 runs, $2 [run, step], $3 [run, signal], $4 [project, idempotency key], $5 approvals, $6 artifacts
SELECT
    (SELECT data_version FROM pragma_data_version) AS data_version,
    (SELECT json_group_array(json_array(lower(hex(run.id)), status,
            iif(owner IS NULL, NULL, lower(hex(owner))), epoch, control, next_seq,
            pause_requested, cancel_requested, finished_at, park_reason))
        FROM json_each($1) AS wanted CROSS JOIN run ON run.id = unhex(wanted.value, '-')) AS runs,
    (SELECT json_group_array(json_array(lower(hex(run_id)), step.key, status))
        FROM json_each($2) AS wanted CROSS JOIN step
            ON step.run_id = unhex(wanted.value ->> 0, '-')
            AND step.key = wanted.value ->> 1) AS steps,
    (SELECT json_group_array(json_array(lower(hex(run_id)), signal.id))
        FROM json_each($3) AS wanted CROSS JOIN signal
            ON signal.run_id = unhex(wanted.value ->> 0, '-')
            AND signal.id = wanted.value ->> 1) AS signals,
    (SELECT json_group_array(
            json_array(lower(hex(project_id)), idempotency_key, lower(hex(run_id))))
        FROM json_each($4) AS wanted CROSS JOIN request
            ON request.project_id = unhex(wanted.value ->> 0, '-')
            AND request.idempotency_key = wanted.value ->> 1) AS keys,
    (SELECT json_group_array(json_array(lower(hex(approval.id)), status))
        FROM json_each($5) AS wanted CROSS JOIN approval ON approval.id = unhex(wanted.value, '-'))
        AS approvals,
    (SELECT json_group_array(lower(hex(artifact.id)))
        FROM json_each($6) AS wanted CROSS JOIN artifact ON artifact.id = unhex(wanted.value, '-'))
        AS artifacts,
    EXISTS (SELECT 1 FROM reservation) AS reserved;
