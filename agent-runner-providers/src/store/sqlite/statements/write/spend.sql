-- $8 [account, day, requests, tokens, micro_usd, unpriced, busy_ms] to book; amounts stop at 2^50
INSERT INTO spend (account, day, requests, tokens, micro_usd, unpriced, busy_ms)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each($8) WHERE true
ON CONFLICT (account, day) DO UPDATE SET
    requests = min(requests + excluded.requests, 1125899906842624),
    tokens = min(tokens + excluded.tokens, 1125899906842624),
    micro_usd = min(micro_usd + excluded.micro_usd, 1125899906842624),
    unpriced = min(unpriced + excluded.unpriced, 1125899906842624),
    busy_ms = min(busy_ms + excluded.busy_ms, 1125899906842624);
