-- Runs after $1 and up to $2, or without a bound where null; $3 at most so many.
SELECT claimable.id AS id
FROM run AS live INDEXED BY run_live CROSS JOIN claimable ON claimable.id = live.id
WHERE live.finished_at IS NULL
    AND live.id > coalesce($1, x'') AND live.id <= coalesce($2, x'ffffffffffffffffffffffffffffffff')
    AND NOT EXISTS (SELECT 1 FROM ready WHERE run_id = live.id)
UNION ALL
SELECT run_id FROM ready
WHERE run_id > coalesce($1, x'') AND run_id <= coalesce($2, x'ffffffffffffffffffffffffffffffff')
    AND NOT EXISTS (SELECT 1 FROM claimable WHERE id = ready.run_id)
LIMIT $3
