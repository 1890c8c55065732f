-- $5 steps
WITH new AS MATERIALIZED (SELECT value FROM json_each($5))
INSERT INTO step (run_id, key, kind, name, policy, status, attempts, error, started_seq, done_seq,
    started_at, finished_at)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11
FROM new WHERE true
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
