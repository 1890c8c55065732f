-- $1 new runs
WITH new AS MATERIALIZED (SELECT value FROM json_each($1))
INSERT INTO run (id, status, priority, park_reason, park_wake_at, park_waiting_on,
    pause_requested, cancel_requested, cancel_reason, output, error, usage, spend, deadline_at,
    started_at, recoveries, epoch, control, next_seq)
SELECT unhex(value ->> 'id', '-'), 'QUEUED', value ->> 'priority', value ->> 'park_reason',
    value ->> 'park_wake_at', value ->> 'park_waiting_on', value ->> 'pause_requested',
    value ->> 'cancel_requested', value ->> 'cancel_reason', value ->> 'output',
    value ->> 'error', value ->> 'usage', value ->> 'spend', value ->> 'deadline_at', value ->> 'started_at',
    value ->> 'recoveries', value ->> 'epoch', value ->> 'control', value ->> 'next_seq'
FROM new;
