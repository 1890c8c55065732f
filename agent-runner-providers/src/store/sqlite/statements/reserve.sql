-- $1 run, $2 id, $3 [account, day, requests, tokens, micro_usd, unpriced, busy_ms]
INSERT INTO reservation
    (run_id, id, account, day, requests, tokens, micro_usd, unpriced, busy_ms)
SELECT $1, $2, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6
FROM json_each($3)
