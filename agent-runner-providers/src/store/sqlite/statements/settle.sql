-- Follows write/ where anything is reserved. Amounts stop as they do there.
-- $9 [run, reservation] that are settled, $10 runs that end: what is still reserved for them is
-- spent
DELETE FROM reservation WHERE (run_id, id) IN (
    SELECT unhex(value ->> 0, '-'), value ->> 1 FROM json_each($9));
INSERT INTO spend (account, day, requests, tokens, micro_usd, unpriced, busy_ms)
SELECT account, day, min(CAST(total(requests) AS INTEGER), 1125899906842624),
    min(CAST(total(tokens) AS INTEGER), 1125899906842624),
    min(CAST(total(micro_usd) AS INTEGER), 1125899906842624),
    min(CAST(total(unpriced) AS INTEGER), 1125899906842624),
    min(CAST(total(busy_ms) AS INTEGER), 1125899906842624)
FROM reservation WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($10))
GROUP BY account, day
ON CONFLICT (account, day) DO UPDATE SET
    requests = min(requests + excluded.requests, 1125899906842624),
    tokens = min(tokens + excluded.tokens, 1125899906842624),
    micro_usd = min(micro_usd + excluded.micro_usd, 1125899906842624),
    unpriced = min(unpriced + excluded.unpriced, 1125899906842624),
    busy_ms = min(busy_ms + excluded.busy_ms, 1125899906842624);
DELETE FROM reservation WHERE run_id IN (SELECT unhex(value, '-') FROM json_each($10));
