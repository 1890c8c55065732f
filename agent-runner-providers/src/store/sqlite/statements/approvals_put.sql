-- $1 [id, run, step, number, moment, expiry] of approvals that are asked for,
-- $2 [id, status, number, moment] of those that are decided
INSERT INTO approval (id, run_id, step, status, requested_seq, requested_at, expires_at)
SELECT unhex(value ->> 0, '-'), unhex(value ->> 1, '-'), value ->> 2, 'pending', value ->> 3,
    value ->> 4, value ->> 5
FROM json_each($1);
UPDATE approval SET
    status = decided.value ->> 1,
    resolved_seq = decided.value ->> 2,
    resolved_at = decided.value ->> 3
FROM json_each($2) AS decided WHERE approval.id = unhex(decided.value ->> 0, '-');
