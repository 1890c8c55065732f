-- What a group of batches books. Sums stop at 2^61, far from what an integer cannot hold.
-- $1 [run, reservation] that are settled, $2 [account, day, requests, tokens, micro_usd, unpriced,
-- busy_ms] to add, $3 runs that end: what is still reserved for them is spent
DELETE FROM reservation WHERE (run_id, id) IN (
    SELECT unhex(value ->> 0, '-'), value ->> 1 FROM json_each($1));
INSERT INTO spend (account, day, requests, tokens, micro_usd, unpriced, busy_ms)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each($2) WHERE true
UNION ALL
SELECT account, day, sum(requests), sum(tokens), sum(micro_usd), sum(unpriced), sum(busy_ms)
FROM reservation WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($3))
GROUP BY account, day
ON CONFLICT (account, day) DO UPDATE SET
    requests = min(requests + excluded.requests, 2305843009213693952),
    tokens = min(tokens + excluded.tokens, 2305843009213693952),
    micro_usd = min(micro_usd + excluded.micro_usd, 2305843009213693952),
    unpriced = min(unpriced + excluded.unpriced, 2305843009213693952),
    busy_ms = min(busy_ms + excluded.busy_ms, 2305843009213693952);
DELETE FROM reservation WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($3));
