-- $3 changed runs
WITH change AS MATERIALIZED (SELECT value FROM json_each($3))
UPDATE run SET
    status = change.value ->> 'status',
    owner = unhex(change.value ->> 'owner', '-'),
    control = change.value ->> 'control',
    next_seq = change.value ->> 'next_seq',
    pause_requested = change.value ->> 'pause_requested',
    cancel_requested = change.value ->> 'cancel_requested',
    cancel_reason = coalesce(change.value ->> 'cancel_reason', cancel_reason),
    output = coalesce(change.value ->> 'output', output),
    error = coalesce(change.value ->> 'error', error),
    usage = coalesce(change.value ->> 'usage', usage),
    spend = coalesce(change.value ->> 'spend', spend),
    started_at = coalesce(change.value ->> 'started_at', started_at),
    finished_at = coalesce(change.value ->> 'finished_at', finished_at),
    recoveries = coalesce(change.value ->> 'recoveries', recoveries),
    park_reason = iif(change.value ->> 'park', change.value ->> 'park_reason', park_reason),
    park_wake_at = iif(change.value ->> 'park', change.value ->> 'park_wake_at', park_wake_at),
    park_waiting_on =
        iif(change.value ->> 'park', change.value ->> 'park_waiting_on', park_waiting_on)
FROM change WHERE run.id = unhex(change.value ->> 'id', '-');
