-- A group of batches and creations: one statement per table, whatever the size of the group.
-- $1 new runs, $2 their requests, $3 changed runs, $4 events, $5 steps, $6 signals,
-- $7 [run, moment or null] of runs whose listing changes, $8 [account, day, requests, tokens,
-- micro_usd, unpriced, busy_ms] to book; amounts stop at 2^50
INSERT INTO run (id, status, priority, park_reason, park_wake_at, park_waiting_on,
    pause_requested, cancel_requested, cancel_reason, output, error, usage, spend, deadline_at,
    started_at, recoveries, epoch, control, next_seq)
SELECT unhex(value ->> 'id', '-'), 'QUEUED', value ->> 'priority', value ->> 'park_reason',
    value ->> 'park_wake_at', value ->> 'park_waiting_on', value ->> 'pause_requested',
    value ->> 'cancel_requested', value ->> 'cancel_reason', value ->> 'output',
    value ->> 'error', value ->> 'usage', value ->> 'spend', value ->> 'deadline_at', value ->> 'started_at',
    value ->> 'recoveries', value ->> 'epoch', value ->> 'control', value ->> 'next_seq'
FROM json_each($1);
INSERT INTO request (run_id, project_id, name, spec, parent_id, root_id, tags, metadata,
    idempotency_key, request_hash, created_at)
SELECT unhex(value ->> 'run_id', '-'), unhex(value ->> 'project_id', '-'), value ->> 'name',
    value ->> 'spec', unhex(value ->> 'parent_id', '-'), unhex(value ->> 'root_id', '-'),
    value ->> 'tags', value ->> 'metadata', value ->> 'idempotency_key',
    value ->> 'request_hash', value ->> 'created_at'
FROM json_each($2);
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
FROM json_each($3) AS change WHERE run.id = unhex(change.value ->> 'id', '-');
INSERT INTO event (run_id, seq, epoch, kind, step, payload, blob, at)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6, value ->> 7
FROM json_each($4);
INSERT INTO step (run_id, key, kind, name, policy, status, attempts, error, started_seq, done_seq,
    started_at, finished_at)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11
FROM json_each($5) WHERE true
ON CONFLICT (run_id, key) DO UPDATE SET
    kind = excluded.kind,
    name = excluded.name,
    policy = excluded.policy,
    status = excluded.status,
    attempts = excluded.attempts,
    error = excluded.error,
    started_seq = coalesce(excluded.started_seq, started_seq),
    done_seq = coalesce(excluded.done_seq, done_seq),
    started_at = coalesce(excluded.started_at, started_at),
    finished_at = coalesce(excluded.finished_at, finished_at);
INSERT INTO signal (run_id, id, name, seq)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3 FROM json_each($6);
DELETE FROM ready WHERE run_id IN (SELECT unhex(value ->> 0, '-') FROM json_each($7));
INSERT INTO ready (run_id, priority, runnable_at)
SELECT run.id, run.priority, wanted.value ->> 1
FROM json_each($7) AS wanted CROSS JOIN run ON run.id = unhex(wanted.value ->> 0, '-')
WHERE wanted.value ->> 1 IS NOT NULL;
INSERT INTO spend (account, day, requests, tokens, micro_usd, unpriced, busy_ms)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each($8) WHERE true
ON CONFLICT (account, day) DO UPDATE SET
    requests = min(requests + excluded.requests, 1125899906842624),
    tokens = min(tokens + excluded.tokens, 1125899906842624),
    micro_usd = min(micro_usd + excluded.micro_usd, 1125899906842624),
    unpriced = min(unpriced + excluded.unpriced, 1125899906842624),
    busy_ms = min(busy_ms + excluded.busy_ms, 1125899906842624);
