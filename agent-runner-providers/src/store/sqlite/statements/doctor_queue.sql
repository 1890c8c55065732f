SELECT lower(hex(id)) AS offender FROM claimable
WHERE NOT EXISTS (SELECT 1 FROM ready WHERE run_id = claimable.id)
UNION ALL
SELECT lower(hex(run_id)) FROM ready
WHERE NOT EXISTS (SELECT 1 FROM claimable WHERE id = ready.run_id)
LIMIT $1
